// A disk by the byte, by callbacks, by chunks, and as Node streams.
import { createRequire } from 'node:module';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { DiskBytes, DiskChunkStore, RandomAccessDisk } from '@splitring/frontend/block-store';
import { createDiskReadStream, createDiskWriteStream } from '@splitring/frontend/disk-node-streams';
import test from 'ava';
import fc from 'fast-check';
import { BlockLab, isSame, pattern } from '../../support/block-lab.ts';

/** Move a lab until `promise` is settled, with turns of the event loop for those who live there. */
async function turning<T>(lab: BlockLab, promise: Promise<T>): Promise<T> {
  let isSettled = false;
  const settled = () => {
    isSettled = true;
  };
  promise.then(settled, settled);
  for (let turns = 0; !isSettled; turns += 1) {
    if (turns > 20_000) throw new Error('the lab does not come to rest');
    if (!lab.step()) lab.nowMs += 0.25;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return promise;
}

/** A call with a callback, as a promise. */
function called<T>(act: (done: (error: Error | null, result?: T) => void) => void): Promise<T | undefined> {
  return new Promise((resolve, reject) => act((error, result) => (error === null ? resolve(result) : reject(error))));
}

test('DiskBytes agrees with an array, whatever overlaps and whoever waits', async (t) => {
  const operation = fc.record({
    kind: fc.constantFrom('write', 'write', 'zero', 'read'),
    offset: fc.nat(4000),
    length: fc.nat(1500),
    seed: fc.nat(250),
  });
  for (const logicalBlockBytes of [512, 4096]) {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 12 }), async (operations) => {
        const lab = new BlockLab({ sectors: 64, logicalBlockBytes });
        const bytes = new DiskBytes(lab.guest({ bufferBytes: 64 << 10 }).disk, {
          start: 4096 + 77,
          end: 4096 + 77 + 5500,
        });
        const model = new Uint8Array(5500);
        const writes: Promise<void>[] = [];
        for (const { kind, offset, length, seed } of operations) {
          if (kind === 'read') {
            await lab.until(Promise.all(writes));
            const seen = await lab.until(bytes.read(offset, length));
            if (!isSame(seen, model.subarray(offset, offset + length))) return false;
          } else if (kind === 'write') {
            const data = pattern(length, seed);
            model.set(data, offset);
            writes.push(bytes.write(offset, data));
          } else {
            model.fill(0, offset, offset + length);
            writes.push(bytes.zero(offset, length));
          }
        }
        await lab.until(Promise.all(writes));
        return isSame(lab.ram.bytes.subarray(4173, 4173 + 5500), model) && lab.ram.bytes[4172] === 0;
      }),
      { numRuns: 40 },
    );
  }
  t.pass();
});

test('DiskBytes refuses ranges, offsets and lengths that are none, and what lies beyond its end', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  for (const range of [{ start: -1 }, { start: 1.5 }, { start: 9, end: 8 }, { end: Number.NaN }]) {
    t.throws(() => new DiskBytes(disk, range), { instanceOf: RangeError });
  }
  const bytes = new DiskBytes(disk, { start: 100, end: 1000 });
  t.is(bytes.lengthBytes, 900);
  await t.throwsAsync(bytes.read(-1, 1), { instanceOf: RangeError });
  await t.throwsAsync(bytes.read(0, 0.5), { instanceOf: RangeError });
  await t.throwsAsync(bytes.write(900, new Uint8Array(1)), { code: 'BLOCK_OUT_OF_RANGE' });
  await t.throwsAsync(bytes.read(0, 901), { code: 'BLOCK_OUT_OF_RANGE' });
  t.is(lab.ram.log.length, 0);
});

test('a failed write of DiskBytes fails alone: the one that waited behind it is made', async (t) => {
  const lab = new BlockLab();
  const bytes = new DiskBytes(lab.guest().disk);
  lab.ram.fault = ({ op }) => (op === 1 && lab.ram.log.filter((each) => each.op === 1).length === 1 ? 1 : 0);
  const first = bytes.write(10, new Uint8Array(5).fill(1));
  const second = bytes.write(20, new Uint8Array(5).fill(2));
  await t.throwsAsync(lab.until(first), { code: 'BLOCK_IO' });
  await lab.until(second);
  t.deepEqual([...lab.ram.bytes.subarray(9, 26)], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 0]);
});

test('RandomAccessDisk reads, writes, deletes and tells its size by callbacks, and ends when closed', async (t) => {
  const lab = new BlockLab();
  const storage = new RandomAccessDisk(lab.guest().disk, { start: 512, end: 10_000 });
  const ask = <T>(act: (done: (error: Error | null, result?: T) => void) => void) => turning(lab, called(act));
  await ask((done) => storage.open(done));
  await ask((done) => storage.write(1001, Buffer.from('hello'), done));
  const seen = await ask<Uint8Array>((done) => storage.read(1000, 7, done));
  t.is(Buffer.from(seen ?? []).toString(), '\0hello\0');
  await ask((done) => storage.del(1002, 2, done));
  t.is(Buffer.from((await ask<Uint8Array>((done) => storage.read(1001, 5, done))) ?? []).toString(), 'h\0\0lo');
  await ask((done) => storage.truncate(1003, done));
  t.is(Buffer.from((await ask<Uint8Array>((done) => storage.read(1001, 5, done))) ?? []).toString(), 'h\0\0\0\0');
  t.like(await ask<object>((done) => storage.stat(done)), { size: 9488, blksize: 512 });
  await t.throwsAsync(
    ask((done) => storage.read(9488, 1, done)),
    { code: 'BLOCK_OUT_OF_RANGE' },
  );
  const { flushes } = lab.ram;
  await ask((done) => storage.sync(done));
  t.is(lab.ram.flushes, flushes + 1);
  await ask((done) => storage.close(done));
  await t.throwsAsync(
    ask((done) => storage.read(0, 1, done)),
    { message: /closed/ },
  );
});

type TapeTest = (name: string, run: (t: Record<string, (...values: unknown[]) => void>) => void) => void;
const chunkStoreSuite = createRequire(import.meta.url)('abstract-chunk-store/tests') as (
  test: TapeTest,
  Store: unknown,
) => void;

/** The store that the suite's next `new Store` gets. */
let storeOnDisk: (chunkLength: number) => DiskChunkStore;

// The suite that stores of this interface share; its own words are in the titles.
chunkStoreSuite(
  (name, run) => {
    if (name.includes('non-existent')) return; // a disk does not know which chunks were ever put
    test(`abstract-chunk-store: ${name}`, async (t) => {
      const lab = new BlockLab({ sectors: 64 });
      const { disk } = lab.guest({ bufferBytes: 64 << 10 });
      storeOnDisk = (chunkLength) => new DiskChunkStore(chunkLength, { disk });
      const ended = new Promise<void>((resolve) => {
        run({
          error: (error) => void t.falsy(error),
          ok: (value) => void t.truthy(value),
          equal: (seen, wanted) => void t.is(seen, wanted),
          deepEqual: (seen, wanted) => void t.true(Buffer.from(seen as Uint8Array).equals(wanted as Buffer)),
          end: () => {
            t.pass();
            resolve();
          },
        });
      });
      await turning(lab, ended);
    });
  },
  function Store(chunkLength: number) {
    return storeOnDisk(chunkLength);
  },
);

test('DiskChunkStore knows its last, shorter chunk and refuses others', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  const store = new DiskChunkStore(1000, { disk, start: 512, length: 2500 });
  const ask = <T>(act: (done: (error: Error | null, result?: T) => void) => void) => turning(lab, called(act));
  await ask((done) => store.put(2, pattern(500, 1), done));
  await t.throwsAsync(
    ask((done) => store.put(2, pattern(1000, 1), done)),
    { instanceOf: RangeError },
  );
  await t.throwsAsync(
    ask((done) => store.put(3, pattern(1000, 1), done)),
    { instanceOf: RangeError },
  );
  await t.throwsAsync(
    ask((done) => store.get(2, { offset: 499, length: 2 }, done)),
    { instanceOf: RangeError },
  );
  await t.throwsAsync(
    ask((done) => store.get(-1, done)),
    { instanceOf: RangeError },
  );
  const seen = await ask<Uint8Array>((done) => store.get(2, { offset: 499 }, done));
  t.deepEqual([...(seen ?? [])], [...pattern(500, 1).subarray(499)]);
  t.throws(() => new DiskChunkStore(0, { disk }), { instanceOf: RangeError });
  t.throws(() => new DiskChunkStore(10, { disk, length: disk.capacityBytes + 1 }), { instanceOf: RangeError });
});

test('a read stream yields exactly its range, whatever its alignment', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  lab.ram.bytes.set(pattern(200_000, 4));
  for (const [start, end, chunkBytes] of [
    [0, 200_000, 65_536],
    [1, 99_999, 10_000],
    [511, 513, 100],
    [700, 700, 512],
  ] as const) {
    const stream = createDiskReadStream(disk, { start, end, chunkBytes });
    const seen = await turning(lab, collect(stream));
    t.true(isSame(seen, pattern(200_000, 4).subarray(start, end)), `${start} to ${end}`);
  }
});

async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test('a read stream reads no further than its consumer', async (t) => {
  const lab = new BlockLab();
  const stream = createDiskReadStream(lab.guest().disk, { chunkBytes: 8192 });
  const first = await turning(
    lab,
    new Promise<Buffer>((resolve) => stream.once('readable', () => resolve(stream.read()))),
  );
  for (let i = 0; i < 200; i += 1) {
    lab.step();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const sectors = lab.ram.log.reduce((sum, command) => sum + command.sectors, 0);
  t.true(sectors * 512 <= first.byteLength + 3 * 8192, `${sectors * 512} bytes were read for ${first.byteLength}`);
  stream.destroy();
});

test('a write stream writes whole blocks, keeps what surrounds its range, and is durable when told so', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  lab.ram.bytes.fill(0xee);
  const data = pattern(70_001, 5);
  const pieces = [3, 1000, 60_000, 8998].map((length, i, all) => {
    const from = all.slice(0, i).reduce((sum, each) => sum + each, 0);
    return Buffer.from(data.subarray(from, from + length));
  });
  await turning(lab, pipeline(Readable.from(pieces), createDiskWriteStream(disk, { start: 777, isDurable: true })));
  t.true(isSame(lab.ram.bytes.subarray(777, 777 + 70_001), data));
  t.is(lab.ram.bytes[776], 0xee);
  t.is(lab.ram.bytes[777 + 70_001], 0xee);
  t.is(lab.ram.flushes, 1);
});

test('a write stream holds its source back while the disk is busy', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  const stream = createDiskWriteStream(disk, { bufferBytes: 16_384 });
  lab.ram.isStalled = true;
  let accepted = 0;
  while (stream.write(Buffer.alloc(4096)) && accepted < 100) accepted += 1;
  t.true(accepted < 5, `${accepted} chunks were taken`);
  lab.ram.isStalled = false;
  await turning(lab, new Promise<void>((resolve) => stream.once('drain', () => resolve())));
  await turning(lab, new Promise<void>((resolve) => stream.end(() => resolve())));
});

test('a stream ends with the disk’s typed error', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  const overfull = createDiskWriteStream(disk, { start: disk.capacityBytes - 1000 });
  await t.throwsAsync(turning(lab, pipeline(Readable.from([Buffer.alloc(2000)]), overfull)), {
    code: 'BLOCK_OUT_OF_RANGE',
  });
  lab.ram.fault = () => 1;
  await t.throwsAsync(turning(lab, collect(createDiskReadStream(disk))), { code: 'BLOCK_IO' });
});

test('destroying a stream gives up the request in flight', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  lab.ram.isStalled = true;
  const ends: (Readable | Writable)[] = [createDiskReadStream(disk), createDiskWriteStream(disk)];
  (ends[0] as Readable).resume();
  (ends[1] as Writable).write(Buffer.alloc(4096));
  for (let i = 0; i < 20; i += 1) lab.step();
  const closed = Promise.all(ends.map((end) => new Promise((resolve) => end.once('close', resolve))));
  for (const end of ends) end.destroy();
  await closed;
  lab.ram.isStalled = false;
  lab.run();
  t.is(disk.inFlight + disk.waiting, 0);
});
