// A load on a disk's queue that keeps a depth of requests in flight and polls for the answers.
import type { GuestContext } from 'splitring/guest';
import { type BlockParams, Positions } from './params.ts';

type Disk = ReturnType<GuestContext['disk']>;
type DiskQueue = ReturnType<Disk['openQueue']>;

/** What `operations` operations took. */
export interface LoadTime {
  readonly elapsedNs: number;
  /** How much of it the front end was busy; NaN if that was not timed. */
  readonly busyNs: number;
}

/**
 * Requests are refilled when a quarter of the depth is free, at most eight at a time short: one publication for many. With
 * `busy` in its parameters it times how long it waits.
 */
export class QueueLoad {
  private readonly disk: Disk;
  private readonly queue: DiskQueue;
  private readonly params: BlockParams;
  private readonly positions: Positions;
  private readonly places: readonly number[];
  private readonly freePlaces: Int32Array;
  private freeCount: number;
  private taken = 0;
  private completed = 0;
  /** Requests that failed. */
  failures = 0;

  /** Take a buffer for each request from `disk`. */
  constructor(disk: Disk, params: BlockParams, seed: number) {
    const queue = disk.openQueue();
    const buffers = Array.from({ length: params.depth }, () => disk.allocate(params.bytes));
    this.disk = disk;
    this.queue = queue;
    this.params = params;
    this.positions = new Positions(params, seed);
    this.places = buffers.flatMap((buffer) => (buffer === undefined ? [] : [queue.placeOf(buffer)]));
    this.freePlaces = Int32Array.from(this.places.keys());
    this.freeCount = this.places.length;
    queue.onComplete = (cookie, status) => {
      // First in, first out, so that neighbours on the disk stay neighbours in memory.
      this.freePlaces[(this.taken + this.freeCount) % this.places.length] = cookie;
      this.freeCount += 1;
      this.completed += 1;
      if (status !== 0) this.failures += 1;
    };
  }

  /** What the disk's front end has counted. */
  get counters() {
    return this.disk.counters;
  }

  /** Run `operations` requests. */
  run(operations: number): LoadTime {
    const { depth } = this.params;
    const refillAt = Math.max(1, Math.min(8, depth >> 2));
    // Timing the gaps costs a tenth at depth 1.
    const isBusyTimed = this.params['busy'] === true;
    let submitted = 0;
    let idleMs = 0;
    this.completed = 0;
    const from = performance.now();
    while (this.completed < operations) {
      if (submitted < operations && this.freeCount >= Math.min(refillAt, operations - submitted)) {
        submitted += this.refill(operations - submitted);
      }
      if (this.queue.poll()) continue;
      const gapFrom = isBusyTimed ? performance.now() : 0;
      this.wait();
      if (isBusyTimed) idleMs += performance.now() - gapFrom;
    }
    const elapsedMs = performance.now() - from;
    return { elapsedNs: elapsedMs * 1e6, busyNs: isBusyTimed ? (elapsedMs - idleMs) * 1e6 : Number.NaN };
  }

  private refill(most: number): number {
    const { queue, params, positions, places, freePlaces } = this;
    const isRead = params.op === 'read';
    let count = 0;
    while (this.freeCount > 0 && count < most) {
      const cookie = freePlaces[this.taken % places.length] as number; // in range
      const place = places[cookie] as number;
      const isTaken = isRead
        ? queue.read(positions.next(), place, params.bytes, cookie)
        : queue.write(positions.next(), place, params.bytes, cookie);
      if (!isTaken) break;
      this.taken = (this.taken + 1) % places.length;
      this.freeCount -= 1;
      count += 1;
    }
    queue.publish();
    return count;
  }

  private wait(): void {
    for (let polls = 0; polls < 20_000; polls += 1) if (this.queue.poll()) return;
  }
}
