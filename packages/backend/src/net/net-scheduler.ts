// hot path: bench net
// Serves the queues of many guests in turn, so that one busy or stuck guest delays nobody else.
import type { Clock, Stepped } from '@splitring/hypervisor';
import type { Vif } from './vif.ts';
import type { VifQueue } from './vif-queue.ts';

/** How guests share a driver domain. */
export interface NetSchedulerOptions {
  /** Packets served of one queue before the next has its turn; 64 by default. */
  readonly budgetPackets?: number;
  /** Longest that a packet waits for room at its destination before it is dropped, in milliseconds; 100 by default. */
  readonly maxHoldMs?: number;
}

const DEFAULT_BUDGET_PACKETS = 64;
const DEFAULT_MAX_HOLD_MS = 100;

/** One queue and the state of its turn. */
interface Entry {
  readonly vif: Vif;
  readonly queue: VifQueue;
  /** When the packet that is held now must be given up. */
  holdUntilMs: number;
}

/** Round robin over queues. */
export class NetScheduler implements Stepped {
  /** Called when a guest broke the protocol; it must remove the vif's queues. */
  onBroken: (vif: Vif) => void = () => {};
  private readonly clock: Clock;
  private readonly budgetPackets: number;
  private readonly maxHoldMs: number;
  private entries: readonly Entry[] = [];
  private first = 0;

  /** A scheduler without queues. */
  constructor(clock: Clock, options: NetSchedulerOptions = {}) {
    this.clock = clock;
    this.budgetPackets = options.budgetPackets ?? DEFAULT_BUDGET_PACKETS;
    this.maxHoldMs = options.maxHoldMs ?? DEFAULT_MAX_HOLD_MS;
  }

  /** Serve the queues of a connected vif. */
  add(vif: Vif): void {
    const added = vif.queues.map((queue): Entry => ({ vif, queue, holdUntilMs: Number.POSITIVE_INFINITY }));
    this.entries = [...this.entries, ...added];
  }

  /** Stop serving a vif. Idempotent. */
  remove(vif: Vif): void {
    this.entries = this.entries.filter((entry) => entry.vif !== vif);
  }

  poll(): boolean {
    const { entries } = this;
    const count = entries.length;
    let hasWorked = false;
    this.first = this.first + 1 < count ? this.first + 1 : 0; // nobody is always first
    for (let i = 0; i < count; i += 1) {
      const at = this.first + i;
      const entry = entries[at < count ? at : at - count] as Entry; // in range
      if (entry.queue.serve(this.budgetPackets) > 0) {
        hasWorked = true;
        entry.holdUntilMs = Number.POSITIVE_INFINITY;
      }
      if (entry.queue.isHeld && this.isHeldTooLong(entry)) hasWorked = true;
    }
    for (const entry of entries) entry.queue.flush();
    for (const entry of entries) if (entry.queue.broken !== undefined || entry.queue.rx.ring.broken) this.report(entry);
    return hasWorked;
  }

  arm(): boolean {
    let hasWork = false;
    for (const entry of this.entries) if (entry.queue.arm()) hasWork = true;
    return hasWork;
  }

  deadlineMs(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const entry of this.entries) {
      if (entry.queue.isHeld && entry.holdUntilMs < earliest) earliest = entry.holdUntilMs;
    }
    return earliest;
  }

  /** Start, or look at, the clock of a held packet. @returns whether it was given up */
  private isHeldTooLong(entry: Entry): boolean {
    const nowMs = this.clock.nowMs();
    if (entry.holdUntilMs === Number.POSITIVE_INFINITY) entry.holdUntilMs = nowMs + this.maxHoldMs;
    if (nowMs < entry.holdUntilMs) return false;
    entry.holdUntilMs = Number.POSITIVE_INFINITY;
    entry.queue.abandonHeld();
    return true;
  }

  private report(entry: Entry): void {
    if (this.entries.includes(entry)) this.onBroken(entry.vif);
  }
}
