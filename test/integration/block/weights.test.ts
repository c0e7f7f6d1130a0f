// Guests on threads of their own that want more of a disk than there is get it by their weights.
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { createHost } from 'splitring';
import { WEIGHTED } from './weighted-words.ts';

/** Time for which reads are counted, in milliseconds. */
const COUNT_MS = 400;
/** Times that the whole is tried: the guests share two cores with whatever else the machine does. */
const TRIES = 4;

test('a guest of weight 2 reads twice as much as one of weight 1 beside it, within 15 %', async (t) => {
  t.timeout(50_000);
  const host = await createHost({ driverDomains: [{ name: 'io', disks: { vol0: { size: '16MiB' } } }] });
  try {
    const ratios: number[] = [];
    for (let tries = 0; tries < TRIES && !ratios.some((ratio) => Math.abs(ratio / 2 - 1) <= 0.15); tries += 1) {
      const words = new Int32Array(new SharedArrayBuffer(WEIGHTED.words * 4));
      const guests = await Promise.all(
        [2, 1].map((weight) =>
          host.createDomain({
            name: `weight${weight}`,
            program: new URL('./weighted.guest.ts', import.meta.url),
            args: { shared: words.buffer },
            disks: [{ name: 'xvda', from: 'vol0', weight }],
          }),
        ),
      );
      while (Atomics.load(words, WEIGHTED.ready) < guests.length) await sleep(1);
      await sleep(100); // until both run compiled code
      Atomics.store(words, WEIGHTED.phase, 1);
      await sleep(COUNT_MS);
      Atomics.store(words, WEIGHTED.phase, 2);
      const [heavy, light] = await Promise.all(guests.map(async ({ exited }) => (await exited).result as number));
      ratios.push((heavy ?? Number.NaN) / (light ?? Number.NaN));
    }
    t.log(`ratios ${ratios.map((ratio) => ratio.toFixed(2)).join(', ')}`);
    const last = ratios.at(-1) ?? Number.NaN;
    t.true(Math.abs(last / 2 - 1) <= 0.15, `ratios ${ratios}`);
  } finally {
    await host.close();
  }
});
