// Ranges of a disk as Node streams. Subpath `@splitring/frontend/disk-node-streams`.
import { Readable, Writable } from 'node:stream';
import type { Disk } from '../block/disk.ts';
import { DiskBytes, type DiskRange } from './disk-bytes.ts';

/** Options of a read stream. */
export interface DiskReadStreamOptions extends DiskRange {
  /** Bytes of one read, and what may wait in the stream for its consumer. Default 64 KiB. */
  readonly chunkBytes?: number;
}

/** Options of a write stream. */
export interface DiskWriteStreamOptions extends DiskRange {
  /** Bytes that may wait in the stream before `write` returns false. Default 64 KiB. */
  readonly bufferBytes?: number;
  /** Flush before `finish`: all that was written is on the medium then. */
  readonly isDurable?: boolean;
}

const CHUNK_BYTES = 65_536;

/**
 * Read a range as a stream. The disk is read only as fast as the stream is; destroying it gives up the read in flight.
 *
 * @example
 * createDiskReadStream(disk, { start: 512, end: 10_000 }).pipe(process.stdout);
 */
export function createDiskReadStream(disk: Disk, options: DiskReadStreamOptions = {}): Readable {
  const { chunkBytes = CHUNK_BYTES } = options;
  const bytes = new DiskBytes(disk, options);
  const ending = new AbortController();
  let at = 0;
  return new Readable({
    highWaterMark: chunkBytes,
    read() {
      const length = Math.min(chunkBytes, bytes.lengthBytes - at);
      if (length <= 0) {
        this.push(null);
        return;
      }
      // A chunk ends where a block of the disk does, so that only the first and the last are cut out of more.
      const aligned = length - (((options.start ?? 0) + at + length) % disk.blockBytes);
      const wanted = at + length < bytes.lengthBytes && aligned > 0 ? aligned : length;
      bytes.read(at, wanted, { signal: ending.signal }).then(
        (chunk) => {
          at += chunk.byteLength;
          this.push(chunk);
        },
        (error: Error) => this.destroy(error),
      );
    },
    destroy(error, done) {
      ending.abort();
      done(error);
    },
  });
}

/**
 * Write a range as a stream. `write` returns false while `bufferBytes` wait; `finish` comes when the disk has accepted
 * everything, or, with `isDurable`, when all of it is on the medium. More bytes than the range has are an error.
 *
 * @example
 * await pipeline(createReadStream('disk.img'), createDiskWriteStream(disk, { isDurable: true }));
 */
export function createDiskWriteStream(disk: Disk, options: DiskWriteStreamOptions = {}): Writable {
  const bytes = new DiskBytes(disk, options);
  const start = options.start ?? 0;
  const ending = new AbortController();
  const { signal } = ending;
  let at = 0;
  /** What does not fill a block yet. */
  let rest: Uint8Array = new Uint8Array(0);
  const store = async (chunks: readonly Uint8Array[]): Promise<void> => {
    const all = Buffer.concat([rest, ...chunks]);
    const whole = Math.max(0, all.byteLength - ((start + at + all.byteLength) % disk.blockBytes));
    rest = all.subarray(whole);
    if (whole > 0) await bytes.write(at, all.subarray(0, whole), { signal });
    at += whole;
  };
  const finish = async (): Promise<void> => {
    if (rest.byteLength > 0) await bytes.write(at, rest, { signal });
    if (options.isDurable === true) await bytes.flush({ signal });
  };
  return new Writable({
    highWaterMark: options.bufferBytes ?? CHUNK_BYTES,
    decodeStrings: true,
    write: (chunk: Buffer, _encoding, done) => void store([chunk]).then(() => done(), done),
    writev: (chunks, done) => void store(chunks.map(({ chunk }) => chunk as Buffer)).then(() => done(), done), // decoded
    final: (done) => void finish().then(() => done(), done),
    destroy(error, done) {
      ending.abort();
      done(error);
    },
  });
}
