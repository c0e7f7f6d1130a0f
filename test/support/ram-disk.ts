// A block device of memory for tests, with faults on command: it moves data between its bytes and frames by itself.
import { BLOCK_OP, BLOCK_STATUS, type BlockCommand, type BlockDevice, type BlockStatus } from '@splitring/device';
import { PAGE_SIZE } from '@splitring/hypervisor';

/** How a RAM disk is made. */
export interface RamDiskOptions {
  readonly sectors: number;
  readonly logicalBlockBytes?: number;
  readonly tags?: number;
  readonly maxPages?: number;
  readonly hasDiscard?: boolean;
  /** Commands answered in a poll; default all. */
  readonly burst?: number;
}

/** Answers in order, from `poll`; `execute` may be replaced to fail, and `isStalled` holds everything back. */
export class RamDisk implements BlockDevice {
  capacitySectors: number;
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes = 4096;
  isReadOnly = false;
  readonly hasDiscard: boolean;
  readonly maxPages: number;
  onComplete: (cookie: number, status: BlockStatus) => void = () => {};
  /** Everything that was submitted, oldest first. */
  readonly log: BlockCommand[] = [];
  readonly bytes: Uint8Array;
  isStalled = false;
  /** Decides the status of a command before its data moves. */
  fault: (command: BlockCommand) => BlockStatus = () => BLOCK_STATUS.okay;
  flushes = 0;
  private readonly tags: number;
  private readonly burst: number;
  private readonly queue: BlockCommand[] = [];
  private visible = 0;
  private readonly page: (frame: number) => Uint8Array;

  constructor(page: (frame: number) => Uint8Array, options: RamDiskOptions) {
    this.page = page;
    this.capacitySectors = options.sectors;
    this.logicalBlockBytes = options.logicalBlockBytes ?? 512;
    this.tags = options.tags ?? 64;
    this.burst = options.burst ?? Number.POSITIVE_INFINITY;
    this.maxPages = options.maxPages ?? 256;
    this.hasDiscard = options.hasDiscard ?? true;
    this.bytes = new Uint8Array(options.sectors * 512);
  }

  get freeTags(): number {
    return this.tags - this.queue.length;
  }

  submit(command: BlockCommand): boolean {
    if (this.freeTags === 0) return false;
    const copy = { ...command, busPages: command.busPages.slice(0, command.pageCount) };
    this.queue.push(copy);
    this.log.push(copy);
    return true;
  }

  kick(): void {
    this.visible = this.queue.length;
  }

  poll(): boolean {
    if (this.isStalled || this.visible === 0) return false;
    for (let left = this.burst; left > 0 && this.visible > 0; left -= 1) {
      this.visible -= 1;
      const command = this.queue.shift();
      if (command !== undefined) this.onComplete(command.cookie, this.execute(command));
    }
    return true;
  }

  private execute(command: BlockCommand): BlockStatus {
    const status = this.fault(command);
    if (status !== BLOCK_STATUS.okay) return status;
    if (command.op === BLOCK_OP.flush) {
      this.flushes += 1;
      return BLOCK_STATUS.okay;
    }
    const start = command.startSector * 512;
    const end = start + command.sectors * 512;
    if (end > this.capacitySectors * 512) return BLOCK_STATUS.outOfRange;
    if (command.op === BLOCK_OP.read || command.op === BLOCK_OP.write) this.move(command, start, end);
    else this.bytes.fill(0, start, end);
    return BLOCK_STATUS.okay;
  }

  private move(command: BlockCommand, start: number, end: number): void {
    let at = start;
    let offset = command.firstOffset;
    for (const frame of command.busPages) {
      const length = Math.min(end - at, PAGE_SIZE - offset);
      const page = this.page(frame);
      if (command.op === BLOCK_OP.read) page.set(this.bytes.subarray(at, at + length), offset);
      else this.bytes.set(page.subarray(offset, offset + length), at);
      at += length;
      offset = 0;
    }
    if (at !== end) throw new Error(`${command.sectors} sectors do not fit ${command.busPages.length} pages`);
  }
}
