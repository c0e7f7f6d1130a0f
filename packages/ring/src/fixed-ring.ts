// A ring of fixed-size messages, one producer and one consumer: the fastest way from one thread to another.
//
//   byte   0 (line 0)       128 (line 1)     256
//          +----------------+----------------+--------+--------+--
//          | prod, zeros    | cons, zeros    | slot 0 | slot 1 | …     stride = slotBytes rounded up to 8
//          +----------------+----------------+--------+--------+--
//          [PRODUCER]       [CONSUMER]       [PRODUCER]
//
// Both indices run freely as u32 and wrap. Each end keeps its own index and the peer's last seen one in private fields, so
// that the lines move between the cores once per batch, not once per message.
import { ProtocolError, RingError } from './error.ts';
import { SharedMemory, type SharedMemoryHandle, type SharedMemoryKind } from './shared-memory.ts';
import { SlotBuffer, slotStride } from './slot-buffer.ts';

const PROD_BYTE = 0;
const CONS_BYTE = 128;
const HEADER_BYTES = 256;
const DEFAULT_BATCH = 32;

/** Plain data that carries a fixed ring to another thread. */
export interface FixedRingHandle {
  /** Tells this handle from others. */
  readonly kind: 'fixed-ring';
  /** Layout version. */
  readonly version: 1;
  /** The memory it lies in. */
  readonly memory: SharedMemoryHandle;
  /** Its first byte there. */
  readonly at: number;
  /** Messages it holds, a power of two. */
  readonly slots: number;
  /** Bytes of a message. */
  readonly slotBytes: number;
}

/** What to make. */
export interface FixedRingOptions {
  /** Bytes of every message, 1 to 2^24. */
  readonly slotBytes: number;
  /** Messages it holds, a power of two from 2 to 2^24. At least 128 for full speed; keep the whole below half the L2 cache. */
  readonly slots: number;
  /** A memory to reserve the ring in, or the kind to allocate; `plain` by default. */
  readonly memory?: SharedMemory | SharedMemoryKind;
}

/**
 * Make an empty fixed ring and return its handle.
 *
 * @throws RingError `RING_SLOT_BYTES`, `RING_SLOTS` or `MEMORY_FULL`.
 *
 * @example
 * const handle = createFixedRing({ slotBytes: 64, slots: 1024 });
 * const producer = new FixedProducer(handle); // and in a worker: new FixedConsumer(handle)
 */
export function createFixedRing(options: FixedRingOptions): FixedRingHandle {
  const { slotBytes, slots } = options;
  checkGeometry(slots, slotBytes);
  const bytes = HEADER_BYTES + slots * slotStride(slotBytes);
  const memory = options.memory instanceof SharedMemory ? options.memory : SharedMemory.allocate(bytes, options.memory);
  const region = memory.reserve(bytes);
  region.fill(0);
  return { kind: 'fixed-ring', version: 1, memory: memory.handle, at: region.byteOffset, slots, slotBytes };
}

/** How the end of a ring behaves. */
export interface FixedRingEndOptions {
  /** Most messages between two publications of the own index: 1 to `slots`; by default 32, or a quarter of the ring if that is less. */
  readonly batch?: number;
  /** Name used in errors. */
  readonly name?: string;
  /** How a producer runs a task at the end of this turn of the event loop; a microtask by default. */
  readonly defer?: (task: () => void) => void;
  /** Open the memory only once if many rings lie in it. */
  readonly memory?: SharedMemory;
}

/** What both ends of a fixed ring share: geometry, views, and the judgement of the peer's index. */
export abstract class FixedRingEnd {
  /** Messages the ring holds. */
  readonly slots: number;
  /** Bytes of a message. */
  readonly slotBytes: number;
  /** Name used in errors. */
  readonly name: string;
  /** The slots in shared memory, for in-place access. */
  readonly ring: SlotBuffer;
  /** The memory the ring lies in. */
  readonly memory: SharedMemory;
  /** Why this ring is no longer used; set once, when the peer's index was impossible. */
  broken: ProtocolError | undefined;
  protected readonly mask: number;
  protected readonly batch: number;
  protected readonly prodWord: Int32Array;
  protected readonly consWord: Int32Array;

  constructor(handle: FixedRingHandle, options: FixedRingEndOptions) {
    checkHandle(handle);
    const memory = options.memory ?? SharedMemory.open(handle.memory);
    const slotsAt = handle.at + HEADER_BYTES;
    const slotsBytes = handle.slots * slotStride(handle.slotBytes);
    checkInside(memory, slotsAt + slotsBytes);
    this.slots = handle.slots;
    this.slotBytes = handle.slotBytes;
    this.name = options.name ?? 'fixed ring';
    this.ring = new SlotBuffer(handle.slots, handle.slotBytes, {
      memory,
      region: new Uint8Array(memory.buffer, slotsAt, slotsBytes),
    });
    this.memory = memory;
    this.broken = undefined;
    this.mask = handle.slots - 1;
    this.batch = batchOf(options.batch, handle.slots);
    this.prodWord = new Int32Array(memory.buffer, handle.at + PROD_BYTE, 1);
    this.consWord = new Int32Array(memory.buffer, handle.at + CONS_BYTE, 1);
  }

  /** Stop using the ring: the peer's index `field` cannot be right. */
  protected breakRing(field: string, value: number, own: number): void {
    this.broken = new ProtocolError(
      'RING_INDEX_INCONSISTENT',
      `Cannot use ${this.name}: ${field} is ${value >>> 0}, ours ${own >>> 0}`,
      { ring: this.name, field, value: value >>> 0, limit: own >>> 0 },
    );
  }
}

/** The batch asked for, or the usual one, which leaves the peer three quarters of the ring to work in. */
function batchOf(asked: number | undefined, slots: number): number {
  if (asked === undefined) return Math.min(DEFAULT_BATCH, Math.max(1, slots >> 2));
  if (Number.isInteger(asked) && asked >= 1 && asked <= slots) return asked;
  throw new RingError('RING_BATCH', `Cannot publish every ${asked} messages: not in 1 to ${slots}`, { asked, slots });
}

function checkGeometry(slots: number, slotBytes: number): void {
  if (!Number.isInteger(slotBytes) || slotBytes < 1 || slotBytes > 2 ** 24) {
    throw new RingError('RING_SLOT_BYTES', `Cannot make messages of ${slotBytes} bytes: not in 1 to 2^24`, {
      slotBytes,
    });
  }
  if (!Number.isInteger(slots) || slots < 2 || slots > 2 ** 24 || (slots & (slots - 1)) !== 0) {
    throw new RingError('RING_SLOTS', `Cannot make ${slots} slots: not a power of two from 2 to 2^24`, { slots });
  }
}

function checkHandle(handle: FixedRingHandle): void {
  if (handle?.kind !== 'fixed-ring' || handle.version !== 1) {
    throw new RingError('RING_HANDLE', 'Cannot attach: this is no handle of a fixed ring of version 1');
  }
  checkGeometry(handle.slots, handle.slotBytes);
  if (!Number.isSafeInteger(handle.at) || handle.at < 0 || handle.at % 8 !== 0) {
    throw new RingError('RING_MISALIGNED', `Cannot attach at byte ${handle.at}: not a multiple of 8`, {
      at: handle.at,
    });
  }
}

function checkInside(memory: SharedMemory, end: number): void {
  if (end <= memory.buffer.byteLength) return;
  throw new RingError('RING_TOO_SMALL', `Cannot attach: the ring ends at byte ${end}, the memory before`, {
    end,
    memoryBytes: memory.buffer.byteLength,
  });
}
