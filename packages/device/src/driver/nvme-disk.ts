// One namespace as a block device, on one queue pair.
import { BLOCK_OP, BLOCK_STATUS, type BlockCommand, type BlockDevice, type BlockStatus } from '../block-device.ts';
import { MAX_COMMAND_PAGES, type NvmeQueuePair, type TagOwner } from './nvme-queue-pair.ts';

/** What Identify Namespace told. */
export interface NamespaceInfo {
  /** Namespace id. */
  readonly nsid: number;
  /** Size in logical blocks. */
  readonly blocks: number;
  /** Logical block in bytes. */
  readonly logicalBlockBytes: number;
  /** Preferred write granularity in bytes. */
  readonly physicalBlockBytes: number;
  /** Whether it is write protected. */
  readonly isReadOnly: boolean;
  /** Whether deallocated blocks read as zeroes. */
  readonly hasDiscard: boolean;
}

/**
 * A disk. Made by NvmeDriver.openDisk().
 *
 * Commands that cannot be right (out of range, unaligned to logical blocks, more pages than fit) complete with a status
 * in the next poll and never reach the device.
 */
export class NvmeDisk implements BlockDevice, TagOwner {
  /** Namespace id. */
  readonly nsid: number;
  /** log2 of sectors per logical block. */
  readonly sectorShift: number;
  /** Logical block in bytes. */
  readonly logicalBlockBytes: number;
  /** Preferred write granularity in bytes. */
  readonly physicalBlockBytes: number;
  /** Whether writes are refused. */
  readonly isReadOnly: boolean;
  /** Whether discard does something. */
  readonly hasDiscard: boolean;
  /** Pages one command carries. */
  readonly maxPages = MAX_COMMAND_PAGES;
  /** Told every completion, from poll(). */
  onComplete: (cookie: number, status: BlockStatus) => void = () => {};
  /** Told when the size changed. */
  onResize: (capacitySectors: number) => void = () => {};
  private readonly pair: NvmeQueuePair;
  private readonly wake: () => boolean;
  private sectors: number;
  private isGone = false;
  private refused: { readonly cookie: number; readonly status: BlockStatus }[] = [];

  /** @param wake arms the interrupt of the queue pair and tells whether completions wait */
  constructor(info: NamespaceInfo, pair: NvmeQueuePair, wake: () => boolean) {
    this.nsid = info.nsid;
    this.sectorShift = info.logicalBlockBytes === 512 ? 0 : 3;
    this.logicalBlockBytes = info.logicalBlockBytes;
    this.physicalBlockBytes = info.physicalBlockBytes;
    this.isReadOnly = info.isReadOnly;
    this.hasDiscard = info.hasDiscard;
    this.sectors = info.blocks * (info.logicalBlockBytes / 512);
    this.pair = pair;
    this.wake = wake;
  }

  /** Size in 512-byte sectors. */
  get capacitySectors(): number {
    return this.sectors;
  }

  /** Commands that can be submitted now. */
  get freeTags(): number {
    return this.pair.freeTags;
  }

  /** Stage a command. @returns false if no tag is free */
  submit(command: BlockCommand): boolean {
    const status = this.isGone ? BLOCK_STATUS.error : this.check(command);
    if (status === BLOCK_STATUS.okay) return this.pair.submit(this, command);
    this.refused.push({ cookie: command.cookie, status });
    return true;
  }

  /** Ring the doorbell. */
  kick(): void {
    this.pair.kick();
  }

  /** Reap completions. */
  poll(): boolean {
    if (this.refused.length > 0) this.tellRefused();
    return this.pair.reap();
  }

  /** Let the device interrupt. @returns true if completions wait */
  arm(): boolean {
    return this.wake() || this.refused.length > 0;
  }

  /** The namespace has another size now. Called by the driver. */
  resize(blocks: number): void {
    const sectors = blocks * (this.logicalBlockBytes / 512);
    if (sectors === this.sectors) return;
    this.sectors = sectors;
    this.onResize(sectors);
  }

  /** The controller failed: later commands end in error. Called by the driver. */
  detach(): void {
    this.isGone = true;
  }

  private check(command: BlockCommand): BlockStatus {
    const { op, startSector, sectors } = command;
    if (op === BLOCK_OP.flush) return BLOCK_STATUS.okay;
    if (!(sectors > 0) || !(startSector >= 0) || sectors > this.sectors - startSector) return BLOCK_STATUS.outOfRange;
    if (this.sectorShift !== 0 && ((startSector | sectors) & 7) !== 0) return BLOCK_STATUS.error;
    if (op !== BLOCK_OP.read && this.isReadOnly) return BLOCK_STATUS.readOnly;
    if (op > BLOCK_OP.write) return BLOCK_STATUS.okay;
    const { pageCount, firstOffset } = command;
    const isRight = pageCount === (sectors * 512 + firstOffset + 4095) >>> 12 && pageCount <= MAX_COMMAND_PAGES;
    return isRight && (firstOffset & ~0xe00) === 0 ? BLOCK_STATUS.okay : BLOCK_STATUS.error;
  }

  private tellRefused(): void {
    const { refused } = this;
    this.refused = [];
    for (const { cookie, status } of refused) this.onComplete(cookie, status);
  }
}
