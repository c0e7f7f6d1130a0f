// A disk with the interface of random-access-storage: byte offsets, callbacks, the shape that logs and tries are built on.
import type { Disk } from '../block/disk.ts';
import { DiskBytes, type DiskRange } from './disk-bytes.ts';

/** Told once, later than the call: an error, or null and the result. */
export type StorageCallback<T = void> = (error: Error | null, result?: T) => void;

/**
 * A range of a disk as a random-access storage. It has the range's size from the beginning: `del` and `truncate` make
 * bytes zero and never change the size. After `close` every call ends with an error.
 *
 * @example
 * const storage = new RandomAccessDisk(guest.disk('xvda'));
 * storage.write(1001, bytes, (error) => storage.read(1001, 5, (error, read) => …));
 */
export class RandomAccessDisk {
  readonly readable = true;
  readonly writable: boolean;
  readonly deletable: boolean;
  readonly truncatable: boolean;
  readonly statable = true;
  opened = false;
  closed = false;
  private readonly bytes: DiskBytes;

  /** @throws RangeError for a range that is none */
  constructor(disk: Disk, range: DiskRange = {}) {
    this.bytes = new DiskBytes(disk, range);
    this.writable = !disk.isReadOnly;
    this.deletable = this.writable;
    this.truncatable = this.writable;
  }

  /** Nothing to open; for those who wait for it. */
  open(done: StorageCallback = () => {}): void {
    this.run(async () => {}, done);
  }

  /** Read exactly `size` bytes, or fail. */
  read(offset: number, size: number, done: StorageCallback<Uint8Array<ArrayBuffer>>): void {
    this.run(() => this.bytes.read(offset, size), done);
  }

  /** Write bytes, which must not change until `done`. */
  write(offset: number, data: Uint8Array, done: StorageCallback = () => {}): void {
    this.run(() => this.bytes.write(offset, data), done);
  }

  /** Make bytes zero; what lies beyond the end is ignored. */
  del(offset: number, size: number, done: StorageCallback = () => {}): void {
    this.run(async () => {
      const room = Math.max(0, this.bytes.lengthBytes - offset);
      await this.bytes.zero(Math.min(offset, this.bytes.lengthBytes), Math.min(size, room));
    }, done);
  }

  /** Make everything from `offset` on zero. */
  truncate(offset: number, done: StorageCallback = () => {}): void {
    this.del(offset, Math.max(0, this.bytes.lengthBytes - offset), done);
  }

  /** Tell the size in bytes. */
  stat(done: StorageCallback<{ readonly size: number; readonly blksize: number }>): void {
    this.run(async () => ({ size: this.bytes.lengthBytes, blksize: this.bytes.disk.blockBytes }), done);
  }

  /** Make what is written durable. Not part of random-access-storage, which does not speak of it. */
  sync(done: StorageCallback = () => {}): void {
    this.run(() => this.bytes.flush(), done);
  }

  /** Take no more calls. The disk is the guest's and stays. */
  close(done: StorageCallback = () => {}): void {
    this.run(async () => {
      this.closed = true;
    }, done);
  }

  private run<T>(act: () => Promise<T>, done: StorageCallback<T>): void {
    const isOpen = !this.closed;
    if (isOpen) this.opened = true;
    const result = isOpen ? act() : Promise.reject(new TypeError('Cannot use this storage: it is closed'));
    // An exception out of the callback is an unhandled rejection; it must not come back as a second call.
    result.then(
      (value) => done(null, value),
      (error: Error) => done(error),
    );
  }
}
