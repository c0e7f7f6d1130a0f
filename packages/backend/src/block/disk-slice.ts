// The part of a disk that one guest sees as its whole disk.
import type { BlockDevice } from '@splitring/device';
import { SECTOR_BYTES } from '@splitring/hypervisor/io';

/** A device, and optionally the range of it that is served. */
export interface DiskTarget {
  readonly device: BlockDevice;
  /** First 512-byte sector of the range; default 0. */
  readonly firstSector?: number;
  /** Length of the range in 512-byte sectors; default: the rest of the device, growing and shrinking with it. */
  readonly sectors?: number;
}

/** A range of a device with the rights of one guest. */
export class DiskSlice {
  readonly device: BlockDevice;
  readonly firstSector: number;
  private readonly wantedSectors: number;
  private readonly isForcedReadOnly: boolean;

  /** `isReadOnly` refuses writes even where the device would take them. */
  constructor(target: DiskTarget, isReadOnly: boolean) {
    this.device = target.device;
    this.firstSector = target.firstSector ?? 0;
    this.wantedSectors = target.sectors ?? Number.POSITIVE_INFINITY;
    this.isForcedReadOnly = isReadOnly;
  }

  /** Size now, in 512-byte sectors; 0 when the device has shrunk away from under the range. */
  get capacitySectors(): number {
    return Math.max(0, Math.min(this.wantedSectors, this.device.capacitySectors - this.firstSector));
  }

  /** Unit of access in 512-byte sectors. */
  get blockSectors(): number {
    return this.device.logicalBlockBytes / SECTOR_BYTES;
  }

  /** Whether writes are refused. */
  get isReadOnly(): boolean {
    return this.isForcedReadOnly || this.device.isReadOnly;
  }
}
