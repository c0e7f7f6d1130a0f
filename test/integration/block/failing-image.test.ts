// An image on a file system that is full, an image cut short or removed while in use: an error for the request concerned.
// The full file system is a real one, a tmpfs of 1 MiB: needs root, and skips loudly without.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { holdImage, ImageFile, MemoryMedium } from '@splitring/device';
import test from 'ava';
import { createHost } from 'splitring';
import { BlockCluster } from '../../support/block-cluster.ts';
import { isSame, pattern } from '../../support/block-lab.ts';

const folder = mkdtempSync(join(tmpdir(), 'splitring-failing-'));
const full = join(folder, 'full');
mkdirSync(full);
const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', full]).status === 0;

test.after.always(() => {
  if (isMounted) spawnSync('umount', ['-l', full]);
  rmSync(folder, { recursive: true, force: true });
});

/** A guest on the image, and a neighbour on another disk of the same controller. */
function machineOn(image: ImageFile) {
  const cluster = new BlockCluster({ media: [image, new MemoryMedium(new SharedArrayBuffer(1 << 20))] });
  const guest = cluster.guest({ bufferBytes: 256 << 10 });
  const neighbour = cluster.guest({ bufferBytes: 64 << 10, backKeys: { params: 'vol2' } });
  return { cluster, disk: guest.disk, neighbour: neighbour.disk };
}

test.serial(
  'a full file system is BLOCK_NO_SPACE for the writes that do not fit, until there is room again',
  async (t) => {
    if (!isMounted) {
      console.warn(`SKIPPED: ${t.title}: a tmpfs cannot be mounted here`);
      t.pass();
      return;
    }
    const filler = join(full, 'filler');
    const image = new ImageFile({ path: join(full, 'disk.img'), sizeBytes: 4 << 20 });
    const { cluster, disk, neighbour } = machineOn(image);
    await cluster.until(disk.write(0, pattern(256 << 10, 1)));
    writeFileSync(filler, new Uint8Array(512 << 10));
    const outcomes = await cluster.until(
      Promise.allSettled([
        ...Array.from({ length: 8 }, (_, i) => disk.write((1 << 20) + i * (128 << 10), pattern(128 << 10, i))),
        disk.read(0, new Uint8Array(4096)),
        neighbour.write(0, pattern(4096, 2)),
        neighbour.flush(),
      ]),
    );
    const failed = outcomes.filter(({ status }) => status === 'rejected');
    t.true(failed.length >= 5 && failed.length < 9, `${failed.length} failed`);
    t.true(failed.every((each) => each.status === 'rejected' && each.reason.code === 'BLOCK_NO_SPACE'));
    t.true(
      outcomes.slice(8).every(({ status }) => status === 'fulfilled'),
      'reads and the neighbour go on',
    );
    const seen = new Uint8Array(256 << 10);
    await cluster.until(disk.read(0, seen));
    t.true(isSame(seen, pattern(256 << 10, 1)));
    rmSync(filler);
    await cluster.until(disk.write(1 << 20, pattern(128 << 10, 9)));
    await cluster.until(disk.flush());
    image.close();
  },
);

test.serial('an image cut short while in use fails the reads beyond its end, and no others', async (t) => {
  const path = join(folder, 'short.img');
  const image = new ImageFile({ path, sizeBytes: 2 << 20 });
  const { cluster, disk, neighbour } = machineOn(image);
  await cluster.until(disk.write(0, pattern(8192, 1)));
  truncateSync(path, 1 << 20);
  const beyond = disk.read((1 << 20) + 8192, new Uint8Array(4096));
  const across = disk.read((1 << 20) - 4096, new Uint8Array(8192));
  const seen = new Uint8Array(8192);
  const [first, second, ...others] = await cluster.until(
    Promise.allSettled([beyond, across, disk.read(0, seen), neighbour.write(0, pattern(4096, 2))]),
  );
  for (const each of [first, second]) {
    t.is(each?.status, 'rejected');
    t.is(each?.status === 'rejected' && each.reason.code, 'BLOCK_OUT_OF_RANGE');
  }
  t.true(others.every(({ status }) => status === 'fulfilled'));
  t.true(isSame(seen, pattern(8192, 1)));
  image.close();
});

test.serial('an image removed while in use goes on until it is closed, as files do', async (t) => {
  const path = join(folder, 'removed.img');
  const image = new ImageFile({ path, sizeBytes: 1 << 20 });
  const { cluster, disk } = machineOn(image);
  rmSync(path);
  await cluster.until(disk.write(4096, pattern(4096, 3)));
  await cluster.until(disk.flush());
  const seen = new Uint8Array(4096);
  await cluster.until(disk.read(4096, seen));
  t.true(isSame(seen, pattern(4096, 3)));
  image.close();
});

test.serial('a read-only medium refuses writes, zeroing and discards by name, and serves reads', async (t) => {
  const path = join(folder, 'readonly.img');
  writeFileSync(path, pattern(1 << 20, 4));
  const image = new ImageFile({ path, isReadOnly: true });
  const { cluster, disk } = machineOn(image);
  t.true(disk.isReadOnly);
  for (const call of [disk.write(0, new Uint8Array(512)), disk.writeZeroes(0, 512), disk.discard(0, 512)]) {
    await t.throwsAsync(cluster.until(call), { code: 'BLOCK_READ_ONLY' });
  }
  const seen = new Uint8Array(4096);
  await cluster.until(disk.read(8192, seen));
  t.true(isSame(seen, pattern(1 << 20, 4).subarray(8192, 12_288)));
  t.true(isSame(readFileSync(path), pattern(1 << 20, 4)));
  image.close();
});

test.serial('an image that another process or host holds is refused by name, and stays as it is', async (t) => {
  const path = join(folder, 'held.img');
  writeFileSync(path, pattern(1 << 20, 5));
  const hold = await holdImage(path);
  const config = { driverDomains: [{ name: 'io', disks: { vol0: { image: path } } }] };
  await t.throwsAsync(createHost(config), { code: 'IMAGE_IN_USE' });
  await hold.release();
  const host = await createHost(config);
  await t.throwsAsync(createHost(config), { code: 'IMAGE_IN_USE' });
  await host.close();
  t.true(isSame(readFileSync(path), pattern(1 << 20, 5)));
});
