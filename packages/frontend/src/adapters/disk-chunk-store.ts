// A disk with the interface of abstract-chunk-store: chunks of one length by index.
import type { Disk } from '../block/disk.ts';
import { DiskBytes, type DiskRange } from './disk-bytes.ts';
import type { StorageCallback } from './random-access-disk.ts';

/** Where the chunks lie. */
export interface DiskChunkStoreOptions extends DiskRange {
  /** The disk that holds them. */
  readonly disk: Disk;
  /** Bytes of all chunks together: the last one may be shorter. Default: as many whole chunks as the range holds. */
  readonly length?: number;
}

/** Part of a chunk. */
export interface ChunkPart {
  readonly offset?: number;
  readonly length?: number;
}

/**
 * Chunks of `chunkLength` bytes one after the other, any length. A disk does not know which chunks were ever put: `get`
 * of one that was not reads what is there.
 *
 * @example
 * const store = new DiskChunkStore(16_384, { disk: guest.disk('xvda') });
 * store.put(3, chunk, (error) => store.get(3, { offset: 100, length: 10 }, (error, bytes) => …));
 */
export class DiskChunkStore {
  readonly chunkLength: number;
  /** Bytes of all chunks together. */
  readonly length: number;
  closed = false;
  private readonly bytes: DiskBytes;

  /** @throws RangeError for lengths that are none or do not fit the range */
  constructor(chunkLength: number, options: DiskChunkStoreOptions) {
    if (!Number.isSafeInteger(chunkLength) || chunkLength < 1) {
      throw new RangeError(`Cannot store chunks of ${chunkLength} bytes: not a positive integer`);
    }
    this.bytes = new DiskBytes(options.disk, options);
    const room = this.bytes.lengthBytes;
    const length = options.length ?? room - (room % chunkLength);
    if (!Number.isSafeInteger(length) || length < 0 || length > room) {
      throw new RangeError(`Cannot store ${length} bytes of chunks: the range has ${room}`);
    }
    this.chunkLength = chunkLength;
    this.length = length;
  }

  /** Store a chunk of exactly its length; it must not change until `done`. */
  put(index: number, chunk: Uint8Array, done: StorageCallback = () => {}): void {
    const length = this.lengthOf(index);
    if (length === chunk.byteLength) this.run(() => this.bytes.write(index * this.chunkLength, chunk), done);
    else this.refuse(`Cannot put ${chunk.byteLength} bytes as chunk ${index}: it has ${length}`, done);
  }

  /** Read a chunk, or part of it. */
  get(index: number, part: ChunkPart | null, done: StorageCallback<Uint8Array<ArrayBuffer>>): void;
  /** Read a chunk. */
  get(index: number, done: StorageCallback<Uint8Array<ArrayBuffer>>): void;
  get(
    index: number,
    part: ChunkPart | null | StorageCallback<Uint8Array<ArrayBuffer>>,
    then?: StorageCallback<Uint8Array<ArrayBuffer>>,
  ): void {
    const done = typeof part === 'function' ? part : then;
    if (done === undefined) throw new TypeError('Cannot get a chunk: a callback is needed');
    const { offset = 0, length } = typeof part === 'function' || part === null ? {} : part;
    const whole = this.lengthOf(index);
    const wanted = length ?? whole - offset;
    if (!Number.isSafeInteger(offset) || offset < 0 || !(wanted >= 0 && wanted <= whole - offset) || whole === 0) {
      this.refuse(`Cannot get ${wanted} bytes at ${offset} of chunk ${index}: it has ${whole}`, done);
    } else {
      this.run(() => this.bytes.read(index * this.chunkLength + offset, wanted), done);
    }
  }

  /** Make what is stored durable. Not part of abstract-chunk-store, which does not speak of it. */
  sync(done: StorageCallback = () => {}): void {
    this.run(() => this.bytes.flush(), done);
  }

  /** Take no more calls. */
  close(done: StorageCallback = () => {}): void {
    this.run(async () => {
      this.closed = true;
    }, done);
  }

  /** Make all chunks zero, and close. */
  destroy(done: StorageCallback = () => {}): void {
    const zeroed = this.closed ? Promise.resolve() : this.bytes.zero(0, this.length);
    this.closed = true;
    this.settle(zeroed, done);
  }

  /** Bytes of a chunk; 0 if there is no such chunk. */
  private lengthOf(index: number): number {
    if (!Number.isSafeInteger(index) || index < 0) return 0;
    return Math.max(0, Math.min(this.chunkLength, this.length - index * this.chunkLength));
  }

  private run<T>(act: () => Promise<T>, done: StorageCallback<T>): void {
    if (this.closed) this.refuse('Cannot use this store: it is closed', done);
    else this.settle(act(), done);
  }

  private refuse<T>(why: string, done: StorageCallback<T>): void {
    this.settle(Promise.reject(new RangeError(why)), done);
  }

  private settle<T>(result: Promise<T>, done: StorageCallback<T>): void {
    // An exception out of the callback is an unhandled rejection; it must not come back as a second call.
    result.then(
      (value) => done(null, value),
      (error: Error) => done(error),
    );
  }
}
