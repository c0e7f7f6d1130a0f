// The guest of the block benchmark: keeps a depth of requests in flight on its disk's queue, by itself or asleep.
import { defineGuest, type GuestContext } from 'splitring/guest';
import { Positions } from '../params.ts';
import { type GuestLoad, type LoadArguments, type LoadTime, serveTrials } from './serve-trials.ts';

type Disk = ReturnType<GuestContext['disk']>;
type DiskQueue = ReturnType<Disk['openQueue']>;

/** Requests are refilled when a quarter of the depth is free, at most eight at a time short: one publication for many. */
class Load implements GuestLoad {
  private readonly disk: Disk;
  private readonly queue: DiskQueue;
  private readonly args: LoadArguments;
  private readonly positions: Positions;
  private readonly places: readonly number[];
  private readonly freePlaces: Int32Array;
  private freeCount: number;
  private taken = 0;
  private completed = 0;
  failures = 0;

  constructor(disk: Disk, args: LoadArguments) {
    const { params } = args;
    const queue = disk.openQueue();
    const buffers = Array.from({ length: params.depth }, () => disk.allocate(params.bytes));
    this.disk = disk;
    this.queue = queue;
    this.args = args;
    this.positions = new Positions(args.params, args.seed);
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

  get counters() {
    return this.disk.counters;
  }

  run(operations: number): LoadTime {
    const { depth } = this.args.params;
    const refillAt = Math.max(1, Math.min(8, depth >> 2));
    // Timing the gaps costs a tenth at depth 1.
    const isBusyTimed = this.args.params['busy'] === true;
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
    const { queue, args, positions, places, freePlaces } = this;
    const isRead = args.params.op === 'read';
    let count = 0;
    while (this.freeCount > 0 && count < most) {
      const cookie = freePlaces[this.taken % places.length] as number; // in range
      const place = places[cookie] as number;
      const isTaken = isRead
        ? queue.read(positions.next(), place, args.params.bytes, cookie)
        : queue.write(positions.next(), place, args.params.bytes, cookie);
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

export default defineGuest<LoadArguments, number>(async (guest) => {
  const load = new Load(guest.disk('xvda'), guest.args);
  await serveTrials(guest.args, load);
  return load.failures;
});
