// hot path: bench/src/net, bench/src/block (the driver domain lives in runBlocking)
// The only places that wait. Everything else is stepped.
//
// Order that loses no wake-up: sample the doorbell, poll until idle, arm, look again, sleep on the sampled value.
import type { DomainKernel } from '../domain-kernel.ts';

/** How an idle loop waits. */
export interface IdleOptions {
  /** Empty polls before going to sleep; 0 where runnable domains outnumber cores. */
  readonly spinPolls: number;
  /** Longest single sleep in milliseconds: the bound on every wait. */
  readonly sliceMs: number;
  /** Give the thread's event loop one turn. */
  readonly turn: () => Promise<void>;
}

/** Milliseconds to sleep: until the next deadline, at most one slice. */
function sleepMs(kernel: DomainKernel, sliceMs: number): number {
  return Math.max(0, Math.min(sliceMs, kernel.deadlineMs() - kernel.clock.nowMs()));
}

/**
 * Poll until `isDone`, blocking this thread in bounded sleeps. For guests that call synchronously.
 * @returns false if `timeoutMs` passed first
 */
export function pumpUntil(
  kernel: DomainKernel,
  isDone: () => boolean,
  options: IdleOptions,
  timeoutMs = Number.POSITIVE_INFINITY,
): boolean {
  const { words, index } = kernel.hypercalls.doorbell;
  const endMs = timeoutMs === Number.POSITIVE_INFINITY ? timeoutMs : kernel.clock.nowMs() + timeoutMs;
  let idlePolls = 0;
  while (!isDone()) {
    const seen = Atomics.load(words, index);
    if (kernel.poll()) {
      idlePolls = 0;
      continue;
    }
    idlePolls += 1;
    if (idlePolls <= options.spinPolls) continue;
    if (endMs !== Number.POSITIVE_INFINITY && kernel.clock.nowMs() >= endMs) return isDone();
    if (kernel.arm()) continue;
    Atomics.wait(words, index, seen, sleepMs(kernel, options.sliceMs));
    idlePolls = 0;
  }
  return true;
}

/**
 * Run a domain that lives in its idle loop (a driver domain) until `isDone`. It parks the thread when there is nothing
 * to do, and takes turns with the event loop while asynchronous work is outstanding, starving neither.
 */
export async function runDomain(kernel: DomainKernel, isDone: () => boolean, options: IdleOptions): Promise<void> {
  while (!isDone()) {
    if (kernel.needsEventLoop()) {
      // Completions arrive through the event loop; rings are served between its turns.
      kernel.poll();
      await options.turn();
    } else {
      pumpUntil(kernel, () => isDone() || kernel.needsEventLoop(), options);
    }
  }
}

/**
 * Keep a domain's kernel moving from this thread's event loop until `detach`. For asynchronous guests and the
 * host thread. The caller holds the event loop open (a ref'd port or handle); this wait never does.
 *
 * Polls run in a microtask, so that requests staged in one turn of a guest are published as one batch.
 *
 * @param schedule call back after `ms`, or at once for 0, without keeping the process alive; returns a cancel function
 */
export function attachToEventLoop(
  kernel: DomainKernel,
  schedule: (callback: () => void, ms: number) => () => void,
  onError: (error: unknown) => void,
): { readonly detach: () => void } {
  const { words, index } = kernel.hypercalls.doorbell;
  let isAttached = true;
  let isQueued = false;
  let isWaiting = false;
  let cancelTimer = () => {};
  let timerAtMs = Number.POSITIVE_INFINITY;

  const wake = () => {
    if (isQueued || !isAttached) return;
    isQueued = true;
    void Promise.resolve().then(run);
  };

  const setTimer = () => {
    const deadline = kernel.deadlineMs();
    if (deadline === timerAtMs) return;
    cancelTimer();
    timerAtMs = deadline;
    cancelTimer = () => {};
    if (deadline === Number.POSITIVE_INFINITY) return;
    cancelTimer = schedule(
      () => {
        timerAtMs = Number.POSITIVE_INFINITY;
        wake();
      },
      Math.max(0, deadline - kernel.clock.nowMs()),
    );
  };

  function park(seen: number): void {
    if (isWaiting) return;
    const result = Atomics.waitAsync(words, index, seen);
    if (!result.async) {
      wake();
      return;
    }
    isWaiting = true;
    void result.value.then(() => {
      isWaiting = false;
      wake();
    });
  }

  function run(): void {
    isQueued = false;
    if (!isAttached) return;
    try {
      const seen = Atomics.load(words, index);
      let budget = 64; // then the event loop gets its turn, however busy the rings are
      while (kernel.poll() || kernel.arm()) {
        budget -= 1;
        if (budget === 0) {
          isQueued = true;
          schedule(run, 0);
          return;
        }
      }
      setTimer();
      park(seen);
    } catch (error) {
      detach();
      onError(error);
    }
  }

  function detach(): void {
    isAttached = false;
    cancelTimer();
    kernel.onPollRequest = () => {};
    // Ends the pending waitAsync, which nothing else may ever wake.
    Atomics.notify(words, index);
  }

  kernel.onPollRequest = wake;
  wake();
  return { detach };
}
