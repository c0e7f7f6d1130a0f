// Guests that come and go: created, put to work, ended at a random moment in a random way, many times over.
import { setTimeout as sleep } from 'node:timers/promises';
import { createHost, type Host, type RunningGuest } from 'splitring';

const PROGRAM = new URL('../integration/splitring/steady.guest.ts', import.meta.url);

/** What was left after all guests had gone. */
export interface CyclesResult {
  /** How many guests ended each way. */
  readonly ends: Readonly<Record<string, number>>;
  /** What every domain that still exists holds, before the first guest and after the last. */
  readonly before: readonly Holding[];
  readonly after: readonly Holding[];
  /** Resident memory in MiB at a quarter of the way and at the end. */
  readonly rssMiB: { readonly early: number; readonly late: number };
}

interface Holding {
  readonly name: string;
  readonly ports: number;
  readonly mappings: number;
  readonly extents: number;
}

const holdings = (host: Host): Holding[] =>
  host.inspect().map(({ name, ports, mappings, extents }) => ({ name, ports, mappings, extents }));

async function endSomehow(guest: RunningGuest, random: () => number): Promise<string> {
  await sleep(random() * 150); // while it boots, connects, or works
  if (random() < 0.3) return (await guest.shutdown(2000)).kind;
  guest.destroy();
  return (await guest.exited).kind;
}

/** Run `cycles` guests, three at a time, on a host with one disk and one bridge. */
export async function runDomainCycles(cycles: number, random: () => number): Promise<CyclesResult> {
  const host = await createHost({
    driverDomains: [{ name: 'io', disks: { vol0: { size: '4MiB' } }, bridges: ['lan0'] }],
  });
  const ends: Record<string, number> = {};
  const rss = () => Math.round(process.memoryUsage.rss() / 2 ** 20);
  let early = 0;
  try {
    const warm = await host.createDomain({
      name: 'warm',
      program: PROGRAM,
      counters: ['operations'],
      disks: [{ name: 'xvda', from: 'vol0' }],
    });
    await warm.shutdown();
    await settled(host);
    const before = holdings(host);
    let started = 0;
    const lane = async () => {
      while (started < cycles) {
        started += 1;
        if (started === Math.ceil(cycles / 4)) early = rss();
        const guest = await host.createDomain({
          name: `guest${started}`,
          program: PROGRAM,
          counters: ['operations'],
          disks: [{ name: 'xvda', from: 'vol0' }],
          nics: [{ bridge: 'lan0' }],
        });
        const kind = await endSomehow(guest, random);
        ends[kind] = (ends[kind] ?? 0) + 1;
      }
    };
    await Promise.all([lane(), lane(), lane()]);
    await settled(host);
    return { ends, before, after: holdings(host), rssMiB: { early, late: rss() } };
  } finally {
    await host.close();
  }
}

/** Wait, bounded, until dead domains are gone: their back ends let go a moment after the fence. */
async function settled(host: Host): Promise<void> {
  for (let wait = 0; wait < 100; wait += 1) {
    if (host.inspect().every(({ state }) => state === 'live')) return;
    await sleep(20);
  }
}
