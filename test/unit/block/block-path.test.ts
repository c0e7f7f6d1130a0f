// The block path end to end on one thread: guest program, front end, ring, back end, a disk of memory.
import test from 'ava';
import { BlockLab, isSame, pattern } from '../../support/block-lab.ts';

test('a disk connects and tells its size and abilities', (t) => {
  const lab = new BlockLab();
  const { disk, front, back } = lab.guest();
  lab.run();
  t.is(front.state, 4);
  t.is(back.state, 4);
  t.is(disk.name, 'xvda');
  t.is(disk.capacityBytes, 8192 * 512);
  t.true(disk.hasFlush && disk.hasDiscard && !disk.isReadOnly);
});

test('a removable disk and the units of its discards are told to the guest', (t) => {
  const lab = new BlockLab();
  t.false(lab.guest().disk.isRemovable);
  const { disk } = lab.guest({ keys: { removable: '1' } });
  t.true(disk.isRemovable);
  t.is(disk.discardGranularityBytes, 4096);
  t.is(disk.discardAlignmentBytes, 0);
});

test('what was written synchronously is read back, and lies on the medium', (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  const bytes = pattern(5 * 4096 + 512, 1);
  disk.writeSync(3 * 512, bytes);
  disk.flushSync();
  const back = new Uint8Array(bytes.length);
  disk.readSync(3 * 512, back);
  t.true(isSame(back, bytes));
  t.true(isSame(lab.ram.bytes.slice(3 * 512, 3 * 512 + bytes.length), bytes));
  t.is(lab.ram.flushes, 1);
});

for (const [name, front, back] of [
  ['one page, direct segments only', { ringOrder: 0, maxSegments: 11 }, {}],
  ['16 pages and indirect segments', { ringOrder: 4, maxSegments: 256 }, {}],
  ['no persistent grants in front', { isPersistent: false }, {}],
  ['no persistent grants behind', {}, { isPersistent: false }],
  ['few persistent grants behind', {}, { maxPersistent: 3 }],
  ['four queues', { queues: 4, ringOrder: 1 }, {}],
  ['no FUA and no write zeroes', {}, { hasForceUnitAccess: false, hasWriteZeroes: false }],
] as const) {
  test(`a megabyte goes there and back with ${name}`, async (t) => {
    const lab = new BlockLab({ backend: back });
    const { disk } = lab.guest(front);
    const bytes = pattern(1 << 20, 3);
    await lab.until(disk.write(4096, bytes, { isDurable: true }));
    const into = new Uint8Array(1 << 20);
    await lab.until(disk.read(4096, into));
    t.true(isSame(into, bytes));
    await lab.until(disk.writeZeroes(8192, 65536));
    await lab.until(disk.read(4096, into));
    t.true(isSame(into.subarray(0, 4096), bytes.subarray(0, 4096)));
    t.true(into.subarray(4096, 4096 + 65536).every((byte) => byte === 0));
    t.true(isSame(into.subarray(4096 + 65536), bytes.subarray(4096 + 65536)));
    await lab.until(disk.discard(0, 1 << 20));
    t.is(disk.inFlight + disk.waiting, 0);
  });
}

test('two guests use slices of one disk at the same time', async (t) => {
  const lab = new BlockLab();
  const guests = [0, 1].map((i) => lab.guest({ keys: { params: `vol0:${i * 4096}+4096` } }));
  const bytes = guests.map((_, i) => pattern(300_032, i + 5));
  await lab.until(Promise.all(guests.map(({ disk }, i) => disk.write(512, bytes[i] as Uint8Array))));
  for (const [i, { disk }] of guests.entries()) {
    t.is(disk.capacityBytes, 4096 * 512);
    t.true(isSame(lab.ram.bytes.slice(i * 4096 * 512 + 512, i * 4096 * 512 + 512 + 300_032), bytes[i] as Uint8Array));
  }
});

test('buffers from the pool travel without a copy, and many requests share few device commands', async (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  const buffer = disk.allocate(32 * 4096) as Uint8Array;
  buffer.set(pattern(buffer.length, 9));
  const writes = Array.from({ length: 32 }, (_, i) => disk.write(i * 4096, buffer.subarray(i * 4096, (i + 1) * 4096)));
  await lab.until(Promise.all(writes));
  t.true(isSame(lab.ram.bytes.slice(0, buffer.length), buffer.slice()));
  t.true(lab.ram.log.length <= 4, `${lab.ram.log.length} commands`);
  const { requests, notificationsSent, publishes } = disk.counters;
  t.is(requests, 32);
  t.true(publishes >= 1 && publishes < 32 && notificationsSent <= publishes);
  const free = disk.freeBufferBytes;
  disk.release(buffer);
  t.is(disk.freeBufferBytes, free + buffer.length);
  t.throws(() => disk.write(0, buffer.subarray(0, 4096)), { instanceOf: TypeError });
});

test('DiskQueue moves data by place and number, waits for completions, and wraps nothing up', (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  const queue = disk.openQueue();
  const source = disk.allocate(8192) as Uint8Array; // 256 KiB are free
  const target = disk.allocate(8192) as Uint8Array; // likewise
  source.set(pattern(8192, 9));
  const done: number[] = [];
  queue.onComplete = (cookie, status) => done.push(cookie * 10 + status);
  t.true(queue.write(4096, queue.placeOf(source), 8192, 1));
  queue.publish();
  queue.wait();
  t.deepEqual(done, [10]);
  // Not aligned to pages in the buffer, shorter than a page in the middle: one segment with two bounds.
  t.true(queue.read(4096 + 1024, queue.placeOf(target) + 1024, 1536, 2));
  t.true(queue.read(4096 + 2560, queue.placeOf(target) + 2560, 8192 - 2560, 3));
  queue.publish();
  while (queue.completions < 3) queue.wait();
  t.deepEqual(done.slice(1).sort(), [20, 30]);
  t.true(isSame(target.slice(1024), source.slice(1024)));
  t.true(target.subarray(0, 1024).every((byte) => byte === 0));
});

test('DiskQueue.wait refuses where nothing may block', (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest({ waitUntil: undefined });
  t.throws(() => disk.openQueue().wait(), { instanceOf: TypeError });
});
