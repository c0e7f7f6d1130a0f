// Words that the benchmark of many guests shares with each of them.

/** One load for many guests. */
export interface CrowdParams extends Readonly<Record<string, string | number | boolean>> {
  /** Guests on the one driver domain. */
  readonly guests: number;
  /** Requests in flight of each guest. */
  readonly depth: number;
  /** Requests in flight of the first guest. */
  readonly firstDepth: number;
  /** `random` or `sequential` 4 KiB reads. */
  readonly pattern: string;
}

/** Words shared by all: the number of the trial, what is left to do, guests that have finished, guests that have begun. */
export const CROWD = { trial: 0, left: 1, finished: 2, ready: 3, words: 4 } as const;

/** Bytes of a request. */
export const CROWD_BYTES = 4096;
