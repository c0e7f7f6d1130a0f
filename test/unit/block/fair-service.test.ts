// What many rings on one disk get: equal shares whatever their depth, no ring forgotten, and all of it for one alone.
import test from 'ava';
import { BlockLab } from '../../support/block-lab.ts';

/** Bytes of a read. */
const BYTES = 4096;
/** Pages of the disk that reads are drawn from. */
const PAGES = 960;

interface ReaderOptions {
  readonly depth: number;
  readonly seed?: number;
  readonly period?: number;
  readonly stride?: number;
  readonly bytes?: number;
  readonly keys?: Record<string, string>;
}

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
  private readonly bytes: number;
  private readonly guest: ReturnType<BlockLab['guest']>;
  private readonly queue: ReturnType<ReturnType<BlockLab['guest']>['disk']['openQueue']>;
  private readonly place: number;

  constructor(lab: BlockLab, options: ReaderOptions) {
    this.guest = lab.guest({ ringOrder: 2, ...(options.keys === undefined ? {} : { keys: options.keys }) });
    this.bytes = options.bytes ?? BYTES;
    this.depth = options.depth;
    this.period = options.period ?? 1;
    this.stride = options.stride ?? 7; // by default, no two neighbours
    this.sent = (options.seed ?? 0) * 13;
    this.queue = this.guest.disk.openQueue();
    const buffer = this.guest.disk.allocate(this.bytes);
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
      if (!this.queue.read(page * BYTES, this.place, this.bytes, 0)) break;
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

test('a disk that answers is given little at once while rings share it, however much they ask for', (t) => {
  const lab = busyDisk();
  const readers = [128, 128, 8].map((depth, seed) => new Reader(lab, { depth, seed }));
  let most = 0;
  for (let now = 0; now < 400; now += 1) {
    play(lab, readers, 1);
    const answered = readers.reduce((sum, reader) => sum + reader.done, 0);
    if (now > 100) most = Math.max(most, lab.ram.log.length - answered);
  }
  // Two batches of the smallest guest, and what is answered but not looked at yet.
  t.true(most <= 48, `${most}`);
});

test('a disk that is slow to answer gets more at once, sleeps when it is full, and goes on with its answers', (t) => {
  const lab = busyDisk();
  const readers = [128, 128, 8].map((depth, seed) => new Reader(lab, { depth, seed }));
  for (const reader of readers) reader.left = 200;
  lab.ram.isStalled = true;
  for (const reader of readers) reader.turn(0);
  lab.run(); // fails if it never comes to rest
  t.is(lab.ram.log.length, 255, 'as much as it takes');
  lab.ram.isStalled = false;
  play(lab, readers, 400);
  t.deepEqual(
    readers.map((reader) => reader.done),
    [200, 200, 200],
  );
});

for (const [name, weights] of Object.entries({ twice: [2, 1], 'a third of': [1, 3] })) {
  test(`weights ${weights.join(' and ')}: the first gets ${name} what the second gets`, (t) => {
    const lab = busyDisk();
    const readers = weights.map(
      (weight, seed) => new Reader(lab, { depth: 32, seed, keys: { weight: String(weight) } }),
    );
    play(lab, readers, 4000);
    const [first = 0, second = 0] = readers.map((reader) => reader.done);
    const [heavy = 0, light = 0] = weights;
    const ratio = first / second / (heavy / light);
    t.true(ratio > 0.85 && ratio < 1.15, `${first} against ${second}`);
  });
}

test('large requests count by their pages: a guest that reads 60 pages at a time gets no more of the disk', (t) => {
  const lab = new BlockLab({ tags: 255, burst: 1 });
  const large = new Reader(lab, { depth: 8, bytes: 60 * BYTES });
  const small = Array.from({ length: 3 }, (_, i) => new Reader(lab, { depth: 16, seed: i + 1 }));
  play(lab, [large, ...small], 8000);
  const least = Math.min(...small.map((reader) => reader.done));
  // By cost: 62 against 3. A turn of this disk is a command of any size, which leaves the guests as much time.
  t.true(large.done * 62 <= 1.5 * least * 3, `${large.done} large against ${least} small reads`);
  t.true(large.done * 62 >= 0.5 * least * 3, `${large.done} large against ${least} small reads`);
});

test('answers of a batch are announced once while rings share a disk, and early to a guest that is alone', (t) => {
  const notifications = (readers: (lab: BlockLab) => Reader[]) => {
    const lab = busyDisk();
    const all = readers(lab);
    play(lab, all, 4000);
    const counters = lab.backend.connections().flatMap((connection) => connection.counters);
    const publishes = counters.reduce((sum, one) => sum + one.publishes, 0);
    return all.reduce((sum, reader) => sum + reader.done, 0) / publishes;
  };
  const alone = notifications((lab) => [new Reader(lab, { depth: 32 })]);
  const shared = notifications((lab) => Array.from({ length: 4 }, (_, seed) => new Reader(lab, { depth: 32, seed })));
  t.true(alone <= 8, `${alone} answers a publication`);
  t.true(shared >= 16, `${shared} answers a publication`);
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
