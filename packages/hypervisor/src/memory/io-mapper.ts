// Where memory tells the IOMMU what the devices of a domain may reach.
import type { FrameNumber } from '../ids.ts';

/** Rights of a device on a frame: none, reading, reading and writing. */
export type IoRights = 0 | 1 | 2;

/** The I/O page table of one domain; bus address = frame × 4096. */
export interface IoMapper {
  /**
   * Give the domain's devices exactly these rights on consecutive frames.
   * @returns false if there is no room in the I/O page tables; lowering rights never fails
   */
  setRights(first: FrameNumber, frames: number, rights: IoRights): boolean;
  /**
   * Wait until no device translation that was lowered is in use any more (IOTLB invalidation and wait).
   * @returns false if that was not confirmed in time: the frames must not be reused
   */
  flush(): boolean;
  /** Whether every lowering so far has been confirmed by now; never waits. */
  isFlushed(): boolean;
}
