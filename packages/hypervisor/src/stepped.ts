// What every driver, device and server is: a machine that somebody else moves. Only the idle loop waits.

/** A monotonic clock, handed in so that a simulation can own time. */
export interface Clock {
  /** Milliseconds since an arbitrary start, fractions allowed, never going back. */
  nowMs(): number;
}

/** A source of random numbers, handed in so that a seed can own chance. */
export interface Random {
  /** A uniform integer, 0 … 2^32 − 1. */
  nextU32(): number;
}

/**
 * A machine that is moved forward by being polled.
 *
 * The order that loses no wake-up: sample the doorbell, `poll()` until nothing is done, `arm()`, and sleep only if it
 * answered false.
 */
export interface Stepped {
  /** Do what can be done now, in bounded time, without blocking. @returns whether anything was done */
  poll(): boolean;
  /** Ask to be notified of new work, then look again. @returns true if work has arrived meanwhile: do not sleep */
  arm?(): boolean;
  /** The clock time at which `poll()` must run even without an event; Infinity if never. */
  deadlineMs?(): number;
  /** Whether work is outstanding that only this thread's event loop can finish (an fsync, a socket). */
  needsEventLoop?(): boolean;
  /**
   * Whether news may come through this thread's event loop at any time (an open socket): the thread must not block in
   * `Atomics.wait`. Whoever says so calls `Kernel.requestPoll` when something has come.
   */
  usesEventLoop?(): boolean;
  /** Whether a peer owes an answer that may come within microseconds: polling on for a moment may be cheaper than sleep. */
  expectsAnswer?(): boolean;
}
