// What the back end of one ring has done, for people and benchmarks.

/** What a queue has done so far. */
export interface BlkbackCounters {
  reads: number;
  writes: number;
  flushes: number;
  discards: number;
  sectorsRead: number;
  sectorsWritten: number;
  /** Device commands; reads + writes divided by it is the merge factor. */
  commands: number;
  /** Requests refused for what they asked. */
  refusals: number;
  /** Requests that the device failed. */
  failures: number;
  publishes: number;
  notificationsSent: number;
}

/** Fresh counters. */
export function newCounters(): BlkbackCounters {
  return {
    reads: 0,
    writes: 0,
    flushes: 0,
    discards: 0,
    sectorsRead: 0,
    sectorsWritten: 0,
    commands: 0,
    refusals: 0,
    failures: 0,
    publishes: 0,
    notificationsSent: 0,
  };
}
