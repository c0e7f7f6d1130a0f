// Sleeping on injected time: promises that a poll resolves.
import type { Clock, Stepped } from '@splitring/hypervisor';

interface Sleeper {
  readonly atMs: number;
  readonly wake: () => void;
}

/**
 * The sleepers of one domain, earliest first.
 *
 * @example
 * const sleeps = new SleepQueue(clock);
 * kernel.add(sleeps);
 * await sleeps.sleep(10, signal);
 */
export class SleepQueue implements Stepped {
  private readonly clock: Clock;
  private readonly onChange: () => void;
  private sleepers: readonly Sleeper[] = [];

  /** `onChange` is called when an earlier deadline appears, so that whoever waits can wait shorter. */
  constructor(clock: Clock, onChange: () => void) {
    this.clock = clock;
    this.onChange = onChange;
  }

  /** Resolve after `ms` of the clock, or as soon as `signal` is aborted. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        this.sleepers = this.sleepers.filter((other) => other !== sleeper);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      const sleeper: Sleeper = { atMs: this.clock.nowMs() + ms, wake };
      const at = this.sleepers.findIndex((other) => other.atMs > sleeper.atMs);
      this.sleepers = at === -1 ? [...this.sleepers, sleeper] : this.sleepers.toSpliced(at, 0, sleeper);
      signal?.addEventListener('abort', wake, { once: true });
      this.onChange();
    });
  }

  poll(): boolean {
    if (this.sleepers.length === 0) return false;
    const now = this.clock.nowMs();
    const due = this.sleepers.filter(({ atMs }) => atMs <= now);
    for (const { wake } of due) wake();
    return due.length > 0;
  }

  deadlineMs(): number {
    return this.sleepers[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }
}
