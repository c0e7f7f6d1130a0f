// Copies between a lane of a channel and the embedder's bytes: native where both lie in one WebAssembly memory, lane by
// lane where both are aligned, `set` otherwise.
// hot path: bench suite ring, subject channel
import { copyLanes, copyWords, prefersLanes } from './lanes.ts';
import type { SharedMemory } from './shared-memory.ts';
import type { SlotBuffer } from './slot-buffer.ts';

/** From this length on `Uint8Array.set` beats a loop over lanes. */
const SET_FROM_BYTES = 2048;
/** From this length on the call into the native helper pays. */
const NATIVE_FROM_BYTES = 256;
/** Up to this length a loop over bytes beats everything that needs a call. */
const BYTEWISE_BELOW_BYTES = 16;

/** Private bytes with the views that fast copies need. */
export interface AlignedBytes {
  /** The bytes, starting at a multiple of 8. */
  readonly bytes: Uint8Array;
  /** The same as words; bytes after the last whole one are not covered. */
  readonly words: Int32Array;
  /** The same as lanes of eight bytes. */
  readonly lanes: BigInt64Array;
  /** The shared memory they lie in, if any. */
  readonly memory: SharedMemory | undefined;
}

function alignedViews(bytes: Uint8Array): AlignedBytes | undefined {
  const { buffer, byteOffset, byteLength } = bytes;
  if (byteOffset % 8 !== 0) return undefined;
  return {
    bytes,
    words: new Int32Array(buffer, byteOffset, byteLength >> 2),
    lanes: new BigInt64Array(buffer, byteOffset, byteLength >> 3),
    memory: undefined,
  };
}

/**
 * The records of one lane, and what copies to and from them. Every range is checked by the caller; record payloads start
 * at multiples of 8.
 */
export class LaneBytes {
  /** The records as bytes. */
  readonly bytes: Uint8Array;
  /** The records as words. */
  readonly words: Int32Array;
  private readonly lanes: BigInt64Array;
  private readonly memory: SharedMemory;
  private readonly isLanewise: boolean;
  private readonly at: number;
  // The caller's array used last: most callers reuse one, and then its aligned views pay.
  private lastBytes: Uint8Array | undefined;
  private lastViews: AlignedBytes | undefined;
  private lastBuffer: AlignedBytes | undefined;
  private isLastNative: boolean;

  /** View `capacityBytes` at byte `at` of the memory. */
  constructor(memory: SharedMemory, at: number, capacityBytes: number) {
    this.bytes = new Uint8Array(memory.buffer, at, capacityBytes);
    this.words = new Int32Array(memory.buffer, at, capacityBytes >> 2);
    this.lanes = new BigInt64Array(memory.buffer, at, capacityBytes >> 3);
    this.memory = memory;
    this.isLanewise = prefersLanes();
    this.at = at;
    this.lastBytes = undefined;
    this.lastViews = undefined;
    this.lastBuffer = undefined;
    this.isLastNative = false;
  }

  /** Copy `source` to byte `to` of the lane. */
  copyIn(to: number, source: Uint8Array): void {
    const length = source.length;
    const views = source === this.lastBytes ? this.lastViews : this.remember(source);
    if (views !== undefined && length < SET_FROM_BYTES) this.in(to, views, 0, length);
    else if (length < BYTEWISE_BELOW_BYTES)
      for (let i = 0; i < length; i += 1) this.bytes[to + i] = source[i] as number;
    else this.bytes.set(source, to);
  }

  /** Copy `length` bytes at byte `from` of the lane to the start of `target`. */
  copyOut(from: number, length: number, target: Uint8Array): void {
    const views = target === this.lastBytes ? this.lastViews : this.remember(target);
    if (views !== undefined && length < SET_FROM_BYTES) this.out(from, views, 0, length);
    else if (length < BYTEWISE_BELOW_BYTES)
      for (let i = 0; i < length; i += 1) target[i] = this.bytes[from + i] as number;
    else target.set(this.bytes.subarray(from, from + length));
  }

  /** Copy `length` bytes at byte `from` of the lane to a fresh array of that length. */
  copyFresh(from: number, length: number, target: Uint8Array): void {
    if (length < BYTEWISE_BELOW_BYTES) for (let i = 0; i < length; i += 1) target[i] = this.bytes[from + i] as number;
    else target.set(this.bytes.subarray(from, from + length));
  }

  /** Copy `length` bytes at byte `from` of a slot buffer to byte `to` of the lane. */
  copyFrom(to: number, source: AlignedBytes, from: number, length: number): void {
    if (source !== this.lastBuffer) this.rememberBuffer(source);
    if (this.isLastNative && length >= NATIVE_FROM_BYTES)
      this.memory.copy(this.at + to, source.bytes.byteOffset + from, length);
    else if ((from & 7) === 0 && length < SET_FROM_BYTES) this.in(to, source, from, length);
    else this.bytes.set(source.bytes.subarray(from, from + length), to);
  }

  /** Copy `length` bytes at byte `from` of the lane to byte `to` of a slot buffer. */
  copyTo(from: number, target: AlignedBytes, to: number, length: number): void {
    if (target !== this.lastBuffer) this.rememberBuffer(target);
    if (this.isLastNative && length >= NATIVE_FROM_BYTES)
      this.memory.copy(target.bytes.byteOffset + to, this.at + from, length);
    else if ((to & 7) === 0 && length < SET_FROM_BYTES) this.out(from, target, to, length);
    else target.bytes.set(this.bytes.subarray(from, from + length), to);
  }

  private in(to: number, source: AlignedBytes, from: number, length: number): void {
    if (this.isLanewise) copyLanes(source.lanes, from >> 3, this.lanes, to >> 3, length >> 3);
    else copyWords(source.words, from >> 2, this.words, to >> 2, (length >> 3) << 1);
    for (let i = length & ~7; i < length; i += 1) this.bytes[to + i] = source.bytes[from + i] as number;
  }

  private out(from: number, target: AlignedBytes, to: number, length: number): void {
    if (this.isLanewise) copyLanes(this.lanes, from >> 3, target.lanes, to >> 3, length >> 3);
    else copyWords(this.words, from >> 2, target.words, to >> 2, (length >> 3) << 1);
    for (let i = length & ~7; i < length; i += 1) target.bytes[to + i] = this.bytes[from + i] as number;
  }

  // Views cost more than a copy: make them only for an array that comes a second time in a row.
  private remember(bytes: Uint8Array): AlignedBytes | undefined {
    if (bytes === this.lastSeen) {
      this.lastBytes = bytes;
      this.lastViews = alignedViews(bytes);
      return this.lastViews;
    }
    this.lastSeen = bytes;
    return undefined;
  }

  private lastSeen: Uint8Array | undefined = undefined;

  private rememberBuffer(buffer: AlignedBytes): void {
    this.lastBuffer = buffer;
    this.isLastNative = this.memory.helper !== undefined && buffer.memory?.buffer === this.memory.buffer;
  }
}

/** A slot buffer is aligned bytes by construction. */
export type MessageBuffer = AlignedBytes | SlotBuffer;

/** Refuse to send what the buffer does not have. @throws {RangeError}. */
export function checkRange(source: MessageBuffer, from: number, length: number): void {
  if (from >= 0 && length <= source.bytes.length - from) return;
  throw new RangeError(`Cannot send ${length} bytes at ${from}: the buffer has ${source.bytes.length}`);
}
