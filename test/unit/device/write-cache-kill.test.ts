// A driver domain killed at any write to the journal: its successor and a power cut find a disk that keeps its word.
import { createWriteCache, MemoryMedium, WriteCache } from '@splitring/device';
import test from 'ava';
import { killAtEachWrite } from '../../checker/kill.ts';

const BLOCK = 512;

function build() {
  const disk = new SharedArrayBuffer(8 * BLOCK);
  const journal = createWriteCache(BLOCK, 4);
  const cache = new WriteCache(new MemoryMedium(disk), journal);
  const write = (block: number, fill: number, blocks = 1) => {
    const bytes = new Uint8Array(blocks * BLOCK).fill(fill);
    cache.write(block * BLOCK, bytes, 0, bytes.length);
  };
  write(0, 1);
  write(1, 1);
  cache.flush(() => {});
  write(0, 2);
  return { disk, journal, cache, write };
}

type World = ReturnType<typeof build>;
const at = (world: World, block: number) => new Uint8Array(world.disk)[block * BLOCK] ?? -1;

/** Operation, and what each block may hold after the successor's power cut when the operation was not acknowledged. */
const OPERATIONS: Readonly<Record<string, { run: (world: World) => void; durable: readonly (readonly number[])[] }>> = {
  'write of a clean block': { run: (w) => w.write(1, 3), durable: [[1], [1]] },
  'write of a dirty block': { run: (w) => w.write(0, 3), durable: [[1], [1]] },
  'write that evicts': { run: (w) => w.write(2, 3, 4), durable: [[1, 2], [1]] },
  flush: { run: (w) => w.cache.flush(() => {}), durable: [[1, 2], [1]] },
  'flush and write again': {
    run: (w) => {
      w.cache.flush(() => {});
      w.write(0, 4);
    },
    durable: [[1, 2], [1]],
  },
  'durable write': {
    run: (w) => {
      w.write(1, 5);
      w.cache.persist(BLOCK, BLOCK, () => {});
    },
    durable: [[1], [1, 5]],
  },
};

for (const [name, { run, durable }] of Object.entries(OPERATIONS)) {
  test(`${name}: killed at every write to the journal, the successor keeps the word given`, (t) => {
    const writes = killAtEachWrite<World>({
      buffers: (buffer) => buffer.byteLength !== 8 * BLOCK, // the journal; a copy to the medium is one step
      prepare: build,
      operation: run,
      verify: (world, killedAfter) => {
        const before = [at(world, 0), at(world, 1)];
        const successor = new WriteCache(new MemoryMedium(world.disk), world.journal);
        if ([at(world, 0), at(world, 1)].join() !== before.join()) throw new Error(`${killedAfter}: recovery wrote`);
        successor.powerCut();
        for (const [block, allowed] of durable.entries()) {
          const seen = at(world, block);
          if (!allowed.includes(seen))
            throw new Error(`killed after write ${killedAfter}: block ${block} holds ${seen}`);
        }
        if (successor.dirtyBlocks !== 0) throw new Error(`${killedAfter}: still dirty`);
        for (let block = 0; block < 4; block++) successor.write(block * BLOCK, new Uint8Array(BLOCK), 0, BLOCK);
        if (successor.evictedBlocks > 1 + 4) throw new Error(`${killedAfter}: slots leaked`);
      },
    });
    t.is(writes > 0, name !== 'write of a dirty block', 'a dirty block needs no new entry');
  });
}
