// hot path: bench/src/net, bench/src/block (the driver domain lives in runBlocking)
// The idle loops of domains that block (a driver domain, a guest in a synchronous call); event-loop-pump.ts has the other
// one. Only these wait; everything else is stepped.
//
// Order that loses no wake-up: sample the doorbell, poll until idle, arm, look again, sleep on the sampled value.
import type { DomainKernel } from '../domain-kernel.ts';
import type { Schedule } from './event-loop-pump.ts';

/** How an idle loop waits. */
export interface IdleOptions {
  /** Empty polls before going to sleep, read anew each time; 0 where runnable domains outnumber cores. */
  readonly spinPolls: number;
  /** Longest single sleep in milliseconds: the bound on every wait. */
  readonly sliceMs: number;
  /** Give the thread's event loop one turn. */
  readonly turn: () => Promise<void>;
  /** Timers for sleeps beside which the event loop runs; without it such a domain never sleeps. */
  readonly schedule?: Schedule;
}

/** Milliseconds to sleep: until the next deadline, at most one slice. */
function sleepMs(kernel: DomainKernel, sliceMs: number): number {
  return Math.max(0, Math.min(sliceMs, kernel.deadlineMs() - kernel.clock.nowMs()));
}

/**
 * Poll until `isDone`, blocking this thread in bounded sleeps. For guests that call synchronously. What `isDone` looks at
 * may change only in a poll.
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
  let mayBeDone = true;
  for (;;) {
    if (mayBeDone && isDone()) return true;
    const seen = Atomics.load(words, index);
    mayBeDone = kernel.poll();
    if (mayBeDone) {
      idlePolls = 0;
      continue;
    }
    idlePolls += 1;
    if (idlePolls <= options.spinPolls) continue;
    mayBeDone = kernel.arm();
    if (mayBeDone) continue;
    if (endMs !== Number.POSITIVE_INFINITY && kernel.clock.nowMs() >= endMs) return isDone();
    Atomics.wait(words, index, seen, sleepMs(kernel, Math.min(options.sliceMs, endMs - kernel.clock.nowMs())));
    idlePolls = 0;
  }
}

/**
 * Run a domain that lives in its idle loop (a driver domain) until `isDone`. It parks the thread when there is nothing
 * to do, and takes turns with the event loop while asynchronous work is outstanding, starving neither. With sockets open
 * it sleeps where they can wake it.
 */
export async function runDomain(kernel: DomainKernel, isDone: () => boolean, options: IdleOptions): Promise<void> {
  while (!isDone()) {
    if (kernel.needsEventLoop()) {
      // Completions arrive through the event loop; rings are served between its turns.
      kernel.poll();
      await options.turn();
    } else if (kernel.usesEventLoop()) {
      await pumpBeside(kernel, () => isDone() || kernel.needsEventLoop() || !kernel.usesEventLoop(), options);
    } else {
      pumpUntil(kernel, () => isDone() || kernel.needsEventLoop() || kernel.usesEventLoop(), options);
    }
  }
}

/** Polls in a row before sockets get their turn. */
const POLLS_PER_SOCKET_TURN = 16;
/** A turn of the event loop costs as much as so many empty polls. */
const POLLS_PER_IDLE_TURN = 16;

/** Poll until `isDone` beside an event loop that may bring news at any time; sleep where both it and events can wake us. */
async function pumpBeside(kernel: DomainKernel, isDone: () => boolean, options: IdleOptions): Promise<void> {
  const { words, index } = kernel.hypercalls.doorbell;
  const sleep = new SharedSleep(kernel, options);
  let idleTurns = 0;
  while (!isDone()) {
    const seen = Atomics.load(words, index);
    let budget = POLLS_PER_SOCKET_TURN;
    while (budget > 0 && kernel.poll()) budget -= 1;
    if (budget < POLLS_PER_SOCKET_TURN) idleTurns = 0;
    else idleTurns += 1;
    if (idleTurns * POLLS_PER_IDLE_TURN <= options.spinPolls || kernel.arm()) {
      await options.turn();
      continue;
    }
    await sleep.until(seen, sleepMs(kernel, options.sliceMs));
    await options.turn(); // whatever else has come meanwhile is handled in the same poll
    idleTurns = options.spinPolls; // what woke us shows in the next poll, or nothing has come
  }
  sleep.end();
}

/** A sleep that events, the clock and `requestPoll` end. Only one waiter lies on the doorbell, however often it is used. */
class SharedSleep {
  private readonly kernel: DomainKernel;
  private readonly options: IdleOptions;
  private isParked = false;
  private wake = () => {};

  constructor(kernel: DomainKernel, options: IdleOptions) {
    this.kernel = kernel;
    this.options = options;
    kernel.onPollRequest = () => this.wake();
  }

  /** Sleep unless the doorbell is no longer at `seen`. */
  until(seen: number, ms: number): Promise<void> {
    const { schedule } = this.options;
    if (schedule === undefined || !this.park(seen)) return this.options.turn();
    return new Promise((resolve) => {
      const cancel = schedule(() => this.wake(), ms);
      this.wake = () => {
        this.wake = () => {};
        cancel();
        resolve();
      };
    });
  }

  /** Forget about requests; a waiter that is left over harms nobody. */
  end(): void {
    this.kernel.onPollRequest = () => {};
  }

  /** @returns false if the doorbell has rung since `seen` */
  private park(seen: number): boolean {
    const { words, index } = this.kernel.hypercalls.doorbell;
    if (this.isParked) return Atomics.load(words, index) === seen;
    const result = Atomics.waitAsync(words, index, seen);
    if (!result.async) return false;
    this.isParked = true;
    void result.value.then(() => {
      this.isParked = false;
      this.wake();
    });
    return true;
  }
}
