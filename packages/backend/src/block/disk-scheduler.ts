// Shares one disk among the rings of all guests that use it: fair queueing, rate limits, one doorbell per turn.
// hot path: bench/src/block
import type { BlockCommand, BlockDevice, BlockStatus } from '@splitring/device';
import type { Clock, Stepped } from '@splitring/hypervisor';
import type { BlkbackQueue } from './blkback-queue.ts';
import { type CommandSink, SLOT_BITS } from './command-sink.ts';
import { FairShare, SMALL_REQUEST_COST } from './fair-share.ts';

const SLOT_MASK = (1 << SLOT_BITS) - 1;
/** Bounds of a turn for a ring that is alone, in small requests. */
const ALONE_MIN = 8;
const ALONE_MAX = 32;
/** Commands at most that a ring which is alone is served in one poll: all else in the domain waits meanwhile. */
const ALONE_COMMANDS = 64;
/** Of these in one round: as many as an NVMe controller executes at one ring of its doorbell. */
const ROUND_COMMANDS = 8;
/** Looks at a ring that was just answered, in which its guest can have asked again: about two microseconds. */
const LINGER_LOOKS = 600;
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
  private readonly fair = new FairShare();
  /** Cost of the transfers that the device has not answered; those that must reach the medium before do not count. */
  load = 0;
  /** While several share, nothing more is taken from this load on. */
  private depth = 0;
  /** Whether the device has answered anything since the last round. */
  private hasAnswered = false;
  /** Who gets the completions of cookies `index << SLOT_BITS` and up. */
  private readonly owners: (BlkbackQueue | undefined)[] = [];
  /** Commands that were submitted and of which the device does not know yet. */
  private submitted = 0;
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
    this.submitted += 1;
    return true;
  }

  poll(): boolean {
    const { queues } = this;
    let hasWorked = this.device.poll();
    const { hasAnswered } = this;
    this.hasAnswered = false;
    if (this.serve(hasAnswered)) hasWorked = true;
    this.execute();
    const isIdle = !hasWorked && !hasAnswered;
    for (let i = 0; i < queues.length; i += 1) {
      if ((queues[i] as BlkbackQueue).endTurn(isIdle)) hasWorked = true; // in range
    }
    if (this.onDrained.size > 0) this.dropDrained();
    return hasWorked;
  }

  /** A full device wakes us with its answers, and then we look at the rings anyway. */
  arm(): boolean {
    let hasWork = this.device.arm?.() ?? false;
    if (this.isFull) return hasWork;
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

  /** Whether the device takes no more, or several share it and it has enough. */
  private get isFull(): boolean {
    return this.device.freeTags === 0 || (this.fair.sharing > 1 && this.load >= this.depth);
  }

  /** One round over the rings that have work. */
  private serve(hasAnswered: boolean): boolean {
    if (this.resumeMs !== Number.POSITIVE_INFINITY) this.resume();
    const { fair, queues } = this;
    if (!fair.survey(queues)) return false;
    if (fair.sharing > 1) return this.serveShared(hasAnswered);
    const queue = fair.next(queues);
    return queue !== undefined && this.serveAlone(queue);
  }

  /** Have the device work. A controller on this very thread has answers at once: the guest need not wait for a turn. */
  private execute(): void {
    if (this.submitted === 0) return;
    this.submitted = 0;
    this.device.kick();
    this.device.poll();
  }

  /**
   * Serve a ring that is alone, again and again as long as its guest goes on asking: after every access to the medium,
   * the code of a whole turn of the domain would have to be fetched into the caches.
   */
  private serveAlone(queue: BlkbackQueue): boolean {
    queue.publishAt = 0;
    this.fair.forgive(queue);
    queue.endTurn(true);
    let hasWorked = false;
    let left = ALONE_COMMANDS;
    while (left > 0 && this.takeAlone(queue)) {
      hasWorked = true;
      left -= Math.max(1, this.submitted);
      this.execute();
      queue.endTurn(true);
      if (!isAskedAgain(queue)) break;
    }
    return hasWorked;
  }

  /** Alone, a ring gets about half of what it has out, so that guest and device never wait for each other in turns. */
  private takeAlone(queue: BlkbackQueue): boolean {
    const half = (queue.pending() + queue.inFlight) >> 1;
    queue.credit = SMALL_REQUEST_COST * Math.min(ALONE_MAX, Math.max(ALONE_MIN, half));
    queue.turnCommands = Math.min(ROUND_COMMANDS, Math.max(1, queue.standing.batch >> 1));
    return this.take(queue);
  }

  private serveShared(hasAnswered: boolean): boolean {
    const { fair, queues } = this;
    this.adjustDepth(hasAnswered);
    let hasWorked = false;
    while (!this.isFull) {
      const queue = fair.next(queues);
      if (queue === undefined) break;
      fair.grant(queue);
      if (this.take(queue)) hasWorked = true;
      fair.charge(queue);
    }
    return hasWorked;
  }

  /**
   * A turn keeps a device busy that works on this thread. One that has not answered since the last round, and has
   * nothing more to come, is waiting for something itself: give it more at once.
   */
  private adjustDepth(hasAnswered: boolean): void {
    const least = this.fair.turn;
    if (!hasAnswered && this.load >= this.depth) this.depth *= 2;
    else if (this.depth > least) this.depth -= 1;
    this.depth = Math.max(this.depth, least);
  }

  private take(queue: BlkbackQueue): boolean {
    const hasWorked = queue.take();
    if (queue.hasMisbehaved || queue.limit !== undefined) this.pauseIfDue(queue);
    return hasWorked;
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
    queue.standing.waiting = 0;
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
    this.hasAnswered = true;
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

/** Whether more is asked for, now or by the time that the guest has seen its answers. */
function isAskedAgain(queue: BlkbackQueue): boolean {
  if (queue.pausedUntilMs !== 0) return false;
  for (let looks = 0; looks < LINGER_LOOKS; looks += 1) if (queue.pending() > 0) return true;
  return false;
}
