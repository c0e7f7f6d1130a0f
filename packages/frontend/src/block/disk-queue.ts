// The disk without comfort: commands by number, buffers from the pool, completions from a poll. For programs that count
// nanoseconds; everything else uses the disk's own methods.
// hot path: bench/src/block
import { BLOCK_OP, type BlockCommand, type BlockOp, type BlockStatus, newBlockCommand } from '@splitring/device';
import { PAGE_SHIFT, PAGE_SIZE } from '@splitring/hypervisor';
import { SECTOR_BYTES } from '@splitring/hypervisor/io';
import type { GuestBlockDevice } from './guest-block-device.ts';
import type { PagePool } from './page-pool.ts';

/** Device cookies from here on are a queue's own, raised by this. */
export const QUEUE_COOKIES = 1 << 20;

/**
 * Nothing is checked, copied, split or put in order here: ranges must be inside the disk and whole blocks, buffers taken
 * from `Disk.allocate`, one command at most `maxBytes`, and of overlapping commands with a write only one in flight.
 * Wrong ranges are refused by the back end with a status.
 *
 * @example
 * const queue = disk.openQueue();
 * const buffer = disk.allocate(4096);
 * queue.onComplete = (cookie, status) => { … };
 * queue.read(8192, queue.placeOf(buffer), 4096, 1);
 * queue.publish();
 * while (!queue.poll()) {} // or do something else
 */
export class DiskQueue {
  /** Receives every completion, from `poll`; `status` is a BLOCK_STATUS. */
  onComplete: (cookie: number, status: BlockStatus) => void;
  /** Commands completed so far; wraps. */
  completions: number;
  private readonly waitUntil: ((isDone: () => boolean) => void) | undefined;
  private readonly device: GuestBlockDevice;
  private readonly firstFrame: number;
  private readonly pool: PagePool;
  private readonly command: BlockCommand;

  /** `waitUntil` polls the domain until a condition holds; undefined where nothing may block. */
  constructor(device: GuestBlockDevice, pool: PagePool, waitUntil?: (isDone: () => boolean) => void) {
    this.onComplete = () => {};
    this.completions = 0;
    this.waitUntil = waitUntil;
    this.device = device;
    this.pool = pool;
    this.firstFrame = pool.run.first;
    this.command = newBlockCommand();
  }

  /** Most bytes of one command whose buffer starts at a page. */
  get maxBytes(): number {
    return this.device.maxPages * PAGE_SIZE;
  }

  /** Commands that can be submitted now. */
  get room(): number {
    return this.device.freeTags;
  }

  /** Tell the place of a buffer that was taken with `Disk.allocate`. @throws TypeError for any other */
  placeOf(buffer: Uint8Array): number {
    const place = this.pool.offsetOf(buffer);
    if (place < 0) throw new TypeError('Cannot use this buffer: it is not allocated from this disk');
    return place;
  }

  /** Read `lengthBytes` at `offset` into the place. @returns false if there is no room: poll first */
  read(offset: number, place: number, lengthBytes: number, cookie: number): boolean {
    return this.submit(BLOCK_OP.read, offset, place, lengthBytes, cookie);
  }

  /** Write `lengthBytes` from the place to `offset`. @returns false if there is no room: poll first */
  write(offset: number, place: number, lengthBytes: number, cookie: number): boolean {
    return this.submit(BLOCK_OP.write, offset, place, lengthBytes, cookie);
  }

  /** Make every completed write durable. @returns false if there is no room: poll first */
  flush(cookie: number): boolean {
    return this.submit(BLOCK_OP.flush, 0, 0, 0, cookie);
  }

  /** Make what was submitted visible: once for a batch. */
  publish(): void {
    this.device.kick();
  }

  /** Hand over what has completed. @returns whether anything has */
  poll(): boolean {
    return this.device.poll();
  }

  /**
   * Poll the whole domain until something has completed, asleep while there is nothing to do: blocks this thread. With
   * many commands in flight it is woken for a batch of them, not for the first.
   * @throws TypeError where nothing may block
   */
  wait(): void {
    const { waitUntil } = this;
    if (waitUntil === undefined) throw new TypeError('Cannot wait for a disk: this domain lives on its event loop');
    const seen = this.completions;
    waitUntil(() => this.completions !== seen);
  }

  /** A command of this queue is complete. Called by the disk. */
  completed(cookie: number, status: BlockStatus): void {
    this.completions = (this.completions + 1) | 0;
    this.onComplete(cookie, status);
  }

  /** Before sleeping: ask to be woken, then look again. @returns true if something has completed meanwhile */
  arm(): boolean {
    return this.device.arm?.() ?? false;
  }

  private submit(op: BlockOp, offset: number, place: number, lengthBytes: number, cookie: number): boolean {
    const { command } = this;
    const firstOffset = place & (PAGE_SIZE - 1);
    const pages = (firstOffset + lengthBytes + PAGE_SIZE - 1) >> PAGE_SHIFT;
    const firstPage = this.firstFrame + (place >> PAGE_SHIFT);
    for (let i = 0; i < pages; i += 1) command.busPages[i] = firstPage + i;
    command.op = op;
    command.startSector = offset / SECTOR_BYTES;
    command.sectors = lengthBytes / SECTOR_BYTES;
    command.pageCount = pages;
    command.firstOffset = firstOffset;
    command.cookie = QUEUE_COOKIES + cookie;
    return this.device.submit(command);
  }
}
