// What a disk promises to the guest program: order, flushes, errors, giving up, sizes, fair shares, limits.
import { BLOCK_OP, BLOCK_STATUS } from '@splitring/device';
import { BlockError } from '@splitring/frontend';
import test from 'ava';
import { BlockLab, isSame, pattern } from '../../support/block-lab.ts';

/** Let everything move for a while without waiting for anything. */
async function turn(lab: BlockLab, steps = 50): Promise<void> {
  for (let i = 0; i < steps; i += 1) {
    lab.step();
    await Promise.resolve();
  }
}

test('a write that overlaps one in flight waits for it, a read of other sectors does not wait behind', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  lab.ram.isStalled = true;
  const first = disk.write(0, pattern(4096, 1));
  const second = disk.write(2048, pattern(4096, 2));
  await turn(lab);
  t.is(lab.ram.log.length, 1);
  t.is(disk.waiting, 1);
  lab.ram.isStalled = false;
  await lab.until(Promise.all([first, second]));
  t.true(isSame(lab.ram.bytes.slice(2048, 6144), pattern(4096, 2)));
});

test('overlapping reads go side by side', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  lab.ram.isStalled = true;
  const reads = [0, 0, 512].map((offset) => disk.read(offset, new Uint8Array(4096)));
  await turn(lab);
  t.is(lab.ram.log.length, 3);
  lab.ram.isStalled = false;
  await lab.until(Promise.all(reads));
});

test('a flush waits for every write called before it and holds up nobody', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  lab.ram.isStalled = true;
  const write = disk.write(0, pattern(512, 1));
  const flush = disk.flush();
  const later = disk.write(8192, pattern(512, 2));
  await turn(lab);
  t.deepEqual(
    lab.ram.log.map(({ op }) => op),
    [BLOCK_OP.write, BLOCK_OP.write],
  );
  lab.ram.isStalled = false;
  await lab.until(Promise.all([write, flush, later]));
  t.is(lab.ram.log.at(-1)?.op, BLOCK_OP.flush);
});

test('without flush, a flush and a durable write are refused, never pretended', async (t) => {
  const lab = new BlockLab({ backend: { hasFlush: false, hasBarrier: false, hasForceUnitAccess: false } });
  const { disk } = lab.guest();
  t.false(disk.hasFlush);
  await t.throwsAsync(lab.until(disk.flush()), { instanceOf: BlockError, code: 'BLOCK_UNSUPPORTED' });
  await t.throwsAsync(lab.until(disk.write(0, new Uint8Array(512), { isDurable: true })), {
    code: 'BLOCK_UNSUPPORTED',
  });
  await lab.until(disk.write(0, new Uint8Array(512)));
});

test('with barriers only, a flush travels as a barrier and really flushes', async (t) => {
  const lab = new BlockLab({ backend: { hasFlush: false, hasForceUnitAccess: false } });
  const { disk } = lab.guest();
  await lab.until(disk.write(0, pattern(4096, 1)));
  await lab.until(disk.flush());
  t.is(lab.ram.flushes, 1);
});

test('a durable write without FUA is a write and then a flush', async (t) => {
  const lab = new BlockLab({ backend: { hasForceUnitAccess: false } });
  const { disk } = lab.guest();
  await lab.until(disk.write(0, pattern(4096, 1), { isDurable: true }));
  t.deepEqual(
    lab.ram.log.map(({ op }) => op),
    [BLOCK_OP.write, BLOCK_OP.flush],
  );
});

for (const [name, status, code] of [
  ['fails', BLOCK_STATUS.error, 'BLOCK_IO'],
  ['is full', BLOCK_STATUS.outOfSpace, 'BLOCK_NO_SPACE'],
  ['turns read-only', BLOCK_STATUS.readOnly, 'BLOCK_READ_ONLY'],
  ['has shrunk', BLOCK_STATUS.outOfRange, 'BLOCK_OUT_OF_RANGE'],
] as const) {
  test(`a medium that ${name} fails that request with ${code} and no other`, async (t) => {
    const lab = new BlockLab();
    const [one, two] = [lab.guest(), lab.guest()];
    lab.ram.fault = ({ startSector }) => (startSector === 64 ? status : BLOCK_STATUS.okay);
    const bad = one.disk.write(64 * 512, pattern(512, 1));
    const good = one.disk.write(0, pattern(512, 1));
    await t.throwsAsync(lab.until(bad), { instanceOf: BlockError, code });
    await lab.until(good);
    await lab.until(two.disk.write(4096, pattern(512, 2)));
    t.throws(() => one.disk.writeSync(64 * 512, pattern(512, 1)), { code });
  });
}

test('wrong calls throw at once and change nothing', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  const bytes = new Uint8Array(512);
  t.throws(() => disk.read(100, bytes), { instanceOf: RangeError });
  t.throws(() => disk.read(-512, bytes), { instanceOf: RangeError });
  t.throws(() => disk.read(2 ** 60, bytes), { instanceOf: RangeError });
  t.throws(() => disk.read(0, new Uint8Array(100)), { instanceOf: RangeError });
  t.throws(() => disk.write(0, 'text' as unknown as Uint8Array), { instanceOf: TypeError });
  t.throws(() => disk.write(0, bytes, { timeoutMs: Number.NaN }), { instanceOf: RangeError });
  await t.throwsAsync(disk.read(disk.capacityBytes, bytes), { code: 'BLOCK_OUT_OF_RANGE' });
  await disk.read(0, []);
  t.is(lab.ram.log.length, 0);
});

test('a request that is not answered in time gives up, and its late answer harms nobody', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  lab.ram.isStalled = true;
  const into = new Uint8Array(4096).fill(7);
  const read = disk.read(0, into, { timeoutMs: 5 });
  await t.throwsAsync(lab.until(read), { instanceOf: BlockError, code: 'BLOCK_TIMEOUT' });
  lab.ram.isStalled = false;
  await turn(lab, 500);
  t.true(
    into.every((byte) => byte === 7),
    'the buffer is the caller’s again',
  );
  t.is(disk.inFlight, 0);
  t.throws(
    () => {
      lab.ram.isStalled = true;
      disk.readSync(0, into, 5);
    },
    { code: 'BLOCK_TIMEOUT' },
  );
});

test('an abort rejects with the signal’s reason, before, while waiting and in flight', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  const reason = new Error('enough');
  await t.throwsAsync(disk.read(0, new Uint8Array(512), { signal: AbortSignal.abort(reason) }), { is: reason });
  lab.ram.isStalled = true;
  const controllers = [new AbortController(), new AbortController()];
  const writes = controllers.map(({ signal }) => disk.write(0, pattern(512, 1), { signal }));
  await turn(lab);
  for (const controller of controllers) controller.abort(reason);
  for (const write of writes) await t.throwsAsync(write, { is: reason });
  lab.ram.isStalled = false;
  await turn(lab, 500);
  t.is(lab.ram.log.length, 1, 'the one that waited was never sent');
  t.is(disk.inFlight + disk.waiting, 0);
  await lab.until(disk.write(0, pattern(512, 2)));
});

test('a disk that goes ends every call: in flight, waiting for memory, behind another, flushing, and those to come', async (t) => {
  const lab = new BlockLab();
  const guest = lab.guest({ bufferBytes: 32 << 10 });
  const { disk } = guest;
  lab.ram.isStalled = true;
  const mine = disk.allocate(28 << 10); // what is left is too little for most of these
  const calls = [
    disk.write(0, pattern(4096, 1)),
    disk.write(0, pattern(4096, 2)),
    disk.read(8192, new Uint8Array(65_536)),
    disk.flush(),
    disk.write(65_536, pattern(4096, 3), { isDurable: true }),
  ].map((call) =>
    call.then(
      () => 'done',
      (error: unknown) => (error as BlockError).code,
    ),
  );
  await turn(lab, 20);
  guest.front.driver?.remove();
  calls.push(
    disk.read(0, new Uint8Array(512)).then(
      () => 'done',
      (error: unknown) => (error as BlockError).code,
    ),
  );
  t.deepEqual(await lab.until(Promise.all(calls)), new Array(6).fill('BLOCK_GONE'));
  t.is(disk.inFlight + disk.waiting, 0);
  t.is(disk.allocate(4096), undefined);
  if (mine !== undefined) t.notThrows(() => disk.release(mine));
});

test('buffers one after the other are one request on the disk', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  const parts = [512, 1024, 2560].map((length, i) => pattern(length, i));
  await lab.until(disk.write(1024, parts));
  t.is(lab.ram.log.length, 1);
  const into = parts.map((part) => new Uint8Array(part.length));
  disk.readSync(1024, into);
  t.true(parts.every((part, i) => isSame(part, into[i] as Uint8Array)));
});

test('a read-only disk says so and refuses', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest({ keys: { mode: 'r' } });
  t.true(disk.isReadOnly);
  await t.throwsAsync(lab.until(disk.write(0, new Uint8Array(512))), { code: 'BLOCK_READ_ONLY' });
  await lab.until(disk.read(0, new Uint8Array(512)));
});

test('a disk grows and shrinks while in use', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  let changes = 0;
  disk.onChange = () => {
    changes += 1;
  };
  lab.ram.capacitySectors = 4096;
  lab.run();
  t.is(disk.capacityBytes, 4096 * 512);
  t.true(changes > 0);
  await t.throwsAsync(lab.until(disk.read(4096 * 512, new Uint8Array(512))), { code: 'BLOCK_OUT_OF_RANGE' });
  lab.ram.capacitySectors = 8192;
  lab.run();
  await lab.until(disk.read(4096 * 512, new Uint8Array(512)));
});

test('more requests than the ring and the memory hold are all done', async (t) => {
  const lab = new BlockLab({ tags: 3 });
  const { disk } = lab.guest({ ringOrder: 0, bufferBytes: 64 << 10 });
  const writes = Array.from({ length: 200 }, (_, i) => disk.write(i * 8192, pattern(8192, i)));
  t.true(disk.waiting > 0);
  await lab.until(Promise.all(writes));
  for (let i = 0; i < 200; i += 1) t.true(isSame(lab.ram.bytes.slice(i * 8192, (i + 1) * 8192), pattern(8192, i)));
});

test('a guest with much to do leaves a guest with little its share', async (t) => {
  const lab = new BlockLab({ tags: 16 });
  const greedy = lab.guest({ ringOrder: 2 });
  const modest = lab.guest({ ringOrder: 2 });
  const done = { greedy: 0, modest: 0 };
  const keepGoing = async (name: 'greedy' | 'modest', disk: typeof greedy.disk, depth: number, from: number) => {
    const one = async (lane: number) => {
      for (let i = 0; done.greedy + done.modest < 2000; i += 1) {
        await disk.read(from + ((lane * 97 + i * 13) % 400) * 4096, new Uint8Array(512));
        done[name] += 1;
      }
    };
    await Promise.all(Array.from({ length: depth }, (_, lane) => one(lane)));
  };
  const all = Promise.all([keepGoing('greedy', greedy.disk, 60, 0), keepGoing('modest', modest.disk, 8, 1 << 20)]);
  // Guests have threads of their own: all that they do about an answer is done before the back end's next turn.
  while (done.greedy + done.modest < 2000) {
    lab.step();
    await new Promise((resolve) => setImmediate(resolve));
    for (const { kernel } of lab.guests) kernel.poll();
  }
  await lab.until(all);
  t.true(done.modest > 0.6 * done.greedy, `${done.modest} against ${done.greedy}`);
});

test('a limit on operations a second is kept, charged once and without a stall', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest({ keys: { 'limit-iops': '1000' } });
  const from = lab.nowMs;
  for (let i = 0; i < 1000; i += 1) await lab.until(disk.read((i % 64) * 4096, new Uint8Array(512)));
  const seconds = (lab.nowMs - from) / 1000;
  t.true(seconds > 0.85 && seconds < 1.15, `1000 operations took ${seconds} s`);
});

test('a limit on bytes lets a request larger than the burst pass', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest({ keys: { 'limit-bytes-per-second': '1000000' } });
  const from = lab.nowMs;
  for (let i = 0; i < 4; i += 1) await lab.until(disk.write(0, new Uint8Array(512 * 1000)));
  const seconds = (lab.nowMs - from) / 1000;
  t.true(seconds > 1.3 && seconds < 2.3, `2 MB took ${seconds} s`);
});
