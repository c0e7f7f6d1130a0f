// One namespace of a controller: a medium under a number, and the limits that every access is checked against.
import { MEDIUM_STATUS, type Medium, type MediumStatus } from '../media/medium.ts';
import { STATUS } from './nvme-registers.ts';

/** A namespace. */
export class Namespace {
  /** 1 and up. */
  readonly nsid: number;
  /** Where the blocks are. */
  readonly medium: Medium;
  /** log2 of the logical block size. */
  readonly blockShift: number;
  /** Size in logical blocks; follows the medium when it is resampled. */
  blocks: number;

  /** @throws RangeError for a block size other than 512 or 4096 */
  constructor(nsid: number, medium: Medium) {
    if (medium.blockBytes !== 512 && medium.blockBytes !== 4096) {
      throw new RangeError(
        `Cannot attach namespace ${nsid}: logical blocks are 512 or 4096 bytes, not ${medium.blockBytes}`,
      );
    }
    this.nsid = nsid;
    this.medium = medium;
    this.blockShift = medium.blockBytes === 512 ? 9 : 12;
    this.blocks = Math.floor(medium.capacityBytes / medium.blockBytes);
  }
}

/** The NVMe status for an outcome of the medium. */
export function nvmeStatus(status: MediumStatus, isWrite: boolean): number {
  switch (status) {
    case MEDIUM_STATUS.okay:
      return STATUS.success;
    case MEDIUM_STATUS.outOfSpace:
      return STATUS.capacityExceeded;
    case MEDIUM_STATUS.readOnly:
      return STATUS.namespaceWriteProtected;
    case MEDIUM_STATUS.outOfRange:
      return STATUS.lbaOutOfRange;
    default:
      return isWrite ? STATUS.writeFault : STATUS.unrecoveredReadError;
  }
}
