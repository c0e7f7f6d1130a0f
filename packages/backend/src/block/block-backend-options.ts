// What the disks of a driver domain are made of and what they offer.
import type { SharedCounters } from '@splitring/hypervisor';
import type { DiskTarget } from './disk-slice.ts';

/** What a back end offers; everything but the first is optional and defaults to all there is. */
export interface BlockBackendOptions {
  /** Find the disk that the toolstack's `params` names; undefined: there is none. */
  readonly disk: (params: string) => DiskTarget | undefined;
  /** Where to count what each disk does, by the names of `diskCounterNames(params)`. Default: nowhere. */
  readonly counters?: SharedCounters;
  /** log2 of the most pages a ring may have. Default 4: 512 requests. */
  readonly maxRingOrder?: number;
  /** Most rings of one disk. Default 4. */
  readonly maxQueues?: number;
  /** Segments of an indirect request, 0 for none. Default 256: 1 MiB. */
  readonly maxIndirectSegments?: number;
  /** Keep mappings from request to request. Default true. */
  readonly isPersistent?: boolean;
  /** Mappings kept per ring. Default 4096. */
  readonly maxPersistent?: number;
  /** Mappings of a ring that has been idle for so long are let go. Default 60 000 ms. */
  readonly idleGrantsMs?: number;
  readonly hasFlush?: boolean;
  readonly hasBarrier?: boolean;
  readonly hasForceUnitAccess?: boolean;
  readonly hasDiscard?: boolean;
  readonly hasWriteZeroes?: boolean;
  /** Largest device command made of neighbouring requests, in pages. Default 64: 256 KiB. */
  readonly mergePages?: number;
}
