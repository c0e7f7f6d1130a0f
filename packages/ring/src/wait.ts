// What a thread does while a shared word does not change: the one interface behind every wait, and the plain strategies.
import { RingError } from './error.ts';

/** What ended a wait: the word differs from the value seen before, or time passed (the strategy's own bound included). */
export type WaitOutcome = 'changed' | 'timed-out';

/** Read a clock that never goes back; the value is in milliseconds, fractions allowed. */
export type Clock = () => number;

/**
 * How one end of a shared structure waits for the other, and how it wakes a peer that may wait on the same word.
 *
 * The order that loses no wake-up, kept by the caller: `spin` on a word that the peer writes anyway; sample the bell;
 * arm (ask the peer for a wake-up); check for work once more; only then `wait` or `waitAsync` on the bell with the
 * sampled value. The peer stores its work, reads the arming, and if asked changes the bell and calls `wake`.
 *
 * A wait may end early: callers check their condition and their own deadline again in a loop.
 */
export interface BlockingStrategy {
  /** Short name for reports: `busy-spin`, `spin-then-wait`, `wait-async`, `port-doorbell`, `poll`. */
  readonly name: string;
  /** Whether `wait` relies on a wake-up. If not, the caller need not arm, and the peer is never asked to notify. */
  readonly needsArming: boolean;
  /** Whether `wait` can be called at all; where not, only `waitAsync` works. */
  readonly canBlock: boolean;
  /** Whether every wait ends at once, so that a loop around it would never end: callers look once and give up. */
  readonly neverWaits: boolean;
  /**
   * Watch a word for a bounded time without sleeping. Shared words: reads `words[index]`.
   *
   * @returns `true` as soon as the word differs from `seen`; `false` when the bound is spent (at once if it is 0).
   */
  spin(words: Int32Array, index: number, seen: number): boolean;
  /**
   * Block this thread until the word differs from `seen`, for `timeoutMs` (0 to Infinity) or the own bound at most.
   *
   * @throws {RingError} `WAIT_ASYNC_ONLY` if the strategy lives on the event loop, `WAIT_CANNOT_BLOCK` if this thread
   * may not block (a browser page).
   */
  wait(words: Int32Array, index: number, seen: number, timeoutMs: number): WaitOutcome;
  /** Wake whoever waits on `words[index]`; the caller has changed the word before. */
  wake(words: Int32Array, index: number): void;
}

/** A strategy for ends that are also awaited. */
export interface WaitStrategy extends BlockingStrategy {
  /** Like `wait`, without blocking the thread. The promise never rejects. */
  waitAsync(words: Int32Array, index: number, seen: number, timeoutMs: number): Promise<WaitOutcome>;
}

/** Iterations of one `spinBurst`: short enough that the engine never tries to replace the running loop. */
export const SPIN_BURST = 64;

/**
 * Watch a word for at most 64 plain reads, then confirm with one atomic read.
 *
 * A function of its own on purpose: the same loop written inside a large hot function is caught in an endless
 * optimize/deoptimize cycle on Node 24. The atomic read at the end makes progress independent of how the engine treats
 * plain reads.
 *
 * Shared words: reads `words[index]`. @returns whether the word differs from `seen`. Never throws for a valid index.
 */
export function spinBurst(words: Int32Array, index: number, seen: number): boolean {
  for (let i = 0; i < SPIN_BURST; i += 1) if (words[index] !== seen) return true;
  return Atomics.load(words, index) !== seen;
}

let blockable: boolean | undefined;

/** Tell whether this thread may block in `Atomics.wait`; a browser's page may not. Asked of the engine once. */
export function canThreadBlock(): boolean {
  if (blockable === undefined) {
    try {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0);
      blockable = true;
    } catch {
      blockable = false;
    }
  }
  return blockable;
}

/**
 * Refuse a blocking wait where the thread may not block.
 *
 * @throws {RingError} `WAIT_CANNOT_BLOCK`, with what to do instead.
 */
export function requireBlockable(): void {
  if (canThreadBlock()) return;
  throw new RingError('WAIT_CANNOT_BLOCK', "Cannot block a browser's page: await instead, or use a worker");
}

/** Refuse a blocking wait of a strategy that is served by this thread's event loop. */
export function refuseBlocking(name: string): never {
  throw new RingError(
    'WAIT_ASYNC_ONLY',
    `Cannot block with the ${name} strategy: it is woken by this thread's event loop, await instead`,
    { strategy: name },
  );
}

/**
 * Never wait: for loops that are stepped by somebody else, such as a simulation's scheduler.
 *
 * @returns a strategy whose waits end at once with `timed-out`; `wake` still wakes a peer that does wait.
 */
export function poll(): WaitStrategy {
  return {
    name: 'poll',
    needsArming: false,
    canBlock: true,
    neverWaits: true,
    spin: (words, index, seen) => Atomics.load(words, index) !== seen,
    wait: (words, index, seen) => (Atomics.load(words, index) === seen ? 'timed-out' : 'changed'),
    waitAsync: async (words, index, seen) => (Atomics.load(words, index) === seen ? 'timed-out' : 'changed'),
    wake: (words, index) => {
      Atomics.notify(words, index);
    },
  };
}
