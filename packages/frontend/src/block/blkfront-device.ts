// A split disk as a block device: spreads commands over the queues, and survives the loss of its back end.
// hot path: bench/src/block
import { BLOCK_OP, BLOCK_STATUS, type BlockCommand, type BlockStatus } from '@splitring/device';
import type { ProtocolError } from 'sharedarraybuffer-ring';
import type { DiskFeatures } from './blkfront-features.ts';
import type { BlkfrontQueue } from './blkfront-queue.ts';
import type { BlockCounters, GuestBlockDevice } from './guest-block-device.ts';

/** Answers to wait for, at most, before a sleeping guest is woken. */
const MAX_WAKE_BATCH = 32;

/**
 * The device stays the same object over reconnects: without queues it takes no command and keeps those it has; with new
 * queues it first submits again, in the old order, what the old ones left unanswered.
 */
export class BlkfrontDevice implements GuestBlockDevice {
  capacitySectors = 0;
  logicalBlockBytes = 512;
  physicalBlockBytes = 512;
  isReadOnly = false;
  isRemovable = false;
  discardGranularityBytes = 512;
  discardAlignmentBytes = 0;
  hasDiscard = false;
  hasFlush = false;
  hasForceUnitAccess = false;
  hasWriteZeroes = false;
  isGone = false;
  maxPages = 0;
  onComplete: (cookie: number, status: BlockStatus) => void = () => {};
  onChange: () => void = () => {};
  /** Called once when a queue's back end broke the protocol. */
  onBroken: (error: ProtocolError) => void = () => {};
  /** Most answers that may be left unannounced while the guest sleeps; 1 for a guest that waits for each. */
  wakeBatch: number = MAX_WAKE_BATCH;
  private queues: readonly BlkfrontQueue[] = [];
  /** Of connections that are over. */
  private readonly pastCounters: BlockCounters = { requests: 0, notificationsSent: 0, publishes: 0 };
  private nextQueue = 0;
  /** Commands that no back end has answered yet, oldest first; submitted again before anything new. */
  private replay: BlockCommand[] = [];
  private onDrained: (() => void) | undefined;
  private isBrokenTold = false;
  /** Commands in flight that may take long. */
  private readonly slowCookies = new Set<number>();
  private readonly completed = (cookie: number, status: BlockStatus) => this.finish(cookie, status);

  get freeTags(): number {
    if (this.replay.length > 0) return 0;
    let free = 0;
    for (const queue of this.queues) free += queue.freeSlots;
    return free;
  }

  /** Whether a back end is attached. */
  get isConnected(): boolean {
    return this.queues.length > 0;
  }

  /** Requests in flight. */
  get outstanding(): number {
    let count = this.replay.length;
    for (const queue of this.queues) count += queue.outstanding;
    return count;
  }

  get counters(): BlockCounters {
    const total = { ...this.pastCounters };
    for (const { counters } of this.queues) addCounters(total, counters);
    return total;
  }

  /** Go live on `queues`, which carry at most `maxPages` pages a request. */
  attach(queues: readonly BlkfrontQueue[], features: DiskFeatures, maxPages: number): void {
    for (const queue of queues) {
      queue.onComplete = this.completed;
      queue.isFlushByBarrier = features.isFlushByBarrier;
    }
    this.queues = queues;
    this.maxPages = maxPages;
    this.isBrokenTold = false;
    this.update(features);
    this.submitReplay();
    this.kick();
  }

  /** Take over size and abilities, also while in use. */
  update(features: DiskFeatures): void {
    this.capacitySectors = features.capacitySectors;
    this.logicalBlockBytes = features.logicalBlockBytes;
    this.physicalBlockBytes = features.physicalBlockBytes;
    this.isReadOnly = features.isReadOnly;
    this.isRemovable = features.isRemovable;
    this.discardGranularityBytes = features.discardGranularityBytes;
    this.discardAlignmentBytes = features.discardAlignmentBytes;
    this.hasDiscard = features.hasDiscard;
    this.hasFlush = features.hasFlush;
    this.hasForceUnitAccess = features.hasForceUnitAccess;
    this.hasWriteZeroes = features.hasWriteZeroes;
    this.onChange();
  }

  /** Take no more commands; call `then`, from `poll` or at once, when all that were taken are answered. */
  drain(then: () => void): void {
    if (this.outstanding === 0) then();
    else this.onDrained = then;
  }

  /** The back end is gone or going: keep what it did not answer for the next one. */
  detach(): void {
    const unanswered = this.queues.flatMap((queue) => queue.shadow.unanswered());
    this.replay = [...unanswered, ...this.replay];
    for (const { counters } of this.queues) addCounters(this.pastCounters, counters);
    this.queues = [];
    this.onDrained = undefined;
  }

  /** There will be no other back end: everything in flight ends with `aborted`, and so does whatever comes. */
  abandon(): void {
    this.detach();
    this.isGone = true;
    const commands = this.replay;
    this.replay = [];
    for (const command of commands) this.finish(command.cookie, BLOCK_STATUS.aborted);
    this.onChange();
  }

  submit(command: BlockCommand): boolean {
    if (this.isGone) {
      this.finish(command.cookie, BLOCK_STATUS.aborted);
      return true;
    }
    return this.replay.length === 0 && this.onDrained === undefined && this.submitNow(command);
  }

  kick(): void {
    for (const queue of this.queues) queue.publish();
    this.nextQueue = (this.nextQueue + 1) | 0; // the next batch goes to the next queue
  }

  poll(): boolean {
    let hasWorked = false;
    for (const queue of this.queues) {
      if (queue.reap()) hasWorked = true;
      if (queue.broken !== undefined) this.tellBroken(queue.broken);
    }
    if (this.replay.length > 0 && hasWorked) {
      this.submitReplay();
      this.kick();
    }
    if (this.onDrained !== undefined && this.outstanding === 0) this.tellDrained();
    return hasWorked;
  }

  arm(): boolean {
    let hasWork = false;
    for (const queue of this.queues) {
      // A flush may take long, and nobody should wait for it to hear of reads that are done.
      const ahead = this.slowCookies.size > 0 ? 1 : Math.min(this.wakeBatch, queue.outstanding >> 1);
      if (queue.arm(ahead)) hasWork = true;
    }
    return hasWork;
  }

  expectsAnswer(): boolean {
    if (this.slowCookies.size > 0) return false;
    for (const queue of this.queues) if (queue.outstanding > 0) return true;
    return false;
  }

  private submitNow(command: BlockCommand): boolean {
    const { queues } = this;
    for (let tries = queues.length; tries > 0; tries -= 1) {
      const queue = queues[(this.nextQueue >>> 0) % queues.length] as BlkfrontQueue; // in range
      if (queue.submit(command)) {
        if (command.op >= BLOCK_OP.flush || command.isForceUnitAccess) this.slowCookies.add(command.cookie);
        return true;
      }
      this.nextQueue = (this.nextQueue + 1) | 0;
    }
    return false;
  }

  private submitReplay(): void {
    let done = 0;
    for (const command of this.replay) {
      if (!this.submitNow(command)) break;
      done += 1;
    }
    this.replay = this.replay.slice(done);
  }

  private finish(cookie: number, status: BlockStatus): void {
    if (this.slowCookies.size > 0) this.slowCookies.delete(cookie);
    this.onComplete(cookie, status);
  }

  private tellDrained(): void {
    const then = this.onDrained;
    this.onDrained = undefined;
    this.detach(); // nothing more is taken on this connection
    then?.();
  }

  private tellBroken(error: ProtocolError): void {
    if (this.isBrokenTold) return;
    this.isBrokenTold = true;
    this.onBroken(error);
  }
}

function addCounters(total: BlockCounters, more: BlockCounters): void {
  total.requests += more.requests;
  total.notificationsSent += more.notificationsSent;
  total.publishes += more.publishes;
}
