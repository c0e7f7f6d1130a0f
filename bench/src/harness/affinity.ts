// Which core a thread runs on. Two threads that wake each other are pulled onto one core by some schedulers, where a wake
// costs a tenth: a comparison must hold that alike for every subject, so the front has one core and the back another.
import { spawnSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import process from 'node:process';

/** Environment variable that names the cores of front and back, for subjects of every kind: "0,1". */
export const CPUS_VARIABLE = 'SPLITRING_BENCH_CPUS';

/** The first two cores that this process may use; `undefined` if there is one only, or the system does not tell. */
export function twoCores(): string | undefined {
  try {
    const list = /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '';
    const cores = list.split(',').flatMap((range) => {
      const [first = Number.NaN, last = first] = range.split('-').map(Number);
      return Array.from({ length: Math.min(2, last - first + 1) }, (_, i) => first + i);
    });
    return cores.length < 2 ? undefined : cores.slice(0, 2).join();
  } catch {
    return undefined;
  }
}

/** The system's id of the calling thread, for {@link pinThread}; `undefined` where the system does not tell. */
export function threadId(): number | undefined {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  } catch {
    return undefined;
  }
}

/** Keep a thread of this process on the core of its half (0: front, 1: back). Without `taskset` it stays where it is. */
export function pinThread(id: number | undefined, half: 0 | 1): void {
  const core = process.env[CPUS_VARIABLE]?.split(',')[half];
  if (core !== undefined && id !== undefined) spawnSync('taskset', ['-pc', core, String(id)]);
}
