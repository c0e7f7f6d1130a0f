// Real time and chance for a domain's thread: the adapters behind Clock, Random and Schedule.
import { randomFillSync } from 'node:crypto';
import type { Clock, Random, Schedule } from '@splitring/hypervisor';

/** Monotonic time of this process. */
export const realClock: Clock = { nowMs: () => performance.now() };

const words = new Uint32Array(256);
let next = words.length;

/** Chance from the operating system, drawn in batches. */
export const realRandom: Random = {
  nextU32() {
    if (next === words.length) {
      randomFillSync(words);
      next = 0;
    }
    const word = words[next] ?? 0;
    next += 1;
    return word;
  },
};

/** Timers that never keep the process alive; 0 means after the event loop's next turn. */
export const unrefSchedule: Schedule = (callback, ms) => {
  if (ms === 0) {
    const immediate = setImmediate(callback);
    return () => clearImmediate(immediate);
  }
  const timer = setTimeout(callback, ms);
  timer.unref();
  return () => clearTimeout(timer);
};

/** Timers that keep the thread alive: for sleeps of a domain. */
export const timer: Schedule = (callback, ms) => {
  const handle = setTimeout(callback, ms);
  return () => clearTimeout(handle);
};

/** One turn of this thread's event loop. */
export const eventLoopTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
