// Kill an operation at each of its writes to shared memory in turn: what a terminated worker leaves behind.
import type { Monitor } from './access.ts';
import { observe } from './monitor.ts';

/** What to kill. */
export interface KillScenario<C> {
  /** Buffers to watch; every SharedArrayBuffer by default. */
  readonly buffers?: readonly SharedArrayBuffer[] | ((buffer: SharedArrayBuffer) => boolean);
  /** Make everything anew, shared memory included, before each try; its views must be made here or later. */
  readonly prepare: () => C;
  /** The operation to kill; called once per try. */
  readonly operation: (context: C) => void;
  /**
   * Look at what is left, recover, and throw if anything is wrong. `killedAfter` counts the writes that happened: 0 to
   * the number of all; the last try is not killed.
   */
  readonly verify: (context: C, killedAfter: number) => void;
}

const KILLED = Symbol('killed');

/**
 * Run `operation` to the end once, counting its writes (stores, atomic updates) to shared memory; then again and again,
 * killed after its first write, its second, and so on, before any write too. Notifications are not writes.
 *
 * @returns how many writes the operation made, that is how often it was killed, minus one.
 */
export function killAtEachWrite<C>(scenario: KillScenario<C>): number {
  const total = runUntil(scenario, Number.POSITIVE_INFINITY);
  for (let limit = 0; limit < total; limit += 1) runUntil(scenario, limit);
  return total;
}

/** Run until `limit` writes have happened; the next access of any kind is the death. Returns the writes made. */
function runUntil<C>(scenario: KillScenario<C>, limit: number): number {
  let writes = 0;
  let isDoomed = false;
  const die = () => {
    isDoomed = true;
    throw KILLED;
  };
  const free: Monitor = {
    access: ({ perform }) => perform(),
    wait: () => 'timed-out',
    notify: () => 0,
  };
  let isArmed = false;
  const monitor: Monitor = {
    access({ kind, perform }) {
      if (!isArmed) return perform();
      if (isDoomed || (kind !== 'load' && writes >= limit)) die(); // also while the stack unwinds
      if (kind !== 'load') writes += 1;
      return perform();
    },
    wait: (...args) => (isArmed && isDoomed ? die() : free.wait(...args)) as string, // `die` does not return
    notify: (...args) => (isArmed && isDoomed ? (die() as unknown as number) : free.notify(...args)), // as above
  };
  observe(monitor, scenario.buffers ?? (() => true), () => {
    const context = scenario.prepare();
    isArmed = true;
    try {
      scenario.operation(context);
    } catch (error) {
      if (!isDoomed) throw error;
    }
    isArmed = false;
    scenario.verify(context, writes);
  });
  return writes;
}
