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
  private readonly names: readonly string[];
  private readonly rings: readonly BlkbackCounters[];
  private readonly told = new Float64Array(NAMES.length);
  /** Publications of all rings as of the last time: whatever is counted ends in an answer. */
  private publishes = 0;

  /** `counters` have the names of `diskCounterNames(disk)`; this domain is their only writer. */
  constructor(counters: SharedCounters, disk: string, rings: readonly BlkbackCounters[]) {
    this.counters = counters;
    this.names = diskCounterNames(disk);
    this.rings = rings;
  }

  poll(): boolean {
    let publishes = 0;
    for (const ring of this.rings) publishes += ring.publishes;
    if (publishes !== this.publishes) this.tell();
    this.publishes = publishes;
    return false;
  }

  /** Add what was not added yet. */
  tell(): void {
    for (const [place, measure] of NAMES.entries()) {
      const total = this.rings.reduce((sum, ring) => sum + MEASURES[measure](ring), 0);
      const change = total - (this.told[place] as number); // as long as NAMES
      if (change === 0) continue;
      this.told[place] = total;
      this.counters.add(this.names[place] as string, change); // likewise
    }
  }
}
