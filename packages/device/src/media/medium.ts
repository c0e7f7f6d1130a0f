// What lies behind a disk controller: bytes that can be read, written, zeroed and made durable.

/** Outcome of an access to a medium. */
export const MEDIUM_STATUS = {
  okay: 0,
  /** The medium failed (EIO and what is not named here). */
  failed: 1,
  /** The file system behind an image is full. */
  outOfSpace: 2,
  /** Writing is not allowed. */
  readOnly: 3,
  /** The medium ends before the access does: it shrank. */
  outOfRange: 4,
} as const;
/** One of the values of {@link MEDIUM_STATUS}. */
export type MediumStatus = (typeof MEDIUM_STATUS)[keyof typeof MEDIUM_STATUS];

/**
 * A medium. Accesses are in whole logical blocks inside `capacityBytes` (the controller checks) and are done when the
 * call returns, but only `flush` makes them durable.
 */
export interface Medium {
  /** Size in bytes now; a multiple of `blockBytes`. */
  readonly capacityBytes: number;
  /** Logical block: 512 or 4096 bytes. */
  readonly blockBytes: number;
  /** Unit written without read-modify-write. */
  readonly physicalBlockBytes: number;
  /** Whether every write is refused. */
  readonly isReadOnly: boolean;
  /** Whether written data can be lost by a power cut until flushed. */
  readonly hasVolatileCache: boolean;
  /** Read into `bytes[offset … offset + lengthBytes)`. */
  read(positionBytes: number, bytes: Uint8Array, offset: number, lengthBytes: number): MediumStatus;
  /** Write from `bytes[offset … offset + lengthBytes)`. */
  write(positionBytes: number, bytes: Uint8Array, offset: number, lengthBytes: number): MediumStatus;
  /** Read into several views one after the other. */
  readVector(positionBytes: number, views: readonly Uint8Array[]): MediumStatus;
  /** Write from several views one after the other. */
  writeVector(positionBytes: number, views: readonly Uint8Array[]): MediumStatus;
  /** Make a range read as zeroes; at most 1 MiB a call. Keeps holes of a sparse image. */
  writeZeroes(positionBytes: number, lengthBytes: number): MediumStatus;
  /**
   * Make all writes that returned before this call durable.
   * @param done called exactly once, from within this call or later from the event loop
   */
  flush(done: (status: MediumStatus) => void): void;
  /** Make the blocks of one finished write durable (FUA); a medium without finer means flushes. */
  persist(positionBytes: number, lengthBytes: number, done: (status: MediumStatus) => void): void;
  /** Look at the size again: the medium may have grown or shrunk. @returns `capacityBytes` from now on */
  resample(): number;
  /** Let go of the medium; nothing may be in flight. */
  close(): void;
}
