// What many rings on one disk get: equal shares whatever their depth, no ring forgotten, and all of it for one alone.
import test from 'ava';
import { BlockLab } from '../../support/block-lab.ts';

/** Bytes of a read. */
const BYTES = 4096;
/** Pages of the disk that reads are drawn from. */
const PAGES = 1000;

/** A guest that keeps `depth` reads in flight, looking for answers every `period` turns only. */
class Reader {
  done = 0;
  /** Reads that may still be sent. */
  left = Number.POSITIVE_INFINITY;
  private inFlight = 0;
  private sent: number;
  private readonly depth: number;
  private readonly period: number;
  private readonly stride: number;
  private readonly guest: ReturnType<BlockLab['guest']>;
  private readonly queue: ReturnType<ReturnType<BlockLab['guest']>['disk']['openQueue']>;
  private readonly place: number;

  constructor(lab: BlockLab, options: { depth: number; seed?: number; period?: number; stride?: number }) {
    this.guest = lab.guest({ ringOrder: 2 });
    this.depth = options.depth;
    this.period = options.period ?? 1;
    this.stride = options.stride ?? 7; // by default, no two neighbours
    this.sent = (options.seed ?? 0) * 13;
    this.queue = this.guest.disk.openQueue();
    const buffer = this.guest.disk.allocate(BYTES);
    if (buffer === undefined) throw new Error('no memory for one read');
    this.place = this.queue.placeOf(buffer);
    this.queue.onComplete = (_cookie, status) => {
      if (status !== 0) throw new Error(`status ${status}`);
      this.inFlight -= 1;
      this.done += 1;
    };
  }

  /** Take what is answered and ask for more, unless it sleeps in this turn. */
  turn(now: number): void {
    if (now % this.period !== 0) return;
    this.guest.kernel.poll();
    for (; this.inFlight < this.depth && this.left > 0; this.inFlight += 1) {
      const page = (this.sent * this.stride) % PAGES;
      if (!this.queue.read(page * BYTES, this.place, BYTES, 0)) break;
      this.sent += 1;
      this.left -= 1;
    }
    this.queue.publish();
  }
}

/** Let the driver domain and the readers take turns. */
function play(lab: BlockLab, readers: readonly Reader[], turns: number): void {
  for (let now = 0; now < turns; now += 1) {
    lab.driverKernel.poll();
    for (const reader of readers) reader.turn(now);
  }
}

/** A disk whose queue is deep and served in order, a few commands a turn, as that of a real controller is. */
const busyDisk = () => new BlockLab({ tags: 255, burst: 4 });

/** Slowest reader over fastest. */
function evenness(readers: readonly Reader[]): number {
  const done = readers.map((reader) => reader.done);
  return Math.min(...done) / Math.max(...done);
}

for (const period of [1, 8]) {
  test(`a guest with 128 reads in flight and fifteen with 8, answering every ${period} turns, get about the same`, (t) => {
    const lab = busyDisk();
    const greedy = new Reader(lab, { depth: 128 });
    const others = Array.from({ length: 15 }, (_, i) => new Reader(lab, { depth: 8, seed: i + 1, period }));
    play(lab, [greedy, ...others], 4000);
    t.true(greedy.done > 1000);
    t.true(evenness([greedy, ...others]) >= 0.6, `${greedy.done} against ${others.map((reader) => reader.done)}`);
  });
}

test('a guest whose reads merge into large commands takes little from its neighbours', (t) => {
  const neighbours = (lab: BlockLab) =>
    Array.from({ length: 3 }, (_, i) => new Reader(lab, { depth: 32, seed: i + 1 }));
  const without = busyDisk();
  const before = neighbours(without);
  play(without, before, 1000);
  const lab = busyDisk();
  const others = neighbours(lab);
  play(lab, [new Reader(lab, { depth: 128, stride: 1 }), ...others], 1000);
  for (const [i, reader] of others.entries()) {
    const alone = before[i]?.done ?? 0;
    t.true(reader.done >= 0.8 * alone, `${reader.done} against ${alone} without the stream`);
  }
  const largest = Math.max(...lab.ram.log.map((command) => command.sectors));
  t.true(largest >= (32 * BYTES) / 512, `a shared disk still sees large commands: ${largest} sectors`);
});

test('a ring that is held sleeps, and goes on when its answers come: everybody’s work ends', (t) => {
  const lab = busyDisk();
  const readers = [128, 128, 8].map((depth, seed) => new Reader(lab, { depth, seed }));
  for (const reader of readers) reader.left = 200;
  lab.ram.isStalled = true;
  for (const reader of readers) reader.turn(0);
  lab.run(); // fails if it never comes to rest
  t.is(lab.ram.log.length, 24, 'eight of each are at the device');
  lab.ram.isStalled = false;
  play(lab, readers, 400);
  t.deepEqual(
    readers.map((reader) => reader.done),
    [200, 200, 200],
  );
});

test('a ring that is alone has all its requests at the device, also when it was not alone a while ago', (t) => {
  const lab = busyDisk();
  const [one, other] = [new Reader(lab, { depth: 120 }), new Reader(lab, { depth: 8, seed: 1 })];
  other.left = 100;
  play(lab, [one, other], 400);
  t.is(other.done, 100);
  lab.ram.isStalled = true;
  play(lab, [one], 100);
  t.is(lab.ram.log.length - one.done - other.done, 120);
});
