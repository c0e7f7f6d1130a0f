// The only file of the core that touches clock, timers, thread identity and randomness: each comes from the platform.
import type { Clock } from './wait.ts';

/** A running one-shot timer. */
export interface TimerHandle {
  /** Stop it; harmless if it has fired. */
  cancel(): void;
  /** Let it keep the event loop alive (a no-op where the platform has no such notion). */
  ref(): void;
  /** Let the event loop end in spite of it. */
  unref(): void;
}

/** Start a one-shot timer: `run` is called once after `delayMs`. */
export type Timer = (delayMs: number, run: () => void) => TimerHandle;

interface Platform {
  performance: { now(): number };
  setTimeout(run: () => void, delayMs: number): unknown;
  clearTimeout(handle: unknown): void;
  crypto?: { getRandomValues(target: Int32Array): Int32Array };
  process?: { getBuiltinModule?(name: string): { threadId?: number } | undefined };
}

// The core is compiled without the types of any platform; these few are common to Node and browsers.
const platform = globalThis as unknown as Platform;

/** The platform's monotonic clock, in milliseconds. */
export const systemClock: Clock = () => platform.performance.now();

/** The platform's timer. Node's handles know `ref` and `unref`; a browser's are numbers. */
export const systemTimer: Timer = (delayMs, run) => {
  const handle = platform.setTimeout(run, delayMs) as number | { ref(): void; unref(): void };
  const isRefCounted = typeof handle === 'object' && typeof handle.unref === 'function';
  return {
    cancel: () => platform.clearTimeout(handle),
    ref: () => {
      if (isRefCounted) handle.ref();
    },
    unref: () => {
      if (isRefCounted) handle.unref();
    },
  };
};

const THREAD_KEY = Symbol.for('sharedarraybuffer-ring.thread');

function newThreadId(): number {
  // Node: the worker's own number, so that its owner can tell by `worker.threadId` which ends a dead worker held.
  const threadId = platform.process?.getBuiltinModule?.('node:worker_threads')?.threadId;
  if (typeof threadId === 'number') return threadId + 1;
  const random = new Int32Array(1);
  platform.crypto?.getRandomValues(random);
  return (random[0] as number) | (1 << 31); // negative: never mistaken for Node's
}

/**
 * Name the running thread: 1 and up in Node (`threadId + 1`), a random negative number elsewhere; never 0.
 * Kept on `globalThis`, so that two copies of this package on one thread agree.
 */
export function currentThread(): number {
  const scope = globalThis as unknown as Record<symbol, number | undefined>;
  let id = scope[THREAD_KEY];
  if (id === undefined) {
    id = newThreadId();
    scope[THREAD_KEY] = id;
  }
  return id;
}
