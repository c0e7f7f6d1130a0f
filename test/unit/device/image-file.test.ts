// The image file medium: creation, errors with a hint, holds, and a controller on top of it.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  BLOCK_OP,
  BLOCK_STATUS,
  type BlockStatus,
  holdImage,
  ImageFile,
  MEDIUM_STATUS,
  MediumError,
} from '@splitring/device';
import test from 'ava';
import { command, createMachine, pagesOf, runAll } from './machine.ts';

const directory = mkdtempSync(join(tmpdir(), 'splitring-image-'));
test.after.always(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string) => join(directory, name);

test('ImageFile creates a sparse file of the size given, and keeps what is there', (t) => {
  const path = file('new.img');
  const image = new ImageFile({ path, sizeBytes: 64 << 20 });
  t.is(image.capacityBytes, 64 << 20);
  t.true(statSync(path).blocks * 512 < 1 << 20);
  image.write(4096, new Uint8Array(512).fill(3), 0, 512);
  image.close();
  const again = new ImageFile({ path, sizeBytes: 1 << 20 });
  t.is(again.capacityBytes, 64 << 20, 'never cut');
  const bytes = new Uint8Array(512);
  again.read(4096, bytes, 0, 512);
  t.is(bytes[0], 3);
  again.close();
});

test('ImageFile explains why an image cannot be used', (t) => {
  const code = (options: ConstructorParameters<typeof ImageFile>[0]) =>
    t.throws(() => new ImageFile(options), { instanceOf: MediumError })?.code;
  t.is(code({ path: file('missing.img') }), 'IMAGE_MISSING');
  t.is(code({ path: '/nonexistent/dir/x.img', sizeBytes: 4096 }), 'IMAGE_MISSING');
  t.is(code({ path: directory }), 'IMAGE_NOT_A_FILE');
  t.is(code({ path: directory, isReadOnly: true }), 'IMAGE_NOT_A_FILE');
  writeFileSync(file('small.img'), 'x');
  t.is(code({ path: file('small.img') }), 'IMAGE_TOO_SMALL');
  writeFileSync(file('locked.img'), new Uint8Array(4096));
  chmodSync(file('locked.img'), 0o444);
  if (process.getuid?.() !== 0) t.is(code({ path: file('locked.img') }), 'IMAGE_ACCESS');
});

test('ImageFile answers a shrunk image, a read-only one and a full disk with a status', (t) => {
  const path = file('shrink.img');
  const image = new ImageFile({ path, sizeBytes: 1 << 20 });
  truncateSync(path, 4096);
  const bytes = new Uint8Array(8192);
  t.is(image.read(0, bytes, 0, 8192), MEDIUM_STATUS.outOfRange);
  t.is(image.readVector(0, [bytes.subarray(0, 4096), bytes.subarray(4096)]), MEDIUM_STATUS.outOfRange);
  t.is(image.resample(), 4096);
  image.close();
  const readOnly = new ImageFile({ path, isReadOnly: true });
  t.is(readOnly.write(0, bytes, 0, 512), MEDIUM_STATUS.readOnly);
  t.is(readOnly.writeVector(0, [bytes]), MEDIUM_STATUS.readOnly);
  t.is(readOnly.writeZeroes(0, 512), MEDIUM_STATUS.readOnly);
  readOnly.close();
});

test('ImageFile reports a full file system as out of space', (t) => {
  const mount = file('tiny');
  mkdirSync(mount);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', mount]);
  if (mounted.status !== 0) {
    t.log('skipped: mounting a tmpfs needs root');
    t.pass();
    return;
  }
  try {
    const image = new ImageFile({ path: join(mount, 'x.img'), sizeBytes: 1 << 20 });
    const bytes = new Uint8Array(1 << 20).fill(1);
    t.is(image.write(0, bytes, 0, bytes.length), MEDIUM_STATUS.outOfSpace);
    image.close();
  } finally {
    spawnSync('umount', [mount]);
  }
});

test('writeZeroes keeps holes as holes', (t) => {
  const path = file('holes.img');
  const image = new ImageFile({ path, sizeBytes: 16 << 20 });
  image.write(1 << 20, new Uint8Array(4096).fill(9), 0, 4096);
  const before = statSync(path).blocks;
  t.is(image.writeZeroes(0, 4 << 20), MEDIUM_STATUS.okay);
  t.true(statSync(path).blocks <= before);
  t.true(
    readFileSync(path)
      .subarray(0, 4 << 20)
      .every((byte) => byte === 0),
  );
  image.close();
});

for (const kind of ['abstract-socket', 'lock-file'] as const) {
  const run = kind === 'abstract-socket' && process.platform !== 'linux' ? test.skip : test;
  run(`holdImage refuses a second user by ${kind}, through any path, and again after release grants it`, async (t) => {
    const path = file(`${kind}.img`);
    writeFileSync(path, new Uint8Array(4096));
    symlinkSync(path, file(`${kind}.link`));
    const hold = await holdImage(path, kind);
    const error = await t.throwsAsync(holdImage(file(`${kind}.link`), kind), { instanceOf: MediumError });
    t.is(error.code, 'IMAGE_IN_USE');
    await hold.release();
    await hold.release();
    await (await holdImage(path, kind)).release();
  });
}

test('holdImage by lock-file takes over from a process that is gone', async (t) => {
  const path = file('stale.img');
  writeFileSync(path, new Uint8Array(4096));
  const child = spawnSync(process.execPath, ['-e', '']);
  const { dev, ino } = statSync(path, { bigint: true });
  mkdirSync(join(tmpdir(), 'splitring'), { recursive: true });
  const lock = join(tmpdir(), 'splitring', `splitring-image-${dev}-${ino}.lock`);
  for (const left of [
    JSON.stringify({ pid: child.pid, started: '1' }),
    JSON.stringify({ pid: process.pid, started: 'x' }),
    '{',
  ]) {
    writeFileSync(lock, left);
    await (await holdImage(path, 'lock-file')).release();
  }
  t.pass();
});

test('holdImage says what is wrong with a path', async (t) => {
  const error = await t.throwsAsync(holdImage(file('nothing.img')), { instanceOf: MediumError });
  t.is(error.code, 'IMAGE_MISSING');
});

test('a flush of an image is off-thread: the driver goes on, and the event loop completes it', async (t) => {
  const image = new ImageFile({ path: file('flush.img'), sizeBytes: 1 << 20 });
  const m = createMachine({ media: [image] });
  m.settle();
  const disk = m.driver.openDisk(1);
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 1);
  const done: [number, BlockStatus][] = [];
  disk.onComplete = (cookie, status) => done.push([cookie, status]);
  const pages = { busPages: pagesOf(run), pageCount: 1 };
  disk.submit(command({ ...pages, op: BLOCK_OP.write, cookie: 1, isForceUnitAccess: true }));
  disk.submit(command({ op: BLOCK_OP.flush, sectors: 0, cookie: 2 }));
  disk.submit(command({ ...pages, cookie: 3 }));
  disk.kick();
  m.settle();
  t.deepEqual(done, [[3, BLOCK_STATUS.okay]], 'the read overtakes both');
  t.true(m.bus.needsEventLoop());
  for (let i = 0; i < 10_000 && done.length < 3; i++) {
    await nextTurn();
    m.settle(4);
  }
  t.deepEqual(done.map(([cookie]) => cookie).sort(), [1, 2, 3]);
  t.false(m.bus.needsEventLoop());
  image.close();
});

test('scattered pages reach the image in order', (t) => {
  const path = file('scatter.img');
  const image = new ImageFile({ path, sizeBytes: 1 << 20 });
  const m = createMachine({ media: [image] });
  m.settle();
  const disk = m.driver.openDisk(1);
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 16);
  for (let i = 0; i < 16; i++) run.bytes.fill(i + 1, i * 4096, (i + 1) * 4096);
  const order = [3, 4, 5, 9, 0, 1, 15];
  const busPages = order.map((i) => run.first + i);
  const sectors = order.length * 8 - 3;
  const status = runAll(m, disk, [
    command({ op: BLOCK_OP.write, sectors, firstOffset: 1024, busPages, pageCount: busPages.length }),
  ]);
  t.deepEqual(status, [BLOCK_STATUS.okay]);
  const expected = Buffer.concat(order.map((i) => Buffer.alloc(4096, i + 1))).subarray(1024, 1024 + sectors * 512);
  t.deepEqual(readFileSync(path).subarray(0, sectors * 512), expected);
  image.close();
});
