// What a guest gets beside a neighbour that flushes, and what a limit gives: on a clock of the test's own, so exact.
import { type Medium, MemoryMedium } from '@splitring/device';
import type { Disk } from '@splitring/frontend';
import test from 'ava';
import fc from 'fast-check';
import { RateLimit } from '../../../packages/backend/src/block/rate-limit.ts';
import { BlockCluster } from '../../support/block-cluster.ts';
import { BlockLab } from '../../support/block-lab.ts';

/** A medium whose flushes take `flushMs`, off-thread, as those of a file do. */
class SlowFlush extends MemoryMedium {
  nowMs: () => number = () => 0;
  private readonly underWay: { dueMs: number; done: Parameters<Medium['flush']>[0] }[] = [];
  private readonly flushMs: number;

  constructor(memory: SharedArrayBuffer, flushMs: number) {
    super(memory);
    this.flushMs = flushMs;
  }

  override flush(done: Parameters<Medium['flush']>[0]): void {
    this.underWay.push({ dueMs: this.nowMs() + this.flushMs, done });
  }

  /** Let time have passed. */
  settle(): void {
    while ((this.underWay[0]?.dueMs ?? Number.POSITIVE_INFINITY) <= this.nowMs()) this.underWay.shift()?.done(0);
  }
}

/** Latencies in ms of `count` reads, eight at a time, while `neighbour`, if any, writes and flushes in a loop. */
async function latencies(count: number, hasNeighbour: boolean): Promise<{ sorted: number[]; flushes: number }> {
  const medium = new SlowFlush(new SharedArrayBuffer(4 << 20), 1);
  const cluster = new BlockCluster({ media: [medium] });
  const now = () => cluster.rig.clock.nowMs();
  medium.nowMs = now;
  cluster.onStep = () => {
    cluster.rig.clock.advance(0.01); // nothing is free
    medium.settle();
  };
  const { disk } = cluster.guest({ bufferBytes: 256 << 10, backKeys: { slice: '0,4096' } });
  const other = cluster.guest({ bufferBytes: 256 << 10, backKeys: { slice: '4096,4096' } }).disk;
  const found: number[] = [];
  let flushes = 0;
  let isOver = false;
  const reader = async (lane: number, from: Disk) => {
    const into = new Uint8Array(4096);
    while (found.length < count) {
      const start = now();
      await from.read(((lane * 31 + found.length * 7) % 400) * 4096, into);
      found.push(now() - start);
    }
  };
  const flusher = async () => {
    while (!isOver) {
      await other.write(0, new Uint8Array(4096));
      await other.flush();
      flushes += 1;
    }
  };
  const all = Promise.all(Array.from({ length: 8 }, (_, lane) => reader(lane, disk)));
  const beside = Promise.all(hasNeighbour ? [flusher(), flusher()] : []);
  await cluster.until(all);
  isOver = true;
  await cluster.until(beside);
  return { sorted: found.sort((a, b) => a - b), flushes };
}

const p99 = (sorted: readonly number[]) => sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;

test('a neighbour that flushes in a loop leaves a guest’s p99 at most twice what it is alone', async (t) => {
  const alone = await latencies(12_000, false);
  const beside = await latencies(12_000, true);
  t.true(beside.flushes > 20, `${beside.flushes} flushes`);
  t.log(
    `p99 alone ${p99(alone.sorted).toFixed(2)} ms, beside ${beside.flushes} flushes ${p99(beside.sorted).toFixed(2)} ms`,
  );
  t.true(p99(beside.sorted) <= 2 * p99(alone.sorted));
});

test('a rate limit never gives more than its burst and its rate, and no less than its rate to who keeps asking', (t) => {
  fc.assert(
    fc.property(
      fc.record({
        iops: fc.option(fc.integer({ min: 1, max: 50_000 }), { nil: undefined }),
        bytesPerSecond: fc.option(fc.integer({ min: 4096, max: 1e8 }), { nil: undefined }),
        burstMs: fc.integer({ min: 1, max: 1000 }),
        sizes: fc.array(fc.integer({ min: 1, max: 2048 }), { minLength: 1, maxLength: 20 }),
      }),
      ({ iops, bytesPerSecond, burstMs, sizes }) => {
        if (iops === undefined && bytesPerSecond === undefined) return true;
        const limit = new RateLimit({ iops, bytesPerSecond, burstMs }, 0);
        let now = 0;
        let operations = 0;
        let bytes = 0;
        let largest = 0;
        for (; operations < 400; operations += 1) {
          if (!limit.refill(now)) {
            const opens = limit.opensAtMs(now);
            if (!(opens > now)) return false; // a wait of nothing is a loop
            now = opens;
            if (!limit.refill(now)) return false; // it opens when it says so: no stall
          }
          const size = (sizes[operations % sizes.length] as number) * 512; // in range
          limit.charge(size);
          bytes += size;
          largest = Math.max(largest, size);
        }
        const seconds = now / 1000;
        const burst = burstMs / 1000;
        const isWithin = (used: number, rate: number | undefined, floor: number, one: number) =>
          rate === undefined || used <= Math.max(floor, rate * burst) + rate * seconds + one + 1;
        return isWithin(operations, iops, 1, 1) && isWithin(bytes, bytesPerSecond, 512, largest);
      },
    ),
    { numRuns: 300 },
  );
  t.pass();
});

test('a limited guest gets the same in every interval: no sawtooth after the burst', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest({ keys: { 'limit-iops': '2000' } });
  const perInterval = new Array<number>(12).fill(0);
  const from = lab.nowMs;
  const lane = async (at: number) => {
    for (let i = 0; lab.nowMs - from < 600; i += 1) {
      await disk.read(((at * 13 + i) % 64) * 4096, new Uint8Array(512));
      const interval = Math.floor((lab.nowMs - from) / 50);
      if (interval < perInterval.length) perInterval[interval] = (perInterval[interval] as number) + 1; // below its length
    }
  };
  await lab.until(Promise.all(Array.from({ length: 16 }, (_, at) => lane(at))));
  const steady = perInterval.slice(4); // the burst of 100 ms is over by then
  t.true(
    steady.every((count) => count >= 90 && count <= 110),
    perInterval.join(' '),
  );
});
