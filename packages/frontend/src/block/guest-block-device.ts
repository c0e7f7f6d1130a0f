// What a guest's disk stands on, whichever way its device is reached: a split driver, or a native one.
import type { BlockDevice } from '@splitring/device';

/** What a front end has done so far, over all its connections. */
export interface BlockCounters {
  /** Requests put into a ring. */
  requests: number;
  /** Events sent to the back end. */
  notificationsSent: number;
  /** Publications: requests divided by it is the batch. */
  publishes: number;
}

/** A block device with the abilities that a disk has to know; everything may change when it reconnects. */
export interface GuestBlockDevice extends BlockDevice {
  /** Whether completed writes can be made durable. Without it a flush is an error, never a pretended success. */
  readonly hasFlush: boolean;
  /** Whether a single write can be durable at completion; without it the disk writes, then flushes. */
  readonly hasForceUnitAccess: boolean;
  /** Whether ranges can be zeroed without sending zeros. */
  readonly hasWriteZeroes: boolean;
  /** Whether its medium may be taken out. */
  readonly isRemovable: boolean;
  /** Unit of discards in bytes: what lies within one is discarded as a whole, or perhaps not at all. */
  readonly discardGranularityBytes: number;
  /** Byte of the disk at which the first such unit begins. */
  readonly discardAlignmentBytes: number;
  /** What it has done so far. */
  readonly counters: BlockCounters;
  /** Whether it is gone for good: whatever is submitted ends with `aborted`. */
  readonly isGone: boolean;
  /** Called when size or abilities have changed. */
  onChange: () => void;
}
