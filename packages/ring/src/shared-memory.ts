// Memory that threads share, of two kinds with one API: a plain SharedArrayBuffer, or a shared WebAssembly.Memory, inside
// which copies run at native speed.
import { allocateWasmMemory, type CopyHelper, compileCopyHelper, type SharedWasmMemory } from './copy-wasm.ts';
import { RingError } from './error.ts';
import { copyWords } from './lanes.ts';
import { isSharedBuffer } from './ring-layout.ts';

/** `plain`: a SharedArrayBuffer. `wasm`: a shared WebAssembly.Memory with a native copy helper. */
export type SharedMemoryKind = 'plain' | 'wasm';

/** Plain data that carries a memory to another thread: exactly one of the two is set. */
export interface SharedMemoryHandle {
  /** A plain SharedArrayBuffer. */
  readonly buffer?: SharedArrayBuffer;
  /** A shared WebAssembly.Memory. */
  readonly memory?: SharedWasmMemory;
}

const LINE_BYTES = 128; // adjacent-line prefetch (Intel) and 128-byte lines (Apple) make 64 too small

/**
 * A shared memory and the fastest way to copy inside it.
 *
 * @example
 * const memory = SharedMemory.allocate(1 << 20, 'wasm');
 * const region = memory.reserve(4096); // a Uint8Array, line-aligned
 * worker.postMessage(memory.handle); // there: SharedMemory.open(handle)
 */
export class SharedMemory {
  /** All its bytes. */
  readonly buffer: SharedArrayBuffer;
  /** Plain data to post to another thread. */
  readonly handle: SharedMemoryHandle;
  /** The native helper, if this memory has one. */
  readonly helper: CopyHelper | undefined;
  /** Every byte of the memory. */
  readonly bytes: Uint8Array;
  private readonly words: Int32Array;
  private reserved: number;

  private constructor(handle: SharedMemoryHandle, buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.handle = handle;
    this.helper = handle.memory === undefined ? undefined : compileCopyHelper(handle.memory);
    this.bytes = new Uint8Array(buffer, 0, buffer.byteLength);
    this.words = new Int32Array(buffer, 0, buffer.byteLength >> 2);
    this.reserved = 0;
  }

  /**
   * Allocate `bytes` of zeroed shared memory. `wasm` falls back to `plain` where the engine has no shared
   * WebAssembly.Memory; `kind` tells what came of it.
   *
   * @throws RingError `MEMORY_BYTES` if `bytes` is not a positive integer; TypeError for another kind; RangeError of the
   * engine if there is not enough.
   */
  static allocate(bytes: number, kind: SharedMemoryKind = 'plain'): SharedMemory {
    if (!Number.isSafeInteger(bytes) || bytes < 1) {
      throw new RingError('MEMORY_BYTES', `Cannot allocate ${bytes} bytes: not a positive integer`, { bytes });
    }
    if (kind !== 'plain' && kind !== 'wasm') throw new TypeError(`Cannot allocate ${kind} memory: plain or wasm`);
    const memory = kind === 'wasm' ? allocateWasmMemory(bytes) : undefined;
    return memory === undefined
      ? SharedMemory.open({ buffer: new SharedArrayBuffer(bytes) })
      : SharedMemory.open({ memory });
  }

  /** Open a memory from the handle that another thread posted. @throws RingError `RING_NOT_SHARED`. */
  static open(handle: SharedMemoryHandle): SharedMemory {
    const buffer = handle?.memory?.buffer ?? handle?.buffer;
    if (!isSharedBuffer(buffer)) {
      throw new RingError('RING_NOT_SHARED', 'Cannot open this memory: its handle carries no shared buffer');
    }
    return new SharedMemory(handle, buffer);
  }

  /** Which kind it is. */
  get kind(): SharedMemoryKind {
    return this.handle.memory === undefined ? 'plain' : 'wasm';
  }

  /**
   * Reserve the next `bytes`, aligned to a cache-line pair. For the thread that allocated the memory; others are told offsets.
   *
   * @throws RingError `MEMORY_FULL` if they do not fit.
   */
  reserve(bytes: number): Uint8Array {
    const at = this.reserved;
    if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > this.buffer.byteLength - at) {
      const available = this.buffer.byteLength - at;
      throw new RingError('MEMORY_FULL', `Cannot reserve ${bytes} bytes: ${available} are left`, { bytes, available });
    }
    this.reserved = Math.ceil((at + bytes) / LINE_BYTES) * LINE_BYTES;
    return new Uint8Array(this.buffer, at, bytes);
  }

  /** Copy `bytes` from byte `from` to byte `to` of this memory; the ranges must not overlap. */
  copy(to: number, from: number, bytes: number): void {
    if (this.helper !== undefined) this.helper.copy(to, from, bytes);
    else if (((to | from | bytes) & 3) === 0 && bytes <= 256)
      copyWords(this.words, from >> 2, this.words, to >> 2, bytes >> 2);
    else this.bytes.copyWithin(to, from, from + bytes);
  }
}
