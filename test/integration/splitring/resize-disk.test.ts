// Host.resizeDisk on real threads: guests see a disk grow while they use it, and nothing is cut off under anybody.
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { createHost, type RunningGuest } from 'splitring';

const KIB = 1024;
const MIB = 1024 * KIB;
const program = new URL('./resizing.guest.ts', import.meta.url);

/** A host with an image of 1 MiB, a memory disk and a read-only image. */
async function machine(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'splitring-resize-'));
  const image = join(folder, 'disk.img');
  const readonlyImage = join(folder, 'readonly.img');
  writeFileSync(readonlyImage, new Uint8Array(64 * KIB));
  const host = await createHost({
    driverDomains: [
      {
        name: 'io',
        disks: { vol0: { image, size: MIB }, ram: { size: MIB }, rom: { image: readonlyImage, readonly: true } },
      },
    ],
  });
  t.teardown(async () => {
    await host.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const start = (name: string, slice?: { offset: number; size: number }) =>
    host.createDomain({
      name,
      program,
      counters: ['bytes'],
      disks: [{ name: 'xvda', from: 'vol0', ...(slice === undefined ? {} : { slice }) }],
    });
  return { host, image, start };
}

async function sees(t: ExecutionContext, guest: RunningGuest, bytes: number): Promise<void> {
  for (let waits = 0; waits < 1000 && guest.counters.read('bytes') !== bytes; waits += 1) await sleep(5);
  t.is(guest.counters.read('bytes'), bytes, guest.name);
}

test('Host.resizeDisk grows a disk under the guest that uses it, and leaves slices as they are', async (t) => {
  const { host, image, start } = await machine(t);
  const whole = await start('whole');
  const sliced = await start('sliced', { offset: 0, size: 256 * KIB });
  await sees(t, whole, MIB);
  await sees(t, sliced, 256 * KIB);
  t.is(await host.resizeDisk('vol0', '2MiB'), 2 * MIB);
  t.is(host.diskBytes('vol0'), 2 * MIB);
  await sees(t, whole, 2 * MIB);
  t.deepEqual(await Promise.all(['3MiB', '5MiB'].map((size) => host.resizeDisk('vol0', size))), [3 * MIB, 5 * MIB]);
  await sees(t, whole, 5 * MIB);
  t.is(statSync(image).size, 5 * MIB);
  t.is(sliced.counters.read('bytes'), 256 * KIB);
  t.like(await sliced.shutdown(), { ok: true, result: 1 }, 'nothing but its end woke it');
  t.true((await whole.shutdown()).ok);
  const bytes = readFileSync(image);
  t.is(bytes[2 * MIB - 1], 0xa1, 'the last block of the second size');
  t.true((bytes[5 * MIB - 1] as number) > 0xa1, 'and of the last');
});

test('Host.resizeDisk shrinks a disk only where nobody loses anything', async (t) => {
  const { host, image, start } = await machine(t);
  const whole = await start('whole');
  await t.throwsAsync(host.resizeDisk('vol0', 512 * KIB), { code: 'DISK_IN_USE', message: /whole would lose/ });
  t.is(statSync(image).size, MIB);
  await whole.shutdown();
  const sliced = await start('sliced', { offset: 128 * KIB, size: 128 * KIB });
  await t.throwsAsync(host.resizeDisk('vol0', 256 * KIB - 512), { code: 'DISK_IN_USE', message: /sliced/ });
  t.is(await host.resizeDisk('vol0', 256 * KIB), 256 * KIB);
  t.is(statSync(image).size, 256 * KIB);
  await sees(t, sliced, 128 * KIB);
  await t.throwsAsync(start('beyond', { offset: 256 * KIB, size: 512 }), { code: 'BAD_CONFIG' });
  const again = await start('again');
  await sees(t, again, 256 * KIB);
});

test('Host.resizeDisk refuses what it cannot do by name, and changes nothing', async (t) => {
  const { host, image } = await machine(t);
  const refusals = [
    ['none', MIB, 'NO_SUCH_DISK'],
    ['vol0', 'large', 'BAD_SIZE'],
    ['vol0', 0, 'BAD_SIZE'],
    ['vol0', MIB + 1, 'BAD_SIZE'],
    ['vol0', 2 ** 52, 'IMAGE_NO_SPACE'],
    ['ram', 2 * MIB, 'DISK_FIXED_SIZE'],
    ['rom', 2 * MIB, 'DISK_READ_ONLY'],
  ] as const;
  for (const [name, size, code] of refusals)
    await t.throwsAsync(host.resizeDisk(name, size), { code }, `${name} ${size}`);
  t.is(host.diskBytes('vol0'), MIB);
  t.is(statSync(image).size, MIB);
  t.is(await host.resizeDisk('vol0', MIB), MIB, 'the same size is no change');

  renameSync(image, `${image}.old`);
  await t.throwsAsync(host.resizeDisk('vol0', 2 * MIB), { code: 'IMAGE_MISSING' });
  writeFileSync(image, new Uint8Array(MIB));
  await t.throwsAsync(host.resizeDisk('vol0', 2 * MIB), { code: 'IMAGE_REPLACED' });
  t.is(statSync(image).size, MIB);
  renameSync(`${image}.old`, image);
  t.is(await host.resizeDisk('vol0', 2 * MIB), 2 * MIB);

  const [driver] = host.driverDomains;
  driver?.destroy();
  await driver?.exited;
  await t.throwsAsync(host.resizeDisk('vol0', 3 * MIB), { code: 'DRIVER_DOMAIN_FAILED', message: /has ended/ });
  await host.close();
  await t.throwsAsync(host.resizeDisk('vol0', 4 * MIB), { code: 'HOST_CLOSED' });
});
