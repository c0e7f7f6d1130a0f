// What a native disk driver offers to whoever sits on top of it: a back end, or a guest that owns the device.
import type { Stepped } from '@splitring/hypervisor';

/** Outcome of a block command. */
export const BLOCK_STATUS = {
  okay: 0,
  error: 1,
  outOfSpace: 2,
  readOnly: 3,
  outOfRange: 4,
  unsupported: 5,
  aborted: 6,
  /** The device did not answer; the command may have been carried out, and still may be. */
  timedOut: 7,
} as const;
/** One of the values of {@link BLOCK_STATUS}. */
export type BlockStatus = (typeof BLOCK_STATUS)[keyof typeof BLOCK_STATUS];

/** What a block command does. */
export const BLOCK_OP = { read: 0, write: 1, flush: 2, discard: 3, writeZeroes: 4 } as const;
/** One of the values of {@link BLOCK_OP}. */
export type BlockOp = (typeof BLOCK_OP)[keyof typeof BLOCK_OP];

/** One command; the driver copies what it needs before `submit` returns, so the caller may reuse the object. */
export interface BlockCommand {
  /** What to do. */
  op: BlockOp;
  /** First 512-byte sector. */
  startSector: number;
  /** Number of 512-byte sectors; 0 for flush. */
  sectors: number;
  /** Data must be on the medium before the command completes (writes only). */
  isForceUnitAccess: boolean;
  /** Bus page numbers (bus address / 4096), one per 4 KiB page touched, in order. */
  readonly busPages: number[];
  /** How many of `busPages` count. */
  pageCount: number;
  /** Byte offset of the data in the first page, a multiple of 512; later pages start at 0 and are full but the last. */
  firstOffset: number;
  /** Comes back in the completion. */
  cookie: number;
}

/** A command to be filled in and used again; all of its fields are set, so that every command has one shape. */
export function newBlockCommand(): BlockCommand {
  return {
    op: BLOCK_OP.read,
    startSector: 0,
    sectors: 0,
    isForceUnitAccess: false,
    busPages: [],
    pageCount: 0,
    firstOffset: 0,
    cookie: 0,
  };
}

/** A disk, opened by its native driver. Stepped: completions come out of `poll()`. */
export interface BlockDevice extends Stepped {
  /** Size in 512-byte sectors; may grow or shrink while in use. */
  readonly capacitySectors: number;
  /** Smallest unit of access in bytes (512 or 4096). */
  readonly logicalBlockBytes: number;
  /** Unit that the medium writes without read-modify-write, in bytes. */
  readonly physicalBlockBytes: number;
  /** Whether writes are refused. */
  readonly isReadOnly: boolean;
  /** Whether discard is more than a no-op. */
  readonly hasDiscard: boolean;
  /** Pages one command can carry. */
  readonly maxPages: number;
  /** Commands that can be submitted now. */
  readonly freeTags: number;
  /** Queue a command. @returns false if no tag is free: try again after a completion */
  submit(command: BlockCommand): boolean;
  /** Make queued commands visible to the device (one doorbell write for all). */
  kick(): void;
  /** Receives every completion, from `poll()`. */
  onComplete: (cookie: number, status: BlockStatus) => void;
}
