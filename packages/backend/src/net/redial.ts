// Calls back a peer that has hung up: soon at first, then at doubled intervals up to a limit. Time is handed in.
import type { Clock, Stepped } from '@splitring/hypervisor';

/** Wait before the first attempt, in milliseconds. */
const FIRST_MS = 100;
/** Longest wait between two attempts; a connection that held for so long counts as a good one. */
const MAX_MS = 10_000;
/** How long one attempt may take. */
const ATTEMPT_MS = 5000;

/** What a redial calls. */
export interface RedialCalls {
  /** Begin an attempt; it ends with `reached` or `lost`. */
  readonly dial: () => void;
  /** An attempt takes too long: end it, and say `lost`. */
  readonly hangUp: () => void;
}

/**
 * When to try again. It knows no sockets: its owner tells it what became of each attempt.
 *
 * @example
 * const redial = new Redial(kernel.clock, { dial: () => open(), hangUp: () => attempt.destroy() });
 * kernel.add(redial, 'control');
 * socket.once('close', () => redial.lost());
 */
export class Redial implements Stepped {
  /** Attempts so far. */
  attempts = 0;
  readonly #clock: Clock;
  readonly #calls: RedialCalls;
  #delayMs = FIRST_MS / 2;
  #upSinceMs: number;
  #isDialling = false;
  #dueMs = Number.POSITIVE_INFINITY;

  /** Begins with the peer reached. */
  constructor(clock: Clock, calls: RedialCalls) {
    this.#clock = clock;
    this.#calls = calls;
    this.#upSinceMs = clock.nowMs();
  }

  /** The peer answers. */
  reached(): void {
    this.#isDialling = false;
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#upSinceMs = this.#clock.nowMs();
  }

  /** The peer is gone, or an attempt failed. A peer that answers only to hang up is called ever more rarely, too. */
  lost(): void {
    const nowMs = this.#clock.nowMs();
    this.#delayMs = nowMs - this.#upSinceMs >= MAX_MS ? FIRST_MS : Math.min(MAX_MS, this.#delayMs * 2);
    this.#upSinceMs = Number.POSITIVE_INFINITY;
    this.#isDialling = false;
    this.#dueMs = nowMs + this.#delayMs;
  }

  /** Call no more. */
  stop(): void {
    this.#isDialling = false;
    this.#dueMs = Number.POSITIVE_INFINITY;
  }

  poll(): boolean {
    if (this.#dueMs === Number.POSITIVE_INFINITY) return false;
    const nowMs = this.#clock.nowMs();
    if (nowMs < this.#dueMs) return false;
    if (this.#isDialling) {
      this.lost();
      this.#calls.hangUp();
      return true;
    }
    this.#isDialling = true;
    this.#dueMs = nowMs + ATTEMPT_MS;
    this.attempts += 1;
    this.#calls.dial();
    return true;
  }

  deadlineMs(): number {
    return this.#dueMs;
  }
}
