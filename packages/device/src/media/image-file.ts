// hot path: bench/block
// A disk in a file: sparse, opened synchronously inside the thread that steps the controller, flushed off that thread.
import {
  closeSync,
  fdatasync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  readvSync,
  writeSync,
  writevSync,
} from 'node:fs';
import { MEDIUM_STATUS, type Medium, type MediumStatus } from './medium.ts';
import { MediumError } from './medium-error.ts';

/** How to open an image; plain data. */
export interface ImageFileOptions {
  /** Path of the file. */
  readonly path: string;
  /** Create it sparse with this size if it is missing, or grow it; without it the file must exist. */
  readonly sizeBytes?: number;
  /** Refuse writes; the file is opened for reading only. */
  readonly isReadOnly?: boolean;
  /** Logical block size; default 512. */
  readonly blockBytes?: number;
}

const PHYSICAL_BLOCK_BYTES = 4096;
const ZERO_CHUNK_BYTES = 65_536;
const zeroes = new Uint8Array(ZERO_CHUNK_BYTES);

/** Map an error of the file system to a medium status. */
function statusOf(error: unknown): MediumStatus {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') return MEDIUM_STATUS.outOfSpace;
  if (code === 'EROFS' || code === 'EBADF' || code === 'EPERM') return MEDIUM_STATUS.readOnly;
  return MEDIUM_STATUS.failed;
}

/**
 * A medium in an image file. The volatile cache is the host's page cache: it survives the death of a domain and of this
 * process, not a power cut of the host; `flush` is fdatasync on libuv's pool.
 *
 * The file has one user: take the hold (`holdImage`) on the host thread first.
 *
 * @example
 * const medium = new ImageFile({ path: 'vol0.img', sizeBytes: 256 << 20 });
 */
export class ImageFile implements Medium {
  /** Logical block size. */
  readonly blockBytes: number;
  /** Pages of the host's cache are what gets written. */
  readonly physicalBlockBytes = PHYSICAL_BLOCK_BYTES;
  /** Whether writes are refused. */
  readonly isReadOnly: boolean;
  /** The page cache loses what is not synced. */
  readonly hasVolatileCache: boolean;
  private readonly fd: number;
  private size: number;
  private scratch: Uint8Array | undefined;

  /** Open or create the image. @throws MediumError with a code that says what to do */
  constructor(options: ImageFileOptions) {
    this.blockBytes = options.blockBytes ?? 512;
    this.isReadOnly = options.isReadOnly ?? false;
    this.hasVolatileCache = !this.isReadOnly;
    this.fd = openImage(options, this.isReadOnly);
    try {
      this.size = sizeImage(this.fd, options, this.isReadOnly, this.blockBytes);
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
  }

  /** Size when it was opened or last resampled. */
  get capacityBytes(): number {
    return this.size;
  }

  /** Look at the file's size again. @returns the size in bytes, whole blocks; as before where the system does not tell */
  resample(): number {
    try {
      const { size } = fstatSync(this.fd);
      this.size = size - (size % this.blockBytes);
    } catch {
      // a file that cannot be examined fails its requests; its driver domain goes on
    }
    return this.size;
  }

  /** One pread. */
  read(positionBytes: number, bytes: Uint8Array, offset: number, lengthBytes: number): MediumStatus {
    try {
      const done = readSync(this.fd, bytes, offset, lengthBytes, positionBytes);
      return done === lengthBytes ? MEDIUM_STATUS.okay : MEDIUM_STATUS.outOfRange;
    } catch (error) {
      return statusOf(error);
    }
  }

  /** One pwrite. */
  write(positionBytes: number, bytes: Uint8Array, offset: number, lengthBytes: number): MediumStatus {
    if (this.isReadOnly) return MEDIUM_STATUS.readOnly;
    try {
      const done = writeSync(this.fd, bytes, offset, lengthBytes, positionBytes);
      return done === lengthBytes ? MEDIUM_STATUS.okay : MEDIUM_STATUS.outOfSpace;
    } catch (error) {
      return statusOf(error);
    }
  }

  /** One preadv. */
  readVector(positionBytes: number, views: readonly Uint8Array[]): MediumStatus {
    try {
      return readvSync(this.fd, views, positionBytes) === total(views) ? MEDIUM_STATUS.okay : MEDIUM_STATUS.outOfRange;
    } catch (error) {
      return statusOf(error);
    }
  }

  /** One pwritev. */
  writeVector(positionBytes: number, views: readonly Uint8Array[]): MediumStatus {
    if (this.isReadOnly) return MEDIUM_STATUS.readOnly;
    try {
      return writevSync(this.fd, views, positionBytes) === total(views) ? MEDIUM_STATUS.okay : MEDIUM_STATUS.outOfSpace;
    } catch (error) {
      return statusOf(error);
    }
  }

  /** Write zeroes where the range is not zero already, so that holes stay holes. */
  writeZeroes(positionBytes: number, lengthBytes: number): MediumStatus {
    if (this.isReadOnly) return MEDIUM_STATUS.readOnly;
    this.scratch ??= new Uint8Array(ZERO_CHUNK_BYTES);
    try {
      for (let done = 0; done < lengthBytes; done += ZERO_CHUNK_BYTES) {
        const length = Math.min(ZERO_CHUNK_BYTES, lengthBytes - done);
        const there = readSync(this.fd, this.scratch, 0, length, positionBytes + done);
        if (there !== length) return MEDIUM_STATUS.outOfRange;
        if (!this.zeroPages(this.scratch, length, positionBytes + done)) return MEDIUM_STATUS.outOfSpace;
      }
      return MEDIUM_STATUS.okay;
    } catch (error) {
      return statusOf(error);
    }
  }

  /** Overwrite the runs of pages in `bytes`, read from `positionBytes`, that are not zero. @returns false if full */
  private zeroPages(bytes: Uint8Array, lengthBytes: number, positionBytes: number): boolean {
    let start = -1;
    for (let at = 0; at <= lengthBytes; at += PHYSICAL_BLOCK_BYTES) {
      const isDirty = at < lengthBytes && !isZero(bytes, at, Math.min(PHYSICAL_BLOCK_BYTES, lengthBytes - at));
      if (isDirty && start < 0) start = at;
      if (isDirty || start < 0) continue;
      const length = Math.min(at, lengthBytes) - start;
      if (writeSync(this.fd, zeroes, 0, length, positionBytes + start) !== length) return false;
      start = -1;
    }
    return (
      start < 0 || writeSync(this.fd, zeroes, 0, lengthBytes - start, positionBytes + start) === lengthBytes - start
    );
  }

  /** fdatasync off-thread. */
  flush(done: (status: MediumStatus) => void): void {
    if (this.isReadOnly) done(MEDIUM_STATUS.okay);
    else fdatasync(this.fd, (error) => done(error === null ? MEDIUM_STATUS.okay : statusOf(error)));
  }

  /** A file has nothing finer than fdatasync. */
  persist(_positionBytes: number, _lengthBytes: number, done: (status: MediumStatus) => void): void {
    this.flush(done);
  }

  /** Close the file. */
  close(): void {
    closeSync(this.fd);
  }
}

function total(views: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const view of views) bytes += view.length;
  return bytes;
}

function isZero(bytes: Uint8Array, offset: number, lengthBytes: number): boolean {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + offset, lengthBytes >>> 2);
  for (const word of words) if (word !== 0) return false;
  return true;
}

function openImage(options: ImageFileOptions, isReadOnly: boolean): number {
  const { path } = options;
  try {
    if (isReadOnly) return openSync(path, 'r');
    try {
      return openSync(path, 'r+');
    } catch (error) {
      const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
      if (!isMissing || options.sizeBytes === undefined) throw error;
      return openSync(path, 'wx+');
    }
  } catch (error) {
    throw MediumError.opening(path, error);
  }
}

function sizeImage(fd: number, options: ImageFileOptions, isReadOnly: boolean, blockBytes: number): number {
  const { path, sizeBytes } = options;
  const stat = fstatSync(fd);
  if (!stat.isFile())
    throw new MediumError('IMAGE_NOT_A_FILE', `Cannot use image ${path}: it is not a regular file`, { path });
  let { size } = stat;
  if (sizeBytes !== undefined && size < sizeBytes && !isReadOnly) {
    try {
      ftruncateSync(fd, sizeBytes);
    } catch (error) {
      throw MediumError.opening(path, error);
    }
    size = sizeBytes;
  }
  size -= size % blockBytes;
  if (size === 0)
    throw new MediumError('IMAGE_TOO_SMALL', `Cannot use image ${path}: it is smaller than one block`, { path });
  return size;
}
