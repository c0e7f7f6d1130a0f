// hot path: bench net
// Serves the queues of many guests in turn, so that one busy or stuck guest delays nobody else.
import type { Stepped } from '@splitring/hypervisor';
import type { Vif } from './vif.ts';
import type { VifQueue } from './vif-queue.ts';

/** How guests share a driver domain. */
export interface NetSchedulerOptions {
  /** Packets served of one queue before the next has its turn; 64 by default. */
  readonly budgetPackets?: number;
}

const DEFAULT_BUDGET_PACKETS = 64;
/** A look for stalled guests in every so many polls, less one: a power of two, less one. */
const POLLS_PER_LOOK = 63;

/** One queue and whose it is. */
interface Entry {
  readonly vif: Vif;
  readonly queue: VifQueue;
}

/** Round robin over queues. */
export class NetScheduler implements Stepped {
  /** Called when a guest broke the protocol; it must remove the vif's queues. */
  onBroken: (vif: Vif) => void = () => {};
  private readonly budgetPackets: number;
  private entries: readonly Entry[] = [];
  private first = 0;
  private polls = 0;

  /** A scheduler without queues. */
  constructor(options: NetSchedulerOptions = {}) {
    this.budgetPackets = options.budgetPackets ?? DEFAULT_BUDGET_PACKETS;
  }

  /** Serve the queues of a connected vif. */
  add(vif: Vif): void {
    this.entries = [...this.entries, ...vif.queues.map((queue): Entry => ({ vif, queue }))];
  }

  /** Stop serving a vif. Idempotent. */
  remove(vif: Vif): void {
    this.entries = this.entries.filter((entry) => entry.vif !== vif);
  }

  poll(): boolean {
    const { entries } = this;
    const count = entries.length;
    let hasWorked = false;
    let hasBroken = false;
    this.first = this.first + 1 < count ? this.first + 1 : 0; // nobody is always first
    for (let i = 0; i < count; i += 1) {
      const at = this.first + i;
      const { queue } = entries[at < count ? at : at - count] as Entry; // in range
      if (queue.serve(this.budgetPackets) > 0) hasWorked = true;
      if (queue.broken !== undefined) hasBroken = true;
    }
    for (const { queue } of entries) queue.flush();
    this.polls = (this.polls + 1) & POLLS_PER_LOOK;
    if (this.polls === 0) this.lookForStalls();
    if (hasBroken) for (const entry of entries) this.reportBroken(entry);
    return hasWorked || hasBroken;
  }

  arm(): boolean {
    let hasWork = false;
    for (const { vif, queue } of this.entries) {
      if (queue.arm()) hasWork = true;
      if (queue.rx.isStalled) vif.lookForStalls(); // so that the carrier is back before the next frame
    }
    return hasWork;
  }

  deadlineMs(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { queue } of this.entries) earliest = Math.min(earliest, queue.deadlineMs);
    return earliest;
  }

  private lookForStalls(): void {
    let last: Vif | undefined;
    for (const { vif } of this.entries) {
      if (vif !== last) vif.lookForStalls(); // a vif's queues lie side by side
      last = vif;
    }
  }

  private reportBroken(entry: Entry): void {
    if (entry.queue.broken !== undefined && this.entries.includes(entry)) this.onBroken(entry.vif);
  }
}
