// A range of a disk by the byte: unaligned reads and writes on top of whole blocks.
import { blockError } from '../block/block-error.ts';
import type { Disk, DiskRequestOptions, DiskWriteOptions } from '../block/disk.ts';

/** Part of a disk in bytes; any byte, not only whole blocks. */
export interface DiskRange {
  /** First byte; default 0. */
  readonly start?: number;
  /** End, exclusive; default the end of the disk, wherever that is then. */
  readonly end?: number;
}

/** A write under way: the blocks that it changes, and when it is over. */
interface Writing {
  readonly first: number;
  readonly end: number;
  readonly over: Promise<void>;
}

/**
 * Reads and writes at any byte. A write that covers a block in part reads the block first; writes through the same
 * object that share a block are made one after the other, so that none undoes its neighbour. Two objects on one disk, or
 * other writers, must not share blocks.
 *
 * @example
 * const bytes = new DiskBytes(guest.disk('xvda'), { start: 1000 });
 * await bytes.write(0, new TextEncoder().encode('hello'));
 */
export class DiskBytes {
  /** The disk below. */
  readonly disk: Disk;
  private readonly start: number;
  private readonly wantedEnd: number;
  private writing: readonly Writing[] = [];

  /** @throws RangeError for a range that is none */
  constructor(disk: Disk, range: DiskRange = {}) {
    const { start = 0, end = Number.POSITIVE_INFINITY } = range;
    const isEndGood = end === Number.POSITIVE_INFINITY || Number.isSafeInteger(end);
    if (!Number.isSafeInteger(start) || start < 0 || !isEndGood || end < start) {
      throw new RangeError(`Cannot use bytes ${start} to ${end} of ${disk.name}: not a range`);
    }
    this.disk = disk;
    this.start = start;
    this.wantedEnd = end;
  }

  /** Bytes of the range now; the disk may shrink below its end. */
  get lengthBytes(): number {
    return Math.max(0, Math.min(this.wantedEnd, this.disk.capacityBytes) - this.start);
  }

  /** Whether the range ends by itself, not where the disk does. */
  get hasOwnEnd(): boolean {
    return this.wantedEnd !== Number.POSITIVE_INFINITY;
  }

  /** Read bytes. @throws BlockError; RangeError for numbers that are no offset or length */
  async read(offset: number, lengthBytes: number, options?: DiskRequestOptions): Promise<Uint8Array<ArrayBuffer>> {
    const at = this.place('read', offset, lengthBytes);
    const unit = this.disk.blockBytes;
    const head = at % unit;
    const blocks = new Uint8Array(Math.ceil((head + lengthBytes) / unit) * unit);
    await this.disk.read(at - head, blocks, options);
    return blocks.subarray(head, head + lengthBytes);
  }

  /** Write bytes, which must not change until it is done. @throws BlockError; RangeError as for `read` */
  async write(offset: number, bytes: Uint8Array, options?: DiskWriteOptions): Promise<void> {
    const at = this.place('write', offset, bytes.byteLength);
    const unit = this.disk.blockBytes;
    const first = at - (at % unit);
    const end = Math.ceil((at + bytes.byteLength) / unit) * unit;
    await this.alone(first, end, async () => {
      const head = at - first;
      const tail = end - at - bytes.byteLength;
      if (head === 0 && tail === 0) return this.disk.write(at, bytes, options);
      const blocks = await this.edges(first, end, head > 0, tail > 0, options);
      blocks.set(bytes, head);
      return this.disk.write(first, blocks, options);
    });
  }

  /** Make bytes read as zero. @throws as `write` */
  async zero(offset: number, lengthBytes: number): Promise<void> {
    const at = this.place('zero', offset, lengthBytes);
    const unit = this.disk.blockBytes;
    const first = Math.ceil(at / unit) * unit;
    const last = Math.floor((at + lengthBytes) / unit) * unit;
    if (last <= first) return this.write(offset, new Uint8Array(lengthBytes));
    const head = first - at;
    const tail = at + lengthBytes - last;
    await Promise.all([
      head > 0 ? this.write(offset, new Uint8Array(head)) : undefined,
      this.alone(first, last, () => this.disk.writeZeroes(first, last - first)),
      tail > 0 ? this.write(offset + lengthBytes - tail, new Uint8Array(tail)) : undefined,
    ]);
  }

  /** Make everything written so far durable. */
  async flush(options?: DiskRequestOptions): Promise<void> {
    await Promise.all(this.writing.map(({ over }) => over));
    await this.disk.flush(options);
  }

  /** The place on the disk. A range that ends by itself refuses what lies beyond as the disk would. */
  private place(operation: string, offset: number, lengthBytes: number): number {
    if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(lengthBytes) || lengthBytes < 0) {
      throw new RangeError(`Cannot ${operation} ${lengthBytes} bytes at ${offset}: not integers from 0 up`);
    }
    if (offset > this.lengthBytes - lengthBytes) {
      throw blockError('BLOCK_OUT_OF_RANGE', { disk: this.disk.name, operation, offset, lengthBytes });
    }
    return this.start + offset;
  }

  /** Whole blocks for a write that covers the outer ones in part, with what is in those now. */
  private async edges(
    first: number,
    end: number,
    hasHead: boolean,
    hasTail: boolean,
    options: DiskRequestOptions | undefined,
  ): Promise<Uint8Array> {
    const unit = this.disk.blockBytes;
    const blocks = new Uint8Array(end - first);
    const isOne = end - first === unit;
    const reads: Promise<void>[] = [];
    if (hasHead || isOne) reads.push(this.disk.read(first, blocks.subarray(0, unit), options));
    if (hasTail && !isOne) reads.push(this.disk.read(end - unit, blocks.subarray(-unit), options));
    await Promise.all(reads);
    return blocks;
  }

  /** Do `act` when no earlier write of this object touches the blocks any more. */
  private async alone(first: number, end: number, act: () => Promise<void>): Promise<void> {
    const before = this.writing.filter((other) => first < other.end && other.first < end).map(({ over }) => over);
    const done = before.length === 0 ? act() : Promise.all(before).then(act);
    const over = done.catch(() => {}); // the caller hears of it; those behind only wait
    const writing = { first, end, over };
    this.writing = [...this.writing, writing];
    try {
      await done;
    } finally {
      this.writing = this.writing.filter((other) => other !== writing);
    }
  }
}
