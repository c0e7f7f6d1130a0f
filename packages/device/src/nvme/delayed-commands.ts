// Commands that do not start at once: slow media, stalls, and every fault that a plan decides on.
//
// A delayed command is copied out of its queue when it is fetched and executed when it is due: only then are its pages
// translated and its data moved, so a reset before that drops it whole.
import type { Clock } from '@splitring/hypervisor';
import { type Fault, type FaultOperation, type FaultPlan, faultStatus } from '../media/fault-plan.ts';
import type { DiskTiming } from './disk-timing.ts';
import { type Namespace, nvmeStatus } from './namespace.ts';
import { type NvmeIo, PENDING, startBlock } from './nvme-io.ts';
import type { SubmissionQueue } from './nvme-queues.ts';
import { NVM, SQE_WORDS, STATUS } from './nvme-registers.ts';
import type { QueueSet } from './queue-set.ts';

interface Delayed {
  readonly words: Int32Array;
  readonly sq: SubmissionQueue;
  readonly dueMs: number;
  readonly fault: Fault | undefined;
}

/** Puts timing and faults between the queues and the execution of I/O commands. */
export class DelayedCommands {
  private readonly io: NvmeIo;
  private readonly queues: QueueSet;
  private readonly namespaces: readonly Namespace[];
  private readonly clock: Clock;
  private readonly timing: DiskTiming | undefined;
  private readonly faults: FaultPlan | undefined;
  /** Ordered by due time; stalled ones, due never, at the end. */
  private waiting: Delayed[] = [];

  /** @param of timing, faults or both, and the clock they need */
  constructor(
    io: NvmeIo,
    queues: QueueSet,
    namespaces: readonly Namespace[],
    of: { readonly clock: Clock; readonly timing: DiskTiming | undefined; readonly faults: FaultPlan | undefined },
  ) {
    this.io = io;
    this.queues = queues;
    this.namespaces = namespaces;
    this.clock = of.clock;
    this.timing = of.timing;
    this.faults = of.faults;
    if (of.faults !== undefined) of.faults.release = () => this.release();
  }

  /** Drop everything. */
  reset(): void {
    this.waiting = [];
  }

  /** Commands waiting, stalled ones included. */
  get count(): number {
    return this.waiting.length;
  }

  /** When the next one is due. */
  deadlineMs(): number {
    return this.waiting[0]?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  /** Decide about the entry at `words[at]` and execute it, now or later. @returns a status, or PENDING */
  execute(words: Int32Array, at: number, sq: SubmissionQueue): number {
    const copy = words.slice(at, at + SQE_WORDS);
    const operation = operationOf((copy[0] as number) & 0xff); // copied 16 words
    if (operation === undefined) return this.io.execute(copy, 0, sq);
    const nsid = (copy[1] as number) >>> 0; // as above
    const namespace = this.namespaces[nsid - 1];
    const blockBytes = namespace?.medium.blockBytes ?? 512;
    const hasRange = operation === 'read' || operation === 'write' || ((copy[0] as number) & 0xff) === NVM.writeZeroes;
    const lengthBytes = hasRange ? (((copy[12] as number) & 0xffff) + 1) * blockBytes : 0; // as above
    const position = hasRange ? startBlock(copy, 0) * blockBytes : 0;
    const fault = this.faults?.decide(operation, nsid, position, lengthBytes);
    const kind = fault?.rule.kind;
    const now = this.clock.nowMs();
    let dueMs = this.timing?.finish(operation, lengthBytes, now) ?? now;
    if (kind === 'slow') dueMs += fault?.rule.delayMs ?? 0;
    if (kind === 'stall') dueMs = Number.POSITIVE_INFINITY;
    if (dueMs <= now) return this.start(copy, sq, fault);
    const later = this.waiting.findIndex((each) => each.dueMs > dueMs);
    this.waiting.splice(later < 0 ? this.waiting.length : later, 0, { words: copy, sq, dueMs, fault });
    return PENDING;
  }

  /** Start what is due. @returns whether anything was */
  poll(): boolean {
    if (this.waiting.length === 0 || this.deadlineMs() > this.clock.nowMs()) return false;
    const now = this.clock.nowMs();
    const first = this.waiting.findIndex((each) => each.dueMs > now);
    const due = this.waiting.splice(0, first < 0 ? this.waiting.length : first);
    for (const { words, sq, fault } of due) {
      if (sq.isDeleted) continue;
      const status = this.start(words, sq, fault);
      if (status !== PENDING) this.queues.complete(sq, (words[0] as number) >>> 16, status, 0); // 16 words
    }
    return true;
  }

  /** Give up a command that has not started. @returns whether it was found; it completes as aborted then */
  abort(sq: SubmissionQueue, commandId: number): boolean {
    const at = this.waiting.findIndex((each) => each.sq === sq && (each.words[0] as number) >>> 16 === commandId); // as above
    if (at < 0) return false;
    this.waiting.splice(at, 1);
    this.queues.complete(sq, commandId, STATUS.abortRequested, 0);
    return true;
  }

  /** Let stalled commands start in the next poll. */
  private release(): void {
    const now = this.clock.nowMs();
    const stalled = this.waiting.filter(({ dueMs }) => dueMs === Number.POSITIVE_INFINITY);
    const others = this.waiting.filter(({ dueMs }) => dueMs !== Number.POSITIVE_INFINITY);
    this.waiting = [...stalled.map((each) => ({ ...each, dueMs: now })), ...others];
  }

  private start(words: Int32Array, sq: SubmissionQueue, fault: Fault | undefined): number {
    if (fault?.rule.kind === 'error') return nvmeStatus(faultStatus(fault), ((words[0] as number) & 0xff) !== NVM.read);
    const kind = fault?.rule.kind;
    const isDone = kind === undefined || kind === 'slow' || kind === 'stall' || kind === 'unanswered';
    const status = this.io.execute(words, 0, sq, isDone ? undefined : fault);
    return kind === 'unanswered' ? PENDING : status;
  }
}

function operationOf(opcode: number): FaultOperation | undefined {
  switch (opcode) {
    case NVM.read:
      return 'read';
    case NVM.write:
      return 'write';
    case NVM.flush:
      return 'flush';
    case NVM.writeZeroes:
    case NVM.datasetManagement:
      return 'discard';
    default:
      return undefined;
  }
}
