// The scheduler of a simulation: draws from the seed which domain is polled next, and lets time pass.
import { createHash, type Hash } from 'node:crypto';
import type { DomainKernel } from '@splitring/hypervisor';
import { SeededRandom, VirtualClock } from './seeded.ts';

interface Entry {
  readonly name: string;
  readonly kernel: DomainKernel;
  /** Called after each of its polls. */
  readonly afterPoll: () => void;
}

/** Longest time that one poll takes, in microseconds. */
const LONGEST_POLL_US = 10;

/** How a run of steps ended. */
export type RunEnd = 'done' | 'out of steps' | 'stuck';

/**
 * Polls kernels in an order drawn from a seed. Between two steps all microtasks are drained, so that guests written as
 * async functions take part deterministically.
 */
export class SimulationScheduler {
  /** The simulation's time. */
  readonly clock = new VirtualClock();
  /** The simulation's chance. */
  readonly random: SeededRandom;
  /** Steps done so far. */
  steps = 0;
  private entries: readonly Entry[] = [];
  /** Who has found nothing to do since anybody last did something. */
  private readonly idle = new Set<Entry>();
  private readonly trace: Hash = createHash('sha256');

  /** A scheduler for one seed. */
  constructor(seed: number) {
    this.random = new SeededRandom(seed);
  }

  /** Poll `kernel` from now on. @returns how to stop that */
  add(name: string, kernel: DomainKernel, afterPoll: () => void = () => {}): () => void {
    const entry: Entry = { name, kernel, afterPoll };
    this.entries = [...this.entries, entry];
    this.note(`add ${name}`);
    return () => {
      if (!this.entries.includes(entry)) return;
      this.entries = this.entries.filter((other) => other !== entry);
      this.note(`remove ${name}`);
    };
  }

  /** Write an event into the trace. */
  note(event: string): void {
    this.trace.update(`${this.steps} ${this.clock.nowMs().toFixed(3)} ${event}\n`);
  }

  /** Hash of all that happened so far, in hexadecimal. */
  hash(): string {
    return this.trace.copy().digest('hex');
  }

  /** Step until `isDone`, at most until `maxSteps` steps have been done in all. */
  async run(isDone: () => boolean, maxSteps: number): Promise<RunEnd> {
    await drain();
    while (!isDone()) {
      if (this.steps >= maxSteps) return 'out of steps';
      if (!this.step()) return 'stuck';
      await drain();
    }
    return 'done';
  }

  /** @returns false if nothing can ever happen again */
  private step(): boolean {
    const entry = this.entries[this.random.below(Math.max(1, this.entries.length))];
    if (entry === undefined) return false;
    this.steps += 1;
    this.clock.advance((1 + this.random.below(LONGEST_POLL_US)) / 1000);
    const hasWorked = entry.kernel.poll() || entry.kernel.arm();
    this.note(`${entry.name} ${hasWorked ? 'works' : 'idles'}`);
    entry.afterPoll();
    if (hasWorked) this.idle.clear();
    else this.idle.add(entry);
    return this.entries.some((other) => !this.idle.has(other)) || this.jump();
  }

  /** Let time pass until the next deadline of anybody. @returns false if there is none */
  private jump(): boolean {
    const deadline = Math.min(...this.entries.map(({ kernel }) => kernel.deadlineMs()));
    if (deadline === Number.POSITIVE_INFINITY) return false;
    this.idle.clear();
    this.clock.advance(Math.max(0, deadline - this.clock.nowMs()));
    this.note('time passes');
    return true;
  }
}

/** Let every microtask run. */
const drain = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
