// Sixteen guests, each a thread, share one image in slices; another process reads exactly their patterns from it.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createHost } from 'splitring';

const GUESTS = 16;
const SLICE_BYTES = 256 << 10;

test('sixteen guests write at once, and every slice of the image holds its own guest’s bytes and no others', async (t) => {
  t.timeout(55_000);
  const folder = mkdtempSync(join(tmpdir(), 'splitring-slices-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const image = join(folder, 'disk.img');
  const host = await createHost({
    driverDomains: [{ name: 'io', disks: { vol0: { image, size: GUESTS * SLICE_BYTES } } }],
  });
  try {
    const guests = await Promise.all(
      Array.from({ length: GUESTS }, (_, number) =>
        host.createDomain({
          name: `guest${number}`,
          program: new URL('./slice.guest.ts', import.meta.url),
          args: { number },
          disks: [{ name: 'xvda', from: 'vol0', slice: { offset: number * SLICE_BYTES, size: SLICE_BYTES } }],
        }),
      ),
    );
    for (const { exited } of guests) t.like(await exited, { ok: true, result: SLICE_BYTES });
    t.is(host.driverDomains[0]?.counters.read('vol0.sectors'), (GUESTS * SLICE_BYTES) / 512);
  } finally {
    await host.close();
  }
  const flags = process.execArgv.filter((flag) => !flag.startsWith('--inspect'));
  const check = new URL('./check-slices.ts', import.meta.url).pathname;
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, check, image, String(GUESTS)], {
    encoding: 'utf8',
  });
  t.deepEqual(JSON.parse(stdout), [], stderr);
});
