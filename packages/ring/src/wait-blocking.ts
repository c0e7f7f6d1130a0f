// Waiting on the thread: busy spin, and adaptive spin followed by a bounded Atomics.wait.
import { systemClock } from './system-adapter.ts';
import {
  type BlockingStrategy,
  type Clock,
  requireBlockable,
  SPIN_BURST,
  spinBurst,
  type WaitOutcome,
} from './wait.ts';

/** Options of `spinThenWait`. */
export interface SpinThenWaitOptions {
  /** Most reads of a spin before sleeping (default 20 000, some 10 µs; 0 = never spin). */
  readonly maxSpins?: number;
  /** Longest single sleep in milliseconds (default 500): the bound of a lost wake-up. */
  readonly sliceMs?: number;
  /** Clock that measures sleeps (default: the platform's). */
  readonly clock?: Clock;
}

/** Sleeps shorter than this mean that spinning longer would have paid; see KVM's halt polling. */
const GROW_BELOW_MS = 0.25;
/** Sleeps longer than this mean that the spin before was wasted. */
const SHRINK_ABOVE_MS = 5;

/**
 * Spin for an adaptive, bounded time, then sleep in `Atomics.wait`.
 *
 * Waking a sleeping thread costs tens of microseconds, and two ends that both sleep between messages never leave that
 * regime. So the spin grows to its limit as long as sleeps turn out short, and halves when they turn out long, down to
 * one burst of 64 reads (the rule of KVM's halt polling).
 */
export class SpinThenWait implements BlockingStrategy {
  readonly name = 'spin-then-wait';
  readonly needsArming = true;
  readonly canBlock = true;
  readonly neverWaits = false;
  private maxBursts: number;
  private bursts: number;
  private readonly sliceMs: number;
  private readonly clock: Clock;

  /** @throws {RangeError} if an option is negative or not a number. */
  constructor(options: SpinThenWaitOptions = {}) {
    const { maxSpins = 20_000, sliceMs = 500 } = options;
    if (!(maxSpins >= 0 && sliceMs > 0)) {
      throw new RangeError(`Cannot spin ${maxSpins} times and sleep ${sliceMs} ms: too little`);
    }
    this.maxBursts = Math.ceil(maxSpins / SPIN_BURST);
    this.bursts = this.maxBursts;
    this.sliceMs = sliceMs;
    this.clock = options.clock ?? systemClock;
  }

  /** Bound the spin anew, in reads: 0 when runnable threads outnumber cores, so that none burns another's time. */
  limitSpin(maxSpins: number): void {
    this.maxBursts = Math.ceil(maxSpins / SPIN_BURST);
    this.bursts = this.maxBursts;
  }

  spin(words: Int32Array, index: number, seen: number): boolean {
    const bursts = this.bursts;
    for (let i = 0; i < bursts; i += 1) if (spinBurst(words, index, seen)) return true;
    return false;
  }

  wait(words: Int32Array, index: number, seen: number, timeoutMs: number): WaitOutcome {
    requireBlockable();
    const start = this.clock();
    const result = Atomics.wait(words, index, seen, Math.min(timeoutMs, this.sliceMs));
    this.adapt(this.clock() - start);
    return result === 'timed-out' ? 'timed-out' : 'changed';
  }

  wake(words: Int32Array, index: number): void {
    Atomics.notify(words, index);
  }

  private adapt(sleptMs: number): void {
    if (sleptMs < GROW_BELOW_MS) this.bursts = this.maxBursts;
    else if (sleptMs > SHRINK_ABOVE_MS && this.bursts > 1) this.bursts >>= 1;
  }
}

/** Bursts between two looks at the clock. */
const BURSTS_PER_LOOK = 32;

/**
 * Spin without end: the lowest latency, one core each. The peer is never asked to notify.
 *
 * Meant for two threads that own their cores; on fewer cores than spinning threads it is the slowest strategy of all.
 */
export class BusySpin implements BlockingStrategy {
  readonly name = 'busy-spin';
  readonly needsArming = false;
  readonly canBlock = true;
  readonly neverWaits = false;
  private readonly clock: Clock;

  /** `clock` bounds waits that have a timeout (default: the platform's). */
  constructor(clock: Clock = systemClock) {
    this.clock = clock;
  }

  spin(words: Int32Array, index: number, seen: number): boolean {
    for (let i = 0; i < BURSTS_PER_LOOK; i += 1) if (spinBurst(words, index, seen)) return true;
    return false;
  }

  wait(words: Int32Array, index: number, seen: number, timeoutMs: number): WaitOutcome {
    requireBlockable();
    const deadline = this.clock() + timeoutMs;
    do if (this.spin(words, index, seen)) return 'changed';
    while (this.clock() < deadline);
    return 'timed-out';
  }

  wake(words: Int32Array, index: number): void {
    Atomics.notify(words, index);
  }
}
