// Power cuts against a model: what was flushed stays, what was not is lost, and a domain's death loses nothing.
import {
  createWriteCache,
  MEDIUM_STATUS,
  type Medium,
  type MediumStatus,
  MemoryMedium,
  WriteCache,
} from '@splitring/device';
import test from 'ava';
import fc from 'fast-check';

const BLOCK = 512;
const BLOCKS = 16;

/** A medium whose flushes finish when told to. */
class SlowFlush extends MemoryMedium {
  readonly waiting: (() => void)[] = [];
  override flush(done: (status: MediumStatus) => void): void {
    this.waiting.push(() => done(MEDIUM_STATUS.okay));
  }
  override persist(_position: number, _length: number, done: (status: MediumStatus) => void): void {
    this.flush(done);
  }
}

type Step =
  | { readonly kind: 'write'; readonly block: number; readonly blocks: number; readonly isForced: boolean }
  | { readonly kind: 'zero'; readonly block: number; readonly blocks: number }
  | { readonly kind: 'flush' }
  | { readonly kind: 'finish' }
  | { readonly kind: 'die' };

const range = fc.record({ block: fc.integer({ min: 0, max: BLOCKS - 4 }), blocks: fc.integer({ min: 1, max: 4 }) });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(range, fc.boolean()).map(([r, isForced]): Step => ({ kind: 'write', ...r, isForced })),
  },
  { weight: 1, arbitrary: range.map((r): Step => ({ kind: 'zero', ...r })) },
  { weight: 2, arbitrary: fc.constant<Step>({ kind: 'flush' }) },
  { weight: 3, arbitrary: fc.constant<Step>({ kind: 'finish' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'die' }) },
);

const contents = (buffer: SharedArrayBuffer): number[] => {
  const bytes = new Uint8Array(buffer);
  return Array.from({ length: BLOCKS }, (_, block) => bytes[block * BLOCK] ?? 0);
};

test('WriteCache loses exactly what no finished flush covered', (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const disk = new SharedArrayBuffer(BLOCKS * BLOCK);
      const journal = createWriteCache(BLOCK, 1024);
      let medium = new SlowFlush(disk);
      let cache = new WriteCache(medium, journal);
      let fill = 0;
      const volatileNow = new Array<number>(BLOCKS).fill(0);
      const durable = new Array<number>(BLOCKS).fill(0);
      /** Order of the last durable change of a block: an older flush that finishes late does not undo a newer one. */
      const durableAt = new Array<number>(BLOCKS).fill(0);
      let time = 0;
      let pending: (() => void)[] = [];
      const snapshot = (from: number, to: number) => {
        const seen = volatileNow.slice();
        const at = ++time;
        return () => {
          for (let block = from; block < to; block++) {
            if (at < (durableAt[block] ?? 0)) continue;
            durable[block] = seen[block] ?? 0;
            durableAt[block] = at;
          }
        };
      };
      for (const each of steps) {
        if (each.kind === 'write') {
          fill = (fill % 250) + 1;
          const bytes = new Uint8Array(each.blocks * BLOCK).fill(fill);
          cache.write(each.block * BLOCK, bytes, 0, bytes.length);
          for (let i = 0; i < each.blocks; i++) volatileNow[each.block + i] = fill;
          if (each.isForced) {
            pending.push(snapshot(each.block, each.block + each.blocks));
            cache.persist(each.block * BLOCK, each.blocks * BLOCK, () => {});
          }
        } else if (each.kind === 'zero') {
          cache.writeZeroes(each.block * BLOCK, each.blocks * BLOCK);
          for (let i = 0; i < each.blocks; i++) volatileNow[each.block + i] = 0;
        } else if (each.kind === 'flush') {
          pending.push(snapshot(0, BLOCKS));
          cache.flush(() => {});
        } else if (each.kind === 'finish') {
          medium.waiting.shift()?.();
          pending.shift()?.();
        } else {
          // The successor of a dead domain: a flush nobody heard of may or may not have happened; here it did not.
          medium = new SlowFlush(disk);
          cache = new WriteCache(medium, journal);
          pending = [];
          if (contents(disk).join() !== volatileNow.join()) return false;
        }
      }
      if (contents(disk).join() !== volatileNow.join()) return false;
      cache.powerCut();
      return contents(disk).join() === durable.join() && cache.dirtyBlocks === 0;
    }),
    { numRuns: 400 },
  );
  t.pass();
});

test('WriteCache with a partial power cut leaves each block at one of its unflushed versions', (t) => {
  const disk = new SharedArrayBuffer(BLOCKS * BLOCK);
  const cache = new WriteCache(new MemoryMedium(disk), createWriteCache(BLOCK, 64));
  const write = (block: number, fill: number) => cache.write(block * BLOCK, new Uint8Array(BLOCK).fill(fill), 0, BLOCK);
  write(0, 1);
  write(1, 2);
  cache.powerCut((versions) => versions - 1);
  t.deepEqual(contents(disk).slice(0, 2), [1, 2]);
});

test('WriteCache evicts the oldest block when the journal is full, and says so', (t) => {
  const disk = new SharedArrayBuffer(BLOCKS * BLOCK);
  const cache = new WriteCache(new MemoryMedium(disk), createWriteCache(BLOCK, 2));
  for (let block = 0; block < 3; block++) cache.write(block * BLOCK, new Uint8Array(BLOCK).fill(block + 1), 0, BLOCK);
  t.is(cache.evictedBlocks, 1);
  cache.powerCut();
  t.deepEqual(contents(disk).slice(0, 3), [1, 0, 0]);
});

test('WriteCache keeps everything dirty when a flush fails', (t) => {
  const disk = new SharedArrayBuffer(BLOCKS * BLOCK);
  const medium: Medium = new (class extends MemoryMedium {
    override flush(done: (status: MediumStatus) => void): void {
      done(MEDIUM_STATUS.failed);
    }
  })(disk);
  const cache = new WriteCache(medium, createWriteCache(BLOCK, 8));
  cache.write(0, new Uint8Array(BLOCK).fill(9), 0, BLOCK);
  const outcomes: MediumStatus[] = [];
  cache.flush((outcome) => outcomes.push(outcome));
  t.deepEqual(outcomes, [MEDIUM_STATUS.failed]);
  cache.powerCut();
  t.is(contents(disk)[0], 0);
});

test('WriteCache refuses a journal made for another block size', (t) => {
  t.throws(() => new WriteCache(new MemoryMedium(new SharedArrayBuffer(4096)), createWriteCache(4096, 4)), {
    message: /journal was not made for this medium/,
  });
});
