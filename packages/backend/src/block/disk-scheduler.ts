// Shares one disk among the rings of all guests that use it: deficit round robin, rate limits, one doorbell per turn.
// hot path: bench/src/block
import type { BlockCommand, BlockDevice, BlockStatus } from '@splitring/device';
import type { Clock, Stepped } from '@splitring/hypervisor';
import type { BlkbackQueue } from './blkback-queue.ts';
import { type CommandSink, SLOT_BITS } from './command-sink.ts';

const SLOT_MASK = (1 << SLOT_BITS) - 1;
/** Cost of a 4 KiB request: see REQUEST_COST of the queue. */
const SMALL_REQUEST_COST = 3;
/** Credit of a ring per round while several have work: the batch of a small guest (measured, docs of the benchmark). */
const SHARED_QUANTUM = 8 * SMALL_REQUEST_COST;
/** Bounds of a turn for a ring that is alone, in small requests. */
const ALONE_MIN = 8;
const ALONE_MAX = 32;
/** A ring that had work so many working rounds ago still counts as sharing: its guest is only about to ask again. */
const RECENT_ROUNDS = 64;
/**
 * Requests that a ring of weight 1 may have at the device while several share it. A device serves its commands in the
 * order they came, so whatever a ring has queued there goes ahead of everybody: the queue, not the round, would be the
 * scheduler.
 */
const SHARED_WINDOW = 8;
/** How long a guest that sent rubbish is not listened to. */
const DAMPER_MS = 1;

/**
 * Owns a device's completions and its command cookies.
 *
 * @example
 * const scheduler = new DiskScheduler(device, kernel.clock);
 * scheduler.add(queue);
 * kernel.add(scheduler);
 */
export class DiskScheduler implements Stepped, CommandSink {
  readonly device: BlockDevice;
  private readonly clock: Clock;
  private queues: readonly BlkbackQueue[] = [];
  /** Where the next round starts. */
  private rotor = 0;
  /** Rings that have or recently had work, as of this round. */
  private sharing = 0;
  /** Who gets the completions of cookies `index << SLOT_BITS` and up. */
  private readonly owners: (BlkbackQueue | undefined)[] = [];
  private hasSubmitted = false;
  /** Earliest time at which a paused ring may go on, or Infinity. */
  private resumeMs = Number.POSITIVE_INFINITY;
  private readonly onDrained = new Map<BlkbackQueue, () => void>();

  constructor(device: BlockDevice, clock: Clock) {
    this.device = device;
    this.clock = clock;
    device.onComplete = (cookie, status) => this.complete(cookie, status);
  }

  /** Serve a ring. */
  add(queue: BlkbackQueue): void {
    const free = this.owners.indexOf(undefined);
    const index = free < 0 ? this.owners.length : free;
    this.owners[index] = queue;
    queue.cookieBase = index << SLOT_BITS;
    this.queues = [...this.queues, queue];
  }

  /** Serve a ring no more; `onDrained` is called, from `poll` or at once, when the device holds nothing of it. */
  remove(queue: BlkbackQueue, onDrained: () => void): void {
    queue.close();
    this.onDrained.set(queue, onDrained);
    this.dropDrained();
  }

  get freeCommands(): number {
    return this.device.freeTags;
  }

  submit(command: BlockCommand): boolean {
    if (!this.device.submit(command)) return false;
    this.hasSubmitted = true;
    return true;
  }

  poll(): boolean {
    const { queues } = this;
    let hasWorked = this.device.poll();
    if (this.serve()) hasWorked = true;
    if (this.hasSubmitted) {
      this.hasSubmitted = false;
      this.device.kick();
      // A controller on this very thread has answers by now: the guest need not wait for another turn.
      this.device.poll();
    }
    for (let i = 0; i < queues.length; i += 1) (queues[i] as BlkbackQueue).publish(); // in range
    if (this.onDrained.size > 0) this.dropDrained();
    return hasWorked;
  }

  arm(): boolean {
    let hasWork = this.device.arm?.() ?? false;
    for (const queue of this.queues) {
      if (queue.pausedUntilMs === 0 && queue.arm()) hasWork = true;
    }
    return hasWork;
  }

  deadlineMs(): number {
    return Math.min(this.resumeMs, this.device.deadlineMs?.() ?? Number.POSITIVE_INFINITY);
  }

  needsEventLoop(): boolean {
    return this.device.needsEventLoop?.() ?? false;
  }

  /** One round over the rings that have work. */
  private serve(): boolean {
    if (this.resumeMs !== Number.POSITIVE_INFINITY) this.resume();
    if (!this.survey()) return false;
    const { queues, sharing } = this;
    const count = queues.length;
    let hasWorked = false;
    let at = this.rotor;
    for (let left = count; left > 0; left -= 1) {
      if (at >= count) at = 0;
      const queue = queues[at] as BlkbackQueue; // in range
      if (queue.waiting > 0) {
        if (sharing === 1) this.grantAlone(queue);
        else this.grantShare(queue);
        // A ring in debt has work as well, its credit grows with every round; a held one waits for its completions.
        if (queue.take() || (queue.deficit <= 0 && !queue.isHeld)) hasWorked = true;
        if (queue.hasMisbehaved || queue.limit !== undefined) this.pauseIfDue(queue);
        if (this.device.freeTags === 0) {
          this.rotor = at;
          return hasWorked;
        }
      }
      at += 1;
    }
    this.rotor = this.rotor + 1 < count ? this.rotor + 1 : 0;
    return hasWorked;
  }

  /** See who has work, and how many share the disk. @returns whether anybody has work */
  private survey(): boolean {
    const { queues } = this;
    let active = 0;
    let sharing = 0;
    for (let i = 0; i < queues.length; i += 1) {
      const queue = queues[i] as BlkbackQueue; // in range
      queue.waiting = queue.pausedUntilMs === 0 ? queue.pending() : 0;
      if (queue.waiting > 0) {
        active += 1;
        queue.idleRounds = 0;
      } else {
        queue.deficit = 0;
      }
      if (queue.idleRounds < RECENT_ROUNDS) sharing += 1;
    }
    this.sharing = sharing;
    if (active === 0 || active === sharing) return active > 0;
    // Only rounds with work count: a ring does not become a stranger while nobody asks for anything.
    for (let i = 0; i < queues.length; i += 1) {
      const queue = queues[i] as BlkbackQueue; // in range
      if (queue.waiting === 0 && queue.idleRounds < RECENT_ROUNDS) queue.idleRounds += 1;
    }
    return true;
  }

  /** Alone, a ring gets about half of what it has out, so that guest and device never wait for each other in turns. */
  private grantAlone(queue: BlkbackQueue): void {
    const half = (queue.waiting + queue.inFlight) >> 1;
    queue.deficit = SMALL_REQUEST_COST * Math.min(ALONE_MAX, Math.max(ALONE_MIN, half));
    queue.window = Number.MAX_SAFE_INTEGER;
  }

  /** Credit is not saved up: a ring that could not use it (held, device full) gets no burst later. */
  private grantShare(queue: BlkbackQueue): void {
    const quantum = SHARED_QUANTUM * queue.weight;
    queue.deficit = Math.min(quantum, queue.deficit + quantum);
    queue.window = Math.max(1, Math.floor(SHARED_WINDOW * queue.weight));
  }

  /** Stop listening to a ring that sent rubbish or used up its limit. */
  private pauseIfDue(queue: BlkbackQueue): void {
    const isLimited = queue.limit !== undefined && !queue.limit.hasTokens;
    if (!queue.hasMisbehaved && !isLimited) return;
    const now = this.clock.nowMs();
    let until = queue.hasMisbehaved ? now + DAMPER_MS : now;
    if (isLimited && queue.limit !== undefined) until = Math.max(until, queue.limit.opensAtMs(now));
    queue.hasMisbehaved = false;
    queue.pausedUntilMs = until;
    this.resumeMs = Math.min(this.resumeMs, until);
  }

  private resume(): void {
    const now = this.clock.nowMs();
    if (now < this.resumeMs) return;
    this.resumeMs = Number.POSITIVE_INFINITY;
    for (const queue of this.queues) {
      if (queue.pausedUntilMs === 0) continue;
      if (queue.pausedUntilMs <= now && (queue.limit?.refill(now) ?? true)) queue.pausedUntilMs = 0;
      else this.resumeMs = Math.min(this.resumeMs, Math.max(queue.pausedUntilMs, queue.limit?.opensAtMs(now) ?? now));
    }
  }

  private complete(cookie: number, status: BlockStatus): void {
    this.owners[cookie >> SLOT_BITS]?.completed(cookie & SLOT_MASK, status);
  }

  private dropDrained(): void {
    for (const [queue, onDrained] of this.onDrained) {
      if (queue.inFlight > 0) continue;
      this.onDrained.delete(queue);
      this.queues = this.queues.filter((other) => other !== queue);
      this.owners[queue.cookieBase >> SLOT_BITS] = undefined;
      queue.release();
      onDrained();
    }
  }
}
