// The blocking strategies for ends that are also awaited: on the event loop all of a thread share one `waitAsync()`.
import type { Clock, WaitOutcome, WaitStrategy } from './wait.ts';
import { type AsyncWaitStrategy, waitAsync } from './wait-async.ts';
import { BusySpin, SpinThenWait, type SpinThenWaitOptions } from './wait-blocking.ts';

let shared: AsyncWaitStrategy | undefined;

/** The waits of this thread that nobody configured: one strategy, hence one timer, for all of them. */
function sharedAsyncWait(): AsyncWaitStrategy {
  shared ??= waitAsync();
  return shared;
}

/** Options of `spinThenWait`. */
export interface MixedWaitOptions extends SpinThenWaitOptions {
  /** Waits on the event loop (default: this thread's shared `waitAsync()`). */
  readonly async?: WaitStrategy;
}

/** `SpinThenWait` for an end that is also awaited. */
export class AwaitableSpinThenWait extends SpinThenWait implements WaitStrategy {
  private readonly async: WaitStrategy | undefined;

  /** Throws as `SpinThenWait`. */
  constructor(options: MixedWaitOptions = {}) {
    super(options);
    this.async = options.async;
  }

  waitAsync(words: Int32Array, index: number, seen: number, timeoutMs: number): Promise<WaitOutcome> {
    return (this.async ?? sharedAsyncWait()).waitAsync(words, index, seen, timeoutMs);
  }
}

/** Create a strategy that spins, then sleeps: the one for workers, and the default of every end. */
export function spinThenWait(options: MixedWaitOptions = {}): AwaitableSpinThenWait {
  return new AwaitableSpinThenWait(options);
}

/** `BusySpin` for an end that is also awaited. */
export class AwaitableBusySpin extends BusySpin implements WaitStrategy {
  waitAsync(words: Int32Array, index: number, seen: number, timeoutMs: number): Promise<WaitOutcome> {
    return sharedAsyncWait().waitAsync(words, index, seen, timeoutMs);
  }
}

/** Create a strategy that spins without end. */
export function busySpin(clock?: Clock): AwaitableBusySpin {
  return new AwaitableBusySpin(clock);
}
