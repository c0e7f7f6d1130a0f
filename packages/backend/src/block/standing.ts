// How a ring stands among those that share its disk. Kept by the disk's scheduler, in the ring's queue.
// hot path: bench/src/block

/** A ring that had work so many working rounds ago still counts as sharing: its guest is only about to ask again. */
export const RECENT_ROUNDS = 256;

/** What the disk's scheduler knows of one ring. */
export class Standing {
  /** Requests that wait, as of this round. */
  waiting = 0;
  /** Working rounds since it had something waiting or in flight. */
  idleRounds = RECENT_ROUNDS;
  /** Most requests that it had out at once lately, and since this was looked at last. */
  batch = 0;
  peak = 0;
  /** Virtual time up to which it was served. */
  finish = 0;
}
