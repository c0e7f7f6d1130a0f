// Copies of messages: lane by lane where both sides are aligned, `set` otherwise.
// hot path: bench suite ring, subject channel
import { copyLanes, copyWords, prefersLanes } from './lanes.ts';
import type { SharedMemory } from './shared-memory.ts';

/** From this length on `Uint8Array.set` beats a loop over lanes. */
export const SET_FROM_BYTES = 2048;
/** Up to this length a loop over bytes beats everything that needs a call. */
const BYTEWISE_BELOW_BYTES = 16;

/** Bytes with the views that fast copies need. */
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

/** View bytes that start at a multiple of 8. */
export function viewsOf(buffer: ArrayBufferLike, at: number, bytes: number): AlignedBytes {
  return {
    bytes: new Uint8Array(buffer, at, bytes),
    words: new Int32Array(buffer, at, bytes >> 2),
    lanes: new BigInt64Array(buffer, at, bytes >> 3),
    memory: undefined,
  };
}

/** Copy between aligned bytes, from and to multiples of 8; the ranges are checked by the caller. */
export function copyAligned(from: AlignedBytes, fromAt: number, to: AlignedBytes, toAt: number, length: number): void {
  if (prefersLanes()) copyLanes(from.lanes, fromAt >> 3, to.lanes, toAt >> 3, length >> 3);
  else copyWords(from.words, fromAt >> 2, to.words, toAt >> 2, (length >> 3) << 1);
  for (let i = length & ~7; i < length; i += 1) to.bytes[toAt + i] = from.bytes[fromAt + i] as number; // in range
}

/** Copy between any bytes; the ranges are checked by the caller. */
export function copyPlain(from: Uint8Array, fromAt: number, to: Uint8Array, toAt: number, length: number): void {
  if (length < BYTEWISE_BELOW_BYTES)
    for (let i = 0; i < length; i += 1) to[toAt + i] = from[fromAt + i] as number; // in range
  else to.set(length === from.length ? from : from.subarray(fromAt, fromAt + length), toAt);
}
