// The guest of the block benchmark: on command runs the same load through its disk and by itself, and notes both times.
import { defineGuest, type GuestContext } from 'splitring/guest';
import { threadId } from '../../harness/affinity.ts';
import { threadCpuNs } from '../../harness/cpu-time.ts';
import { OwnLoop } from '../own-loop.ts';
import { type BlockParams, CONTROL, Positions, RESULT } from '../params.ts';

/** What the bench hands to its guest. */
export interface LoadArguments {
  readonly control: SharedArrayBuffer;
  readonly result: SharedArrayBuffer;
  readonly image: string;
  readonly params: BlockParams;
  readonly seed: number;
  /** Whether to measure this thread's own fs loop before and after each trial. */
  readonly hasBase: boolean;
  /** Whether to time the gaps: costs a tenth at depth 1. */
  readonly isBusyTimed: boolean;
}

type DiskQueue = ReturnType<ReturnType<GuestContext['disk']>['openQueue']>;

/** Requests are refilled when a quarter of the depth is free, at most eight at a time short: one publication for many. */
class Load {
  private readonly queue: DiskQueue;
  private readonly args: LoadArguments;
  private readonly positions: Positions;
  private readonly places: readonly number[];
  private readonly freePlaces: Int32Array;
  private freeCount: number;
  private completed = 0;
  failures = 0;

  constructor(queue: DiskQueue, args: LoadArguments, buffers: readonly Uint8Array[]) {
    this.queue = queue;
    this.args = args;
    this.positions = new Positions(args.params, args.seed);
    this.places = buffers.map((buffer) => queue.placeOf(buffer));
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

  private taken = 0;

  /** Run `operations` and return what they took, and how much of it the front end was busy, in ns. */
  run(operations: number): { elapsedNs: number; busyNs: number } {
    const { depth } = this.args.params;
    const refillAt = Math.max(1, Math.min(8, depth >> 2));
    const { isBusyTimed } = this.args;
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
    return { elapsedNs: elapsedMs * 1e6, busyNs: (elapsedMs - idleMs) * 1e6 };
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

export default defineGuest<LoadArguments, number>((guest) => {
  const { args } = guest;
  const { params } = args;
  const words = new Int32Array(args.control);
  const results = new Float64Array(args.result);
  const disk = guest.disk('xvda');
  const buffers = Array.from({ length: params.depth }, () => disk.allocate(params.bytes));
  const load = new Load(
    disk.openQueue(),
    args,
    buffers.filter((buffer) => buffer !== undefined),
  );
  const own = new OwnLoop(args.image, params, args.seed + 1);
  words[CONTROL.thread] = threadId() ?? 0;
  let trial = 0;
  Atomics.store(words, CONTROL.done, -1);
  Atomics.notify(words, CONTROL.done);
  for (;;) {
    Atomics.wait(words, CONTROL.start, trial);
    trial = Atomics.load(words, CONTROL.start);
    const operations = words[CONTROL.operations] as number; // the buffer has all words
    if (operations === 0) break;
    const base = Math.max(16, operations >> 2);
    const before = args.hasBase ? own.run(base) : 0;
    const cpuFrom = threadCpuNs() ?? Number.NaN;
    const { elapsedNs, busyNs } = load.run(operations);
    const cpuNs = (threadCpuNs() ?? Number.NaN) - cpuFrom;
    const after = args.hasBase ? own.run(base) : 0;
    results[RESULT.splitNs] = elapsedNs / operations;
    results[RESULT.busyNs] = busyNs / operations;
    results[RESULT.cpuNs] = cpuNs / operations;
    results[RESULT.ownNs] = (before + after) / 2;
    Atomics.store(words, CONTROL.done, trial);
    Atomics.notify(words, CONTROL.done);
  }
  own.close();
  return load.failures;
});
