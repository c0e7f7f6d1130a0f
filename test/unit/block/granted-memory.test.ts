// No page that a disk grants shows its back end anything but data of that disk's requests, and no transfer touches bytes
// beside those that it is about: memory of dead domains, earlier connections, the guest itself, other disks (XSA-403).
import { MemoryMedium } from '@splitring/device';
import test from 'ava';
import { BlockCluster, type ClusterGuest } from '../../support/block-cluster.ts';
import { isSame, pattern } from '../../support/block-lab.ts';
import { harmless, leaks, pagesGranted, reused, SECRET, useAndFree } from '../../support/granted-memory.ts';

const SMALL = { bufferBytes: 64 * 4096 };

function setUp() {
  const [first, second] = [new SharedArrayBuffer(1 << 20), new SharedArrayBuffer(1 << 20)];
  const cluster = new BlockCluster({ media: [new MemoryMedium(first), new MemoryMedium(second)] });
  const granted = ({ hypercalls }: ClusterGuest) => pagesGranted(hypercalls.domid, cluster.io);
  return { cluster, granted, first: new Uint8Array(first), second: new Uint8Array(second) };
}

const secrets = (length: number) => new Uint8Array(length).fill(SECRET);

test('a disk’s pages hold nothing of what its guest used and freed before', async (t) => {
  const { cluster, granted } = setUp();
  let dirty: ReadonlySet<number> = new Set();
  const guest = cluster.guest(SMALL, (hypercalls) => {
    dirty = useAndFree(hypercalls, cluster.io.domid);
  });
  for (let i = 0; i < 100; i += 1) await cluster.until(guest.disk.write(i * 512, new Uint8Array(512)));
  t.true(reused(granted(guest), dirty) > 64, 'the pages had secrets once');
  t.is(leaks(granted(guest)), 0);
  await cluster.until(guest.disk.write(0, secrets(8192)));
  t.true(leaks(granted(guest)) > 0, 'data lie in the pages that they were written from');
  t.is(cluster.unplug(guest), 'closed');
  t.is(granted(guest).length, 0);
});

test('a disk’s pages hold nothing of a buffer that the program gave back', async (t) => {
  const { cluster, granted } = setUp();
  const { hypercalls, domain, disk } = cluster.guest(SMALL);
  const buffer = disk.allocate(40 * 4096) as Uint8Array; // most of the pool
  buffer.fill(SECRET); // and never written to the disk
  t.is(leaks(granted({ hypercalls, domain, disk })), 0);
  disk.release(buffer);
  for (let i = 0; i < 200; i += 1) await cluster.until(disk.write(i * 512, harmless(pattern(512, i))));
  t.is(leaks(granted({ hypercalls, domain, disk })), 0);
  const again = disk.allocate(40 * 4096);
  t.is(again?.indexOf(SECRET), -1);
});

test('what one guest reads and writes never shows in pages of a guest of another disk', async (t) => {
  const { cluster, granted } = setUp();
  const [one, other] = [cluster.guest(SMALL), cluster.guest({ ...SMALL, backKeys: { params: 'vol2' } })];
  for (let i = 0; i < 60; i += 1) {
    const into = new Uint8Array(4096);
    await cluster.until(
      Promise.all([
        one.disk.write((i % 30) * 8192, secrets(8192)),
        other.disk.write((i % 100) * 512, harmless(pattern(512, i))),
        one.disk.read(((i + 7) % 30) * 8192, new Uint8Array(4096)),
        other.disk.read((i % 100) * 4096, into),
      ]),
    );
    t.is(into.indexOf(SECRET), -1);
  }
  t.true(leaks(granted(one)) > 0);
  t.is(leaks(granted(other)), 0);
});

for (const [at, length] of [
  [512, 512],
  [3 * 512, 1024],
  [7 * 512, 1024],
  [1536, 20_480],
] as const) {
  test(`a transfer of ${length} bytes at ${at} touches these bytes and no other`, async (t) => {
    const { cluster, granted, first } = setUp();
    const guest = cluster.guest(SMALL);
    const rings = new Set(granted(guest).map(({ ref }) => ref)); // data pages are granted when they are used
    for (let i = 0; i < 4; i += 1) await cluster.until(guest.disk.write(0, new Uint8Array(16 * 4096)));
    const data = () => granted(guest).filter(({ ref }) => !rings.has(ref));
    t.is(data().length, 64);

    const stored = harmless(pattern(length, at));
    first.fill(SECRET);
    first.set(stored, at);
    for (const { bytes } of data()) bytes.fill(0x11);
    const into = new Uint8Array(length);
    await cluster.until(guest.disk.read(at, into));
    t.true(isSame(into, stored));
    t.true(data().every(({ bytes }) => !bytes.includes(SECRET)));
    const changed = data().reduce((sum, { bytes }) => sum + bytes.filter((byte) => byte !== 0x11).length, 0);
    t.is(changed, stored.filter((byte) => byte !== 0x11).length);

    const written = harmless(pattern(length, at + 1));
    first.fill(0x77);
    for (const { bytes } of data()) bytes.fill(SECRET);
    await cluster.until(guest.disk.write(at, written));
    t.is(first.indexOf(SECRET), -1);
    const want = new Uint8Array(first.length).fill(0x77);
    want.set(written, at);
    t.true(isSame(first, want));
  });
}
