// What the back end of one ring is made from.
import type { DomId, EvtchnPort, Hypercalls } from '@splitring/hypervisor';
import type { OfferedFeatures } from './blkif-parser.ts';
import type { CommandSink } from './command-sink.ts';
import type { DiskSlice } from './disk-slice.ts';
import type { RateLimit } from './rate-limit.ts';

/** How one queue is made; ring and port are mapped and bound already. */
export interface BlkbackQueueOptions {
  readonly hypercalls: Hypercalls;
  readonly dom: DomId;
  readonly name: string;
  readonly ring: Uint8Array;
  readonly port: EvtchnPort;
  readonly slice: DiskSlice;
  readonly sink: CommandSink;
  readonly offered: OfferedFeatures;
  readonly isPersistent: boolean;
  readonly maxPersistent: number;
  /** Whether the guest knows our finer error statuses. */
  readonly hasErrorDetail: boolean;
  /** Largest device command that neighbouring requests are merged into, in pages. */
  readonly mergePages: number;
  /** Rate limit of the disk, shared by its queues. */
  readonly limit: RateLimit | undefined;
  /** Share of the disk while several rings have work, relative to the others; 1 is ordinary. */
  readonly weight: number;
}
