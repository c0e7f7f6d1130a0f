// The rings of one queue pair as the native driver keeps them: descriptors, buffers, what is in flight.
import { type FrameRun, type Hypercalls, type Mmio, PAGE_SHIFT, PAGE_SIZE } from '@splitring/hypervisor';
import { NIC_QUEUE, NIC_QUEUE_STRIDE, NIC_REG, QUEUE_ENABLE, RXD, TXD } from '../nic/nic-registers.ts';

/** Descriptors in each ring: one page of them. */
export const RING_ENTRIES = 256;
const MASK = RING_ENTRIES - 1;
/** Buffers given back before the tail is written. */
const REFILL_BATCH = 16;
const HIGH_SHIFT = 32 - PAGE_SHIFT;

/** What a frame asks the card to do. */
export interface NicOffload {
  /** Finish the TCP or UDP checksum, whose field holds the pseudo-header sum. */
  readonly isChecksumBlank?: boolean;
  /** Cut a TCP frame into segments of so many bytes of payload. */
  readonly segmentBytes?: number;
  /** Put this VLAN tag in. */
  readonly vlan?: number;
}

/** What the card found out about a received frame. */
export interface NicReceiveInfo {
  /** Checksums were checked and are right. */
  isChecked: boolean;
  /** The VLAN tag that was taken out; −1 without one. */
  vlan: number;
}

/** Memory and registers of one ring. */
class Ring {
  readonly words: Int32Array;
  readonly buffers: Uint8Array;
  readonly memory: readonly [FrameRun, FrameRun];
  private readonly registers: Mmio;
  private readonly base: number;

  constructor(hypercalls: Hypercalls, registers: Mmio, base: number) {
    this.registers = registers;
    this.base = base;
    const descriptors = hypercalls.allocateFrames(hypercalls.domid, 1);
    const buffers = hypercalls.allocateFrames(hypercalls.domid, RING_ENTRIES);
    this.memory = [descriptors, buffers];
    const { bytes } = descriptors;
    this.words = new Int32Array(bytes.buffer, bytes.byteOffset, PAGE_SIZE / 4);
    this.buffers = buffers.bytes;
  }

  /** Tell the card where the ring is, and start it. */
  start(extra: readonly (readonly [number, number])[]): void {
    const frame = this.memory[0].first;
    this.write(NIC_QUEUE.DCTL, 0);
    this.write(NIC_QUEUE.BAL, frame << PAGE_SHIFT);
    this.write(NIC_QUEUE.BAH, frame >>> HIGH_SHIFT);
    this.write(NIC_QUEUE.LEN, PAGE_SIZE);
    this.write(NIC_QUEUE.HEAD, 0);
    this.write(NIC_QUEUE.TAIL, 0);
    for (const [offset, value] of extra) this.write(offset, value);
    this.write(NIC_QUEUE.DCTL, QUEUE_ENABLE);
  }

  write(offset: number, value: number): void {
    this.registers.write32(this.base + offset, value);
  }

  /** Put the bus address of buffer `index` into the descriptor at `at`. */
  pointTo(at: number, index: number): void {
    const frame = this.memory[1].first + index;
    this.words[at * 4] = frame << PAGE_SHIFT;
    this.words[at * 4 + 1] = frame >>> HIGH_SHIFT;
  }
}

/** The transmit ring. Buffer i belongs to descriptor i. */
export class NicTxRing {
  private readonly ring: Ring;
  private tail = 0;
  private published = 0;
  private used = 0;
  /** Index of the last descriptor of each frame in flight, and how many it has. */
  private readonly inFlight: { readonly last: number; readonly count: number }[] = [];

  /** Make and start the transmit ring of queue `queue`. @throws HypercallError ENOMEM */
  constructor(hypercalls: Hypercalls, registers: Mmio, queue: number) {
    this.ring = new Ring(hypercalls, registers, NIC_REG.TXQ + queue * NIC_QUEUE_STRIDE);
    this.ring.start([]);
  }

  /** Its memory, to be given back. */
  get memory(): readonly FrameRun[] {
    return this.ring.memory;
  }

  /** Copy a frame into buffers and write its descriptors. @returns false if there is no room */
  send(frame: Uint8Array, offload: NicOffload): boolean {
    const pages = Math.max(1, Math.ceil(frame.length / PAGE_SIZE));
    const { isChecksumBlank, segmentBytes, vlan } = offload;
    const needsContext = segmentBytes !== undefined || vlan !== undefined;
    const count = needsContext ? pages + 1 : pages;
    if (this.used + count > MASK) this.reclaim();
    if (this.used + count > MASK) return false; // one descriptor always stays free: full is not empty
    if (needsContext) this.put(((vlan ?? 0) << 16) | 0, 0, TXD.typeContext | TXD.extended, (segmentBytes ?? 0) << 16);
    let command = TXD.typeData | TXD.extended | TXD.insertFcs;
    if (segmentBytes !== undefined) command |= TXD.segment;
    if (vlan !== undefined) command |= TXD.vlan;
    const wantsL4 = isChecksumBlank === true || segmentBytes !== undefined;
    const upper = (wantsL4 ? TXD.l4Checksum : 0) | (Math.min(frame.length, 0x3_ffff) << TXD.payloadShift);
    for (let page = 0; page < pages; page += 1) {
      const part = frame.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
      this.ring.buffers.set(part, this.tail * PAGE_SIZE);
      const isLast = page + 1 === pages;
      const at = this.tail;
      this.put(undefined, undefined, command | part.length | (isLast ? TXD.eop | TXD.reportStatus : 0), upper);
      this.ring.pointTo(at, at);
    }
    this.inFlight.push({ last: (this.tail - 1) & MASK, count });
    return true;
  }

  /** Let the card see what was written; one register write. */
  flush(): void {
    if (this.published === this.tail) return;
    this.published = this.tail;
    this.ring.write(NIC_QUEUE.TAIL, this.tail);
  }

  /** Take back descriptors of frames that are done. @returns whether there were any */
  reclaim(): boolean {
    let hasDone = false;
    for (let first = this.inFlight[0]; first !== undefined; first = this.inFlight[0]) {
      const status = Atomics.load(this.ring.words, first.last * 4 + 3);
      if (status !== TXD.done) break; // until then it is what we wrote there, with a length in it
      this.used -= first.count;
      this.inFlight.shift();
      hasDone = true;
    }
    return hasDone;
  }

  private put(low: number | undefined, high: number | undefined, command: number, upper: number): void {
    const { words } = this.ring;
    const at = this.tail * 4;
    words[at] = low ?? 0;
    words[at + 1] = high ?? 0;
    words[at + 2] = command;
    words[at + 3] = upper;
    this.tail = (this.tail + 1) & MASK;
    this.used += 1;
  }
}

/** The receive ring. Buffer i belongs to descriptor i. */
export class NicRxRing {
  /** Frames dropped for errors. */
  errors = 0;
  private readonly ring: Ring;
  private readonly info: NicReceiveInfo = { isChecked: false, vlan: -1 };
  private next = 0;
  private toRefill = 0;
  private parts: Uint8Array[] = [];

  /** Make, fill and start the receive ring of queue `queue`. @throws HypercallError ENOMEM */
  constructor(hypercalls: Hypercalls, registers: Mmio, queue: number) {
    this.ring = new Ring(hypercalls, registers, NIC_REG.RXQ + queue * NIC_QUEUE_STRIDE);
    for (let i = 0; i < RING_ENTRIES; i += 1) this.offer(i);
    this.ring.start([[NIC_QUEUE.SRRCTL, PAGE_SIZE / 1024]]);
    this.ring.write(NIC_QUEUE.TAIL, MASK);
  }

  /** Its memory, to be given back. */
  get memory(): readonly FrameRun[] {
    return this.ring.memory;
  }

  /** Whether a frame, or part of one, has arrived. */
  get hasNews(): boolean {
    return (Atomics.load(this.ring.words, this.next * 4 + 2) & RXD.done) !== 0;
  }

  /** Hand up to `budget` frames on; each is only valid inside the call. @returns how many descriptors were taken */
  poll(budget: number, onFrame: (frame: Uint8Array, info: NicReceiveInfo) => void): number {
    let count = 0;
    for (; count < budget; count += 1) {
      const at = this.next * 4;
      const status = Atomics.load(this.ring.words, at + 2);
      if ((status & RXD.done) === 0) break;
      const lengthAndTag = this.ring.words[at + 3] as number; // in range
      const length = Math.min(lengthAndTag & 0xffff, PAGE_SIZE); // the card could lie
      const start = this.next * PAGE_SIZE;
      this.take(status, lengthAndTag >>> 16, this.ring.buffers.subarray(start, start + length), onFrame);
      this.offer(this.next);
      this.next = (this.next + 1) & MASK;
      this.toRefill += 1;
      if (this.toRefill >= REFILL_BATCH) this.refill();
    }
    return count;
  }

  /** Let the card have the buffers that were given back. */
  refill(): void {
    if (this.toRefill === 0) return;
    this.toRefill = 0;
    this.ring.write(NIC_QUEUE.TAIL, (this.next - 1) & MASK);
  }

  private take(
    status: number,
    tag: number,
    part: Uint8Array,
    onFrame: (frame: Uint8Array, info: NicReceiveInfo) => void,
  ): void {
    if ((status & RXD.eop) === 0) {
      this.parts.push(part.slice()); // its buffer goes back before the rest is here
      return;
    }
    const frame = this.parts.length === 0 ? part : joined(this.parts, part);
    this.parts = [];
    if (status < 0) {
      this.errors += 1; // the data did not arrive
      return;
    }
    this.info.isChecked = (status & RXD.l4Checked) !== 0 && (status & (RXD.l4Error | RXD.ipError)) === 0;
    this.info.vlan = (status & RXD.vlan) === 0 ? -1 : tag;
    onFrame(frame, this.info);
  }

  private offer(index: number): void {
    this.ring.pointTo(index, index);
    this.ring.words[index * 4 + 3] = 0;
    Atomics.store(this.ring.words, index * 4 + 2, 0); // the "header buffer" half: not done
  }
}

function joined(parts: readonly Uint8Array[], last: Uint8Array): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, last.length));
  let at = 0;
  for (const part of [...parts, last]) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
