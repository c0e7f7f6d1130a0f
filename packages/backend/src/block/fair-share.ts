// Who is served next where several rings share a disk: start-time fair queueing with a bounded depth, in batches.
// hot path: bench/src/block
//
// Each ring has a virtual time, which runs on by the cost of what it was given, divided by its weight; the ring that is
// least far is next. One that has been idle starts at the time of the others: nothing is saved up, and what was taken on
// credit is paid back. A device serves its queue in the order in which it was filled, whatever we think: so it is given
// little at once, as little as keeps it busy.
// Jin, Chase, Kaur: "Interposed proportional sharing for a storage service utility", SIGMETRICS 2004, SFQ(D).
import type { BlkbackQueue } from './blkback-queue.ts';
import { RECENT_ROUNDS } from './standing.ts';

/** Cost of a 4 KiB request: see REQUEST_COST of the queue. */
export const SMALL_REQUEST_COST = 3;
/** Bounds of a batch in requests. A ring with fewer in flight is limited by its own guest, not by its neighbours. */
const LEAST_BATCH = 8;
const MOST_BATCH = 64;

/** The virtual clock of one disk and the size of everybody's batch. */
export class FairShare {
  /** Rings that have or recently had work. */
  sharing = 0;
  /** Requests that a ring of weight 1 is given at a time: what the smallest guest has out at once. */
  batch = LEAST_BATCH;
  /** Cost of the turn of a ring that has the least weight. */
  turn = LEAST_BATCH * SMALL_REQUEST_COST;
  private now = 0;
  private rounds = 0;

  /** See who has work, and how many share the disk. @returns whether anybody has work */
  survey(queues: readonly BlkbackQueue[]): boolean {
    let active = 0;
    let sharing = 0;
    let smallest = MOST_BATCH;
    let heaviest = 0;
    let lightest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < queues.length; i += 1) {
      const queue = queues[i] as BlkbackQueue; // in range
      const { standing, weight } = queue;
      const waiting = queue.pausedUntilMs === 0 ? queue.pending() : 0;
      standing.waiting = waiting;
      if (waiting > 0) active += 1;
      const out = waiting + queue.inFlight;
      if (out > 0) standing.idleRounds = 0;
      if (out > standing.peak) standing.peak = out;
      if (out > standing.batch) standing.batch = out;
      if (standing.idleRounds === RECENT_ROUNDS) continue;
      sharing += 1;
      smallest = Math.min(smallest, Math.max(LEAST_BATCH, standing.batch) / weight);
      heaviest = Math.max(heaviest, weight);
      lightest = Math.min(lightest, weight);
    }
    this.sharing = sharing;
    // Weights need a choice: a ring whose every request is taken at once has none waiting when its turn comes again.
    this.batch = heaviest === lightest ? smallest : smallest / 2;
    this.turn = this.batch * lightest * SMALL_REQUEST_COST;
    if (active > 0) this.age(queues);
    return active > 0;
  }

  /** The ring to serve next; undefined if none waits. */
  next(queues: readonly BlkbackQueue[]): BlkbackQueue | undefined {
    let found: BlkbackQueue | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < queues.length; i += 1) {
      const queue = queues[i] as BlkbackQueue; // in range
      const { waiting, finish } = queue.standing;
      if (waiting === 0 || finish >= least) continue;
      found = queue;
      least = finish;
    }
    return found;
  }

  /** Give a ring its batch. */
  grant(queue: BlkbackQueue): void {
    const { standing, weight } = queue;
    const requests = this.batch * weight;
    queue.credit = requests * SMALL_REQUEST_COST;
    queue.publishAt = Math.max(1, Math.round(requests));
    queue.turnCommands = Number.MAX_SAFE_INTEGER; // what a batch merges into is not known before
    this.now = Math.max(this.now, standing.finish);
  }

  /** The ring has taken what it could of its batch. */
  charge(queue: BlkbackQueue): void {
    const { standing, weight } = queue;
    const used = this.batch * SMALL_REQUEST_COST - queue.credit / weight;
    standing.finish = this.now + used;
    // Credit left: there was nothing more to take, or something is in its way.
    standing.waiting = queue.credit > 0 ? 0 : queue.pending();
  }

  /** What a ring takes while it is alone is not held against it. */
  forgive(queue: BlkbackQueue): void {
    queue.standing.finish = this.now;
  }

  /** Only rounds with work count: a ring does not become a stranger while nobody asks for anything. */
  private age(queues: readonly BlkbackQueue[]): void {
    this.rounds = (this.rounds + 1) % RECENT_ROUNDS;
    for (let i = 0; i < queues.length; i += 1) {
      const { standing } = queues[i] as BlkbackQueue; // in range
      if (standing.idleRounds < RECENT_ROUNDS) standing.idleRounds += 1;
      if (this.rounds !== 0 || standing.peak === 0) continue;
      standing.batch = standing.peak;
      standing.peak = 0;
    }
  }
}
