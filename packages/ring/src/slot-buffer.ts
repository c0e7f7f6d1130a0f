// Private or shared memory cut into equal slots: where fixed-size messages are prepared and received.
// hot path: bench cases oneway-8 to oneway-16384
import type { CopyHelper } from './copy-wasm.ts';
import { RingError } from './error.ts';
import { copySlotLanes, copyWords, prefersLanes } from './lanes.ts';
import type { SharedMemory } from './shared-memory.ts';

/** From this size on lanes are beaten by `set` between views made beforehand, and by the native helper of a wasm memory. */
const PREMADE_FROM_BYTES = 256;
/** From this many lanes in a row on the native helper of a wasm memory beats lanes, its call included. */
const NATIVE_FROM_LANES = 16;

/**
 * `slots` places of `slotBytes` each, with every view a copy may want, made once.
 *
 * @example
 * const outbox = new SlotBuffer(1, 64); // private memory
 * outbox.view.setUint32(outbox.offset(0), 42, true);
 * producer.trySend(outbox, 0);
 */
export class SlotBuffer {
  /** Places. */
  readonly slots: number;
  /** Bytes of a message. */
  readonly slotBytes: number;
  /** Bytes from one place to the next: `slotBytes` rounded up to 8. */
  readonly strideBytes: number;
  /** All places, for typed fields. */
  readonly view: DataView;
  /** All places as bytes. */
  readonly bytes: Uint8Array;
  /** All places as words. */
  readonly words: Int32Array;
  /** All places as eight-byte lanes. */
  readonly lanes: BigInt64Array;
  /** One view per place for large slots, where `set` copies best; else empty. */
  readonly places: readonly Uint8Array[];
  /** The shared memory it lies in, if any: copies between places of one `wasm` memory run at native speed. */
  readonly memory: SharedMemory | undefined;
  /** Byte offset of the first place in that memory, else in its own buffer. */
  readonly at: number;
  private readonly strideLanes: number;
  /** Slots of fewer lanes than this are copied by lanes, without a further question. */
  private readonly lanesBelow: number;

  /**
   * Make the places in private memory, or in `region` of a shared memory.
   *
   * @throws RingError `SLOT_BUFFER` if sizes are not positive or the region is too small or not a multiple of 8.
   */
  constructor(
    slots: number,
    slotBytes: number,
    shared?: { readonly memory: SharedMemory; readonly region: Uint8Array },
  ) {
    const strideBytes = slotStride(slotBytes);
    const needed = slots * strideBytes;
    const isPositive = Number.isSafeInteger(needed) && slots >= 1 && slotBytes >= 1;
    if (!isPositive || (shared !== undefined && !fits(shared, needed))) {
      throw new RingError('SLOT_BUFFER', `Cannot lay out ${slots} slots of ${slotBytes} bytes here`, {
        slots,
        slotBytes,
      });
    }
    const region = shared?.region ?? new Uint8Array(needed);
    this.slots = slots;
    this.slotBytes = slotBytes;
    this.strideBytes = strideBytes;
    this.view = new DataView(region.buffer, region.byteOffset, needed);
    this.bytes = new Uint8Array(region.buffer, region.byteOffset, needed);
    this.words = new Int32Array(region.buffer, region.byteOffset, needed >> 2);
    this.lanes = new BigInt64Array(region.buffer, region.byteOffset, needed >> 3);
    this.places =
      slotBytes < PREMADE_FROM_BYTES
        ? []
        : Array.from({ length: slots }, (_, i) => this.bytes.subarray(i * strideBytes, i * strideBytes + slotBytes));
    this.memory = shared?.memory;
    this.at = region.byteOffset;

    this.strideLanes = strideBytes >> 3;
    this.lanesBelow = prefersLanes() ? PREMADE_FROM_BYTES >> 3 : 0;
  }

  /** Byte offset of place `slot` in `view`. */
  offset(slot: number): number {
    return slot * this.strideBytes;
  }

  /**
   * Copy the message in place `from` of `source` to place `to` of this buffer. Each byte is read once.
   *
   * @throws RingError `SLOT_BUFFER` if the sizes differ or a place does not exist.
   */
  copyFrom(source: SlotBuffer, from: number, to: number): void {
    // Written so that NaN is refused too. Signed compares: `>>> 0` here would cost as much as the copy of 8 bytes.
    if (source.slotBytes !== this.slotBytes || !(from >= 0 && from < source.slots && to >= 0 && to < this.slots)) {
      refuseCopy(source, from, this, to);
    }
    this.copyPlace(source, from, to);
  }

  /** As `copyFrom`, for the ends of a ring: the sizes are equal and both places exist, the caller has seen to it. */
  copyPlace(source: SlotBuffer, from: number, to: number): void {
    const lanes = this.strideLanes;
    if (lanes < this.lanesBelow) {
      copySlotLanes(source.lanes, Math.imul(from, lanes), this.lanes, Math.imul(to, lanes), lanes);
    } else {
      this.copyOthers(source, from, to, 1);
    }
  }

  /** As `copyPlace`, for `count` places in a row on both sides: one loop for all of them, whatever called it. */
  copyPlaces(source: SlotBuffer, from: number, to: number, count: number): void {
    const lanes = this.strideLanes;
    const isShort = lanes < this.lanesBelow;
    if (isShort && (count * lanes < NATIVE_FROM_LANES || this.helperFor(source) === undefined)) {
      copySlotLanes(source.lanes, from * lanes, this.lanes, to * lanes, count * lanes);
    } else {
      this.copyOthers(source, from, to, count);
    }
  }

  /** What is not copied by lanes: large slots, and all slots on engines without fast lanes. */
  private copyOthers(source: SlotBuffer, from: number, to: number, count: number): void {
    const stride = this.strideBytes;
    const helper = this.helperFor(source);
    if (helper !== undefined) {
      helper.copy(this.at + to * stride, source.at + from * stride, count * stride);
    } else if (this.slotBytes >= PREMADE_FROM_BYTES) {
      // The casts: all places exist, which the compiler cannot know.
      for (let i = 0; i < count; i += 1) (this.places[to + i] as Uint8Array).set(source.places[from + i] as Uint8Array);
    } else {
      const words = stride >> 2;
      copyWords(source.words, from * words, this.words, to * words, count * words);
    }
  }

  /** What copies natively from `source`, if both lie in one memory that can. */
  private helperFor(source: SlotBuffer): CopyHelper | undefined {
    return this.memory === source.memory ? this.memory?.helper : undefined;
  }
}

/** Bytes from one slot to the next: `slotBytes` rounded up to a multiple of 8. */
export function slotStride(slotBytes: number): number {
  return Math.ceil(slotBytes / 8) * 8;
}

/**
 * Check that `count` places from `first` on exist in `buffer`, of the size that the slots of `ring` have.
 *
 * @throws RingError `SLOT_BUFFER`.
 */
export function checkPlaces(buffer: SlotBuffer, first: number, count: number, ring: SlotBuffer): void {
  const isInside = Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count >= 0;
  if (isInside && count <= buffer.slots - first && buffer.slotBytes === ring.slotBytes) return;
  throw new RingError(
    'SLOT_BUFFER',
    `Cannot copy places ${first} to ${first + count} of ${buffer.slots} (${buffer.slotBytes} B) from or to slots of ${ring.slotBytes} B`,
    { first, count, bufferBytes: buffer.slotBytes, ringBytes: ring.slotBytes },
  );
}

/** Throw what `copyFrom` throws. */
export function refuseCopy(source: SlotBuffer, from: number, target: SlotBuffer, to: number): never {
  throw new RingError(
    'SLOT_BUFFER',
    `Cannot copy place ${from} of ${source.slots} (${source.slotBytes} B) to place ${to} of ${target.slots} (${target.slotBytes} B)`,
    { from, to, sourceBytes: source.slotBytes, targetBytes: target.slotBytes },
  );
}

function fits(shared: { readonly memory: SharedMemory; readonly region: Uint8Array }, needed: number): boolean {
  const { region, memory } = shared;
  return region.buffer === memory.buffer && region.byteOffset % 8 === 0 && region.byteLength >= needed;
}
