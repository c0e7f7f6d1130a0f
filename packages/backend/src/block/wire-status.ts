// The one place where a device's status becomes one of the wire.
import { BLOCK_STATUS, type BlockStatus } from '@splitring/device';
import {
  BLKIF_RSP_EINVAL,
  BLKIF_RSP_ENOSPC,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_EROFS,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
} from '@splitring/hypervisor/io';

/** The finest status that the wire has for a device's. */
export function wireStatus(status: BlockStatus): number {
  switch (status) {
    case BLOCK_STATUS.okay:
      return BLKIF_RSP_OKAY;
    case BLOCK_STATUS.unsupported:
      return BLKIF_RSP_EOPNOTSUPP;
    case BLOCK_STATUS.outOfSpace:
      return BLKIF_RSP_ENOSPC;
    case BLOCK_STATUS.readOnly:
      return BLKIF_RSP_EROFS;
    case BLOCK_STATUS.outOfRange:
      return BLKIF_RSP_EINVAL;
    default:
      return BLKIF_RSP_ERROR;
  }
}

/** The status that a guest understands, with or without our finer ones. */
export function visibleStatus(status: number, hasErrorDetail: boolean): number {
  return hasErrorDetail || status >= BLKIF_RSP_EOPNOTSUPP ? status : BLKIF_RSP_ERROR;
}
