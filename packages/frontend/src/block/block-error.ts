// What can go wrong with a request to a disk, by name.
import { BLOCK_STATUS, type BlockStatus } from '@splitring/device';
import { SplitringError } from 'sharedarraybuffer-ring';

/** The name of a block error, stable for programs. */
export type BlockErrorCode =
  | 'BLOCK_IO'
  | 'BLOCK_NO_SPACE'
  | 'BLOCK_READ_ONLY'
  | 'BLOCK_OUT_OF_RANGE'
  | 'BLOCK_UNSUPPORTED'
  | 'BLOCK_GONE'
  | 'BLOCK_TIMEOUT'
  | 'BLOCK_CANCELLED';

/**
 * A request to a disk failed, and only that request. `data` holds `disk`, `operation`, `offset` and `lengthBytes`.
 *
 * @example
 * try { await disk.write(0, bytes); } catch (error) { if (error instanceof BlockError && error.code === 'BLOCK_NO_SPACE') … }
 */
export class BlockError extends SplitringError {
  declare readonly code: BlockErrorCode;
}

const REASONS: Readonly<Record<BlockErrorCode, string>> = {
  BLOCK_IO: 'the device reported an error',
  BLOCK_NO_SPACE: 'the medium is full',
  BLOCK_READ_ONLY: 'the disk is read-only',
  BLOCK_OUT_OF_RANGE: 'outside of the disk',
  BLOCK_UNSUPPORTED: 'the disk does not offer this operation',
  BLOCK_GONE: 'the disk is gone',
  BLOCK_TIMEOUT: 'no answer in time; the request may still be carried out',
  BLOCK_CANCELLED: 'cancelled; the request may still be carried out',
};

/** The code for a device's status. */
export function codeOfStatus(status: BlockStatus): BlockErrorCode {
  switch (status) {
    case BLOCK_STATUS.outOfSpace:
      return 'BLOCK_NO_SPACE';
    case BLOCK_STATUS.readOnly:
      return 'BLOCK_READ_ONLY';
    case BLOCK_STATUS.outOfRange:
      return 'BLOCK_OUT_OF_RANGE';
    case BLOCK_STATUS.unsupported:
      return 'BLOCK_UNSUPPORTED';
    case BLOCK_STATUS.aborted:
      return 'BLOCK_GONE';
    case BLOCK_STATUS.timedOut:
      return 'BLOCK_TIMEOUT';
    default:
      return 'BLOCK_IO';
  }
}

/** Build the error of one request. */
export function blockError(
  code: BlockErrorCode,
  about: { disk: string; operation: string; offset: number; lengthBytes: number },
  cause?: unknown,
): BlockError {
  const { disk, operation, offset, lengthBytes } = about;
  return new BlockError(
    code,
    `Cannot ${operation} ${lengthBytes} bytes at ${offset} of ${disk}: ${REASONS[code]}`,
    about,
    cause,
  );
}
