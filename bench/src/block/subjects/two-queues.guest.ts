// A guest with two disks, each served by a driver domain of its own: as many reads in flight on both, asleep in between.
import { defineGuest, type GuestContext } from 'splitring/guest';
import { Positions } from '../params.ts';
import { type GuestLoad, type LoadArguments, serveTrials } from './serve-trials.ts';

/** Buffers that are free before a queue is filled again, in parts of its depth. */
const REFILL_PART = 4;

/** One disk's queue with its buffers. */
class Lane {
  failures = 0;
  completed = 0;
  private readonly disk: ReturnType<GuestContext['disk']>;
  private readonly queue;
  private readonly bytes: number;
  private readonly positions: Positions;
  private readonly places: readonly number[];
  private readonly free: number[] = [];

  constructor(disk: ReturnType<GuestContext['disk']>, { params, seed }: LoadArguments) {
    this.disk = disk;
    this.queue = disk.openQueue();
    this.bytes = params.bytes;
    this.positions = new Positions(params, seed);
    const buffers = Array.from({ length: params.depth }, () => disk.allocate(params.bytes));
    this.places = buffers.flatMap((buffer) => (buffer === undefined ? [] : [this.queue.placeOf(buffer)]));
    this.free = [...this.places.keys()];
    this.queue.onComplete = (cookie, status) => {
      this.free.push(cookie);
      this.completed += 1;
      if (status !== 0) this.failures += 1;
    };
  }

  get counters() {
    return this.disk.counters;
  }

  get isIdle(): boolean {
    return this.free.length === this.places.length;
  }

  /** Put up to `most` reads on the way, once enough buffers are free. @returns how many */
  refill(most: number): number {
    if (this.free.length < this.places.length / REFILL_PART || most <= 0) return 0;
    const count = Math.min(most, this.free.length);
    for (let i = 0; i < count; i += 1) {
      const cookie = this.free.shift() as number; // one of `count`
      this.queue.read(this.positions.next(), this.places[cookie] as number, this.bytes, cookie);
    }
    this.queue.publish();
    return count;
  }

  wait(): void {
    this.queue.wait();
  }
}

export default defineGuest<LoadArguments, number>(async (guest) => {
  const lanes = ['xvda', 'xvdb'].map((name) => new Lane(guest.disk(name), guest.args));
  const sum = (of: (lane: Lane) => number) => lanes.reduce((total, lane) => total + of(lane), 0);
  const load: GuestLoad = {
    get counters() {
      return {
        requests: sum((lane) => lane.counters.requests),
        notificationsSent: sum((lane) => lane.counters.notificationsSent),
      };
    },
    run: (operations) => {
      let submitted = 0;
      let turn = 0;
      const from = performance.now();
      for (;;) {
        const before = submitted;
        for (const lane of lanes) submitted += lane.refill(operations - submitted);
        if (submitted > before) continue;
        const lane = lanes[turn % lanes.length] as Lane; // in range
        turn += 1;
        if (!lane.isIdle) lane.wait();
        else if (submitted === operations && lanes.every((each) => each.isIdle)) break;
      }
      return { elapsedNs: (performance.now() - from) * 1e6, busyNs: Number.NaN };
    },
  };
  await serveTrials(guest.args, load);
  return sum((lane) => lane.failures);
});
