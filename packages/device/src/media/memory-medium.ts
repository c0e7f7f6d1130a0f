// A disk in memory: shared, so that it outlives the domain that steps its controller.
import { MEDIUM_STATUS, type Medium, type MediumStatus } from './medium.ts';

/** Options of a memory medium. */
export interface MemoryMediumOptions {
  /** Logical block size; default 512. */
  readonly blockBytes?: number;
  /** Refuse writes; default false. */
  readonly isReadOnly?: boolean;
}

/**
 * A medium over a shared buffer. Memory that the platform owns has no volatile cache: a write is durable at once.
 *
 * @example
 * const medium = new MemoryMedium(new SharedArrayBuffer(64 << 20));
 */
export class MemoryMedium implements Medium {
  /** Always the buffer's size, rounded down to whole blocks. */
  readonly capacityBytes: number;
  /** Logical block size. */
  readonly blockBytes: number;
  /** Same as the logical block. */
  readonly physicalBlockBytes: number;
  /** Whether writes are refused. */
  readonly isReadOnly: boolean;
  /** Nothing is volatile here. */
  readonly hasVolatileCache = false;
  private readonly memory: Uint8Array;

  /** Use `buffer`, plain data that any boot can carry. */
  constructor(buffer: SharedArrayBuffer | ArrayBuffer, options: MemoryMediumOptions = {}) {
    this.memory = new Uint8Array(buffer);
    this.blockBytes = options.blockBytes ?? 512;
    this.physicalBlockBytes = this.blockBytes;
    this.isReadOnly = options.isReadOnly ?? false;
    this.capacityBytes = buffer.byteLength - (buffer.byteLength % this.blockBytes);
  }

  /** Copy out. */
  read(positionBytes: number, bytes: Uint8Array, offset: number, lengthBytes: number): MediumStatus {
    bytes.set(this.memory.subarray(positionBytes, positionBytes + lengthBytes), offset);
    return MEDIUM_STATUS.okay;
  }

  /** Copy in. */
  write(positionBytes: number, bytes: Uint8Array, offset: number, lengthBytes: number): MediumStatus {
    if (this.isReadOnly) return MEDIUM_STATUS.readOnly;
    this.memory.set(bytes.subarray(offset, offset + lengthBytes), positionBytes);
    return MEDIUM_STATUS.okay;
  }

  /** Copy out to several views. */
  readVector(positionBytes: number, views: readonly Uint8Array[]): MediumStatus {
    let at = positionBytes;
    for (const view of views) {
      view.set(this.memory.subarray(at, at + view.length));
      at += view.length;
    }
    return MEDIUM_STATUS.okay;
  }

  /** Copy in from several views. */
  writeVector(positionBytes: number, views: readonly Uint8Array[]): MediumStatus {
    if (this.isReadOnly) return MEDIUM_STATUS.readOnly;
    let at = positionBytes;
    for (const view of views) {
      this.memory.set(view, at);
      at += view.length;
    }
    return MEDIUM_STATUS.okay;
  }

  /** Fill with zeroes. */
  writeZeroes(positionBytes: number, lengthBytes: number): MediumStatus {
    if (this.isReadOnly) return MEDIUM_STATUS.readOnly;
    this.memory.fill(0, positionBytes, positionBytes + lengthBytes);
    return MEDIUM_STATUS.okay;
  }

  /** Nothing to do: done at once. */
  flush(done: (status: MediumStatus) => void): void {
    done(MEDIUM_STATUS.okay);
  }

  /** Nothing to do: done at once. */
  persist(_positionBytes: number, _lengthBytes: number, done: (status: MediumStatus) => void): void {
    done(MEDIUM_STATUS.okay);
  }

  /** A buffer keeps its size. */
  resample(): number {
    return this.capacityBytes;
  }

  /** Nothing to do. */
  close(): void {
    // memory belongs to the platform
  }
}
