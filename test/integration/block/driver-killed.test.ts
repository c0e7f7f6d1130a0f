// The thread of a driver domain is killed while its guest writes: what was acknowledged is there, though nothing was flushed.
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { createHost, type Host } from 'splitring';
import { blockOf } from './written-block.ts';

const folder = mkdtempSync(join(tmpdir(), 'splitring-killed-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

const program = new URL('./writing.guest.ts', import.meta.url);

function hostOn(image: string): Promise<Host> {
  return createHost({ driverDomains: [{ name: 'io', disks: { vol0: { image, size: '64MiB' } } }] });
}

function lostBlocks(image: string, acknowledged: number): number[] {
  const file = openSync(image, 'r');
  const seen = new Uint8Array(4096);
  const lost: number[] = [];
  for (let block = 0; block < acknowledged; block += 1) {
    readSync(file, seen, 0, 4096, block * 4096);
    if (Buffer.compare(seen, blockOf(block)) !== 0) lost.push(block);
  }
  closeSync(file);
  return lost;
}

for (const delayMs of [0, 7, 60]) {
  test.serial(`a driver domain killed ${delayMs} ms into the load loses no acknowledged write`, async (t) => {
    t.timeout(50_000);
    const image = join(folder, `killed-${delayMs}.img`);
    const host = await hostOn(image);
    let acknowledged = 0;
    try {
      const guest = await host.createDomain({
        name: 'writer',
        program,
        disks: [{ name: 'xvda', from: 'vol0' }],
        counters: ['acknowledged'],
      });
      while (guest.counters.read('acknowledged') < 64) await sleep(1);
      await sleep(delayMs);
      const [driver] = host.driverDomains;
      driver?.destroy();
      t.is((await driver?.exited)?.kind, 'killed');
      acknowledged = guest.counters.read('acknowledged');
      t.deepEqual(lostBlocks(image, acknowledged), [], `of ${acknowledged} acknowledged`);
      guest.destroy();
      await guest.exited;
    } finally {
      await host.close();
    }
    // A successor over the same medium sees the same.
    const next = await hostOn(image);
    try {
      const reader = await next.createDomain({
        name: 'reader',
        program,
        args: { verify: acknowledged },
        disks: [{ name: 'xvda', from: 'vol0' }],
      });
      t.is((await reader.exited).result, 'all there');
    } finally {
      await next.close();
    }
    t.log(`${acknowledged} blocks acknowledged before the kill`);
  });
}
