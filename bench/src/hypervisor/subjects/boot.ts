// How long does a domain take from `createDomain` until its program runs with its disk connected, against an empty
// Piscina task in a fresh worker that imports the same modules? Tear-down is outside the clock.
import { Piscina } from 'piscina';
import { createHost } from 'splitring';
import type { OpenSubject } from '../../harness/contract.ts';
import type { HypervisorParams } from '../params.ts';

const NS_PER_MS = 1e6;
const nowMs = () => performance.timeOrigin + performance.now();

async function bootDomains(): Promise<OpenSubject> {
  const host = await createHost({ driverDomains: [{ name: 'io', disks: { vol0: { size: '1MiB' } } }] });
  const bootOne = async (): Promise<number> => {
    const startedMs = nowMs();
    const guest = await host.createDomain({
      name: 'guest',
      program: new URL('./boot.guest.js', import.meta.url),
      counters: ['connected-at-ms'],
      disks: [{ name: 'xvda', from: 'vol0' }],
    });
    const { ok, message } = await guest.exited;
    if (!ok) throw new Error(`the guest ended: ${message}`);
    return guest.counters.read('connected-at-ms') - startedMs;
  };
  return { trial: (operations) => average(operations, bootOne), close: () => host.close() };
}

function runEmptyTasks(): OpenSubject {
  const filename = new URL('./empty-task.js', import.meta.url).href;
  const runOne = async (): Promise<number> => {
    const startedMs = nowMs();
    const pool = new Piscina({ minThreads: 0, maxThreads: 1, idleTimeout: 0 });
    const taskMs: number = await pool.run(undefined, { filename });
    await pool.destroy();
    return taskMs - startedMs;
  };
  return { trial: (operations) => average(operations, runOne) };
}

async function average(operations: number, one: () => Promise<number>): Promise<{ value: number }> {
  let totalMs = 0;
  for (let operation = 0; operation < operations; operation += 1) totalMs += await one();
  return { value: (totalMs / operations) * NS_PER_MS };
}

/** Set up: a host with a disk, or nothing. */
export function open({ way }: HypervisorParams): Promise<OpenSubject> | OpenSubject {
  return way === 'domain' ? bootDomains() : runEmptyTasks();
}
