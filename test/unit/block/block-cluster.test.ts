// The block path over the real xenstore and the real NVMe model and driver, on one thread.
import { diskCounterNames } from '@splitring/backend';
import { FaultPlan, MemoryMedium } from '@splitring/device';
import { SharedCounters } from '@splitring/hypervisor';
import test from 'ava';
import { BlockCluster } from '../../support/block-cluster.ts';
import { isSame, pattern } from '../../support/block-lab.ts';

test('a guest writes, flushes and reads back through ring, grants, NVMe and IOMMU', async (t) => {
  const memory = new SharedArrayBuffer(4 << 20);
  const cluster = new BlockCluster({ media: [new MemoryMedium(memory)] });
  const { disk } = cluster.guest();
  t.is(disk.capacityBytes, 4 << 20);
  const bytes = pattern((1 << 20) + 1536, 4);
  await cluster.until(disk.write(2048, bytes));
  await cluster.until(disk.flush());
  const into = new Uint8Array(bytes.length);
  disk.readSync(2048, into);
  t.true(isSame(into, bytes));
  t.true(isSame(new Uint8Array(memory, 2048, bytes.length), bytes));
  const counters = cluster.backend.connections()[0]?.counters[0];
  t.true(counters !== undefined && counters.sectorsWritten === bytes.length / 512);
});

test('sixteen guests keep to their slices of one disk', async (t) => {
  const memory = new SharedArrayBuffer(4 << 20);
  const cluster = new BlockCluster({ media: [new MemoryMedium(memory)] });
  const sectors = 512;
  const guests = Array.from({ length: 16 }, (_, i) =>
    cluster.guest({ bufferBytes: 65_536, backKeys: { slice: `${i * sectors},${sectors}` } }),
  );
  await cluster.until(Promise.all(guests.map(({ disk }, i) => disk.write(0, pattern(sectors * 512, i)))));
  for (const [i, { disk }] of guests.entries()) {
    t.is(disk.capacityBytes, sectors * 512);
    t.true(isSame(new Uint8Array(memory, i * sectors * 512, sectors * 512), pattern(sectors * 512, i)), `guest ${i}`);
    await t.throwsAsync(cluster.until(disk.write(sectors * 512, new Uint8Array(512))), { code: 'BLOCK_OUT_OF_RANGE' });
  }
});

test('counters of a disk add up what its guests do, and outlive their connections', async (t) => {
  const counters = SharedCounters.create(diskCounterNames('vol1'));
  const cluster = new BlockCluster({ backend: { counters } });
  const guests = [cluster.guest(), cluster.guest()];
  for (const { disk } of guests) {
    await cluster.until(disk.write(0, pattern(8192, 1)));
    await cluster.until(disk.flush());
  }
  for (const guest of guests) cluster.unplug(guest);
  t.deepEqual(
    ['requests', 'sectors', 'commands', 'refusals', 'failures'].map((measure) => counters.read(`vol1.${measure}`)),
    [4, 32, 4, 0, 0],
  );
});

test('a disk is unplugged in order, and its requests afterwards say that it is gone', async (t) => {
  const cluster = new BlockCluster();
  const guest = cluster.guest();
  await cluster.until(guest.disk.write(0, pattern(8192, 1)));
  t.is(cluster.unplug(guest), 'closed');
  t.deepEqual(cluster.backend.connections(), []);
  await t.throwsAsync(cluster.until(guest.disk.write(0, pattern(512, 1))), { code: 'BLOCK_GONE' });
});

test('a device that does not answer costs the guest concerned an error, and nobody else anything', async (t) => {
  for (const kind of ['stall', 'unanswered'] as const) {
    const faults = new FaultPlan({ nextU32: () => 3 });
    const cluster = new BlockCluster({ faults, ioTimeoutMs: 400 });
    const [one, other] = [
      cluster.guest({ backKeys: { slice: '0,4096' } }),
      cluster.guest({ backKeys: { slice: '4096,4096' } }),
    ];
    faults.add({ kind, operations: ['write'], fromByte: 8192, toByte: 12_288, times: 1 });
    const failing = one.disk.write(8192, pattern(4096, 1));
    const calls = [one.disk.write(0, pattern(4096, 2)), other.disk.write(8192, pattern(4096, 3)), other.disk.flush()];
    await t.notThrowsAsync(cluster.until(Promise.all(calls)));
    await t.throwsAsync(cluster.until(failing), { code: 'BLOCK_IO' });
    t.is(cluster.driver.resets, kind === 'stall' ? 0 : 1);
    await cluster.until(one.disk.write(8192, pattern(4096, 4)));
    const seen = new Uint8Array(4096);
    await cluster.until(one.disk.read(8192, seen));
    t.true(isSame(seen, pattern(4096, 4)), kind);
  }
});
