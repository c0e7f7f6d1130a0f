// Copies between a lane of a channel and slot buffers: native where both lie in one WebAssembly memory.
// hot path: bench suite ring, subjects channel, channel-plain, channel-wasm
import { type AlignedBytes, copyAligned, SET_FROM_BYTES } from './channel-copy.ts';
import type { SharedMemory } from './shared-memory.ts';
import type { SlotBuffer } from './slot-buffer.ts';

/** From this length on the call into the native helper pays. */
export const NATIVE_FROM_BYTES = 256;

/** A slot buffer is aligned bytes by construction. */
export type MessageBuffer = AlignedBytes | SlotBuffer;

/** What copies between the records of a channel and slot buffers. */
export class BufferCopies {
  private readonly memory: SharedMemory | undefined;
  private last: AlignedBytes | undefined;
  private native: ((to: number, from: number, bytes: number) => void) | undefined;

  /** For the records that lie in `memory`. */
  constructor(memory: SharedMemory | undefined) {
    this.memory = memory;
    this.last = undefined;
    this.native = undefined;
  }

  /** Copy `length` bytes; `buffer` is the one of both that is no record. The caller has checked both ranges. */
  copy(buffer: AlignedBytes, from: AlignedBytes, fromAt: number, to: AlignedBytes, toAt: number, length: number): void {
    if (buffer !== this.last) this.remember(buffer);
    if (length >= NATIVE_FROM_BYTES && this.native !== undefined)
      this.native(to.bytes.byteOffset + toAt, from.bytes.byteOffset + fromAt, length);
    else if (((fromAt | toAt) & 7) === 0 && length < SET_FROM_BYTES) copyAligned(from, fromAt, to, toAt, length);
    else to.bytes.set(from.bytes.subarray(fromAt, fromAt + length), toAt);
  }

  private remember(buffer: AlignedBytes): void {
    this.last = buffer;
    this.native = buffer.memory?.buffer === this.memory?.buffer ? this.memory?.helper?.copy : undefined;
  }
}

/** Refuse to send what the buffer does not have. @throws {RangeError}. */
export function checkRange(source: MessageBuffer, from: number, length: number): void {
  if (from >= 0 && length >= 0 && length <= source.bytes.length - from) return;
  throw new RangeError(`Cannot send ${length} bytes at ${from}: the buffer has ${source.bytes.length}`);
}
