// What the rings of a disk have done, summed up in shared memory where anybody can read it without asking.
import type { SharedCounters, Stepped } from '@splitring/hypervisor';
import type { BlkbackCounters } from './blkback-counters.ts';

/** Names and meanings, each a count since the driver domain started, over all guests of the disk. */
const MEASURES = {
  /** Requests that were carried out, well or not. */
  requests: (of: BlkbackCounters) => of.reads + of.writes + of.flushes + of.discards,
  /** Sectors of 512 bytes that reads and writes asked for. */
  sectors: (of: BlkbackCounters) => of.sectorsRead + of.sectorsWritten,
  /** Commands to the device: requests divided by it is the merge factor. */
  commands: (of: BlkbackCounters) => of.commands,
  /** Events sent to guests. */
  notifications: (of: BlkbackCounters) => of.notificationsSent,
  /** Requests refused for what they asked. */
  refusals: (of: BlkbackCounters) => of.refusals,
  /** Requests that the device failed. */
  failures: (of: BlkbackCounters) => of.failures,
} as const;

/** One measure of a disk. */
export type DiskMeasure = keyof typeof MEASURES;

const NAMES = Object.keys(MEASURES) as DiskMeasure[]; // the keys of that very object

/** Names of a disk's shared counters: `vol0.requests` and so on. */
export function diskCounterNames(disk: string): string[] {
  return NAMES.map((measure) => `${disk}.${measure}`);
}

/** Adds what one connection does to the counters of its disk. Polled now and then; exact when the domain sleeps. */
export class DiskStatistics implements Stepped {
  private readonly counters: SharedCounters;
  private readonly disk: string;
  private readonly rings: readonly BlkbackCounters[];
  private readonly told = new Float64Array(NAMES.length);

  /** `counters` have the names of `diskCounterNames(disk)`; this domain is their only writer. */
  constructor(counters: SharedCounters, disk: string, rings: readonly BlkbackCounters[]) {
    this.counters = counters;
    this.disk = disk;
    this.rings = rings;
  }

  poll(): boolean {
    for (const [place, name] of NAMES.entries()) {
      const total = this.rings.reduce((sum, ring) => sum + MEASURES[name](ring), 0);
      const change = total - (this.told[place] as number); // as long as NAMES
      if (change === 0) continue;
      this.told[place] = total;
      this.counters.add(`${this.disk}.${name}`, change);
    }
    return false;
  }
}
