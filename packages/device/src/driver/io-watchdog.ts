// Notices commands that the device does not answer, without a clock on their way: ages that grow at every look.
import type { Clock } from '@splitring/hypervisor';
import type { NvmeQueuePair } from './nvme-queue-pair.ts';

/** Looks that a command has outlived when it is to be aborted: two whole periods at least, three at most. */
export const ABORT_AGE = 3;
/** Looks after which a command that no abort has brought back needs a controller reset. */
export const RESET_AGE = 5;

/**
 * Looks at the commands in flight every half time-out. A command is overdue after one to one and a half time-outs.
 *
 * @example
 * if (watchdog.look()) for (const tag of queue.tagsOfAge(ABORT_AGE)) abort(queue, tag);
 */
export class IoWatchdog {
  /** When to look next; Infinity while nothing is in flight. */
  nextMs = Number.POSITIVE_INFINITY;
  private readonly queues: () => readonly NvmeQueuePair[];
  private readonly clock: Clock;
  private readonly periodMs: number;

  /** `timeoutMs` may be Infinity: no command is ever overdue. */
  constructor(queues: () => readonly NvmeQueuePair[], clock: Clock, timeoutMs: number) {
    this.queues = queues;
    this.clock = clock;
    this.periodMs = timeoutMs / 2;
  }

  /** Look, if it is time. @returns whether some command is overdue */
  look(): boolean {
    const queues = this.queues();
    if (!queues.some(({ inFlight }) => inFlight > 0)) {
      this.nextMs = Number.POSITIVE_INFINITY;
      return false;
    }
    const now = this.clock.nowMs();
    const isDue = now >= this.nextMs;
    if (isDue || this.nextMs === Number.POSITIVE_INFINITY) this.nextMs = now + this.periodMs;
    if (!isDue) return false;
    return Math.max(...queues.map((queue) => queue.growOld())) >= ABORT_AGE;
  }
}
