// The queues of a controller: made and deleted by admin commands, and the way completions get back.
import type { BusMaster } from '@splitring/hypervisor';
import { CompletionQueue, SubmissionQueue } from './nvme-queues.ts';
import { STATUS } from './nvme-registers.ts';

/** What Create I/O … Queue commands ask for. */
export interface QueueRequest {
  /** Queue id. */
  readonly id: number;
  /** Entries. */
  readonly entries: number;
  /** First bus page. */
  readonly firstPage: number;
}

interface Late {
  readonly sq: SubmissionQueue;
  readonly commandId: number;
  readonly status: number;
  readonly result: number;
}

/** All queues of one controller. Queue pair 0 is the admin pair. */
export class QueueSet {
  /** Submission queues that exist, admin first. */
  readonly active: SubmissionQueue[] = [];
  /** A completion could not be written: CSTS.CFS. */
  isFatal = false;
  private readonly master: BusMaster;
  private readonly limits: { readonly pairs: number; readonly entries: number; readonly vectors: number };
  private readonly sqs: (SubmissionQueue | undefined)[] = [];
  private readonly cqs: (CompletionQueue | undefined)[] = [];
  private late: Late[] = [];

  /** @param limits I/O queue pairs, entries per queue, MSI-X vectors */
  constructor(
    master: BusMaster,
    limits: { readonly pairs: number; readonly entries: number; readonly vectors: number },
  ) {
    this.master = master;
    this.limits = limits;
  }

  /** Forget all queues. */
  reset(): void {
    for (const sq of this.active) sq.isDeleted = true;
    this.active.length = 0;
    this.sqs.length = 0;
    this.cqs.length = 0;
    this.late = [];
    this.isFatal = false;
  }

  /** Make the admin pair when the controller is enabled. */
  createAdmin(sq: { entries: number; firstPage: number }, cq: { entries: number; firstPage: number }): void {
    const completion = new CompletionQueue(this.master, { id: 0, ...cq, vector: 0, isInterrupting: true });
    this.cqs[0] = completion;
    this.addSq(new SubmissionQueue(this.master, { id: 0, ...sq, cq: completion }));
  }

  /** Create I/O Completion Queue. §5.3 @returns a status */
  createCq(request: QueueRequest, vector: number, isInterrupting: boolean): number {
    if (request.id === 0 || request.id > this.limits.pairs || this.cqs[request.id] !== undefined) {
      return STATUS.invalidQueueId;
    }
    if (request.entries < 2 || request.entries > this.limits.entries) return STATUS.invalidQueueSize;
    if (isInterrupting && vector >= this.limits.vectors) return STATUS.invalidInterruptVector;
    this.cqs[request.id] = new CompletionQueue(this.master, { ...request, vector, isInterrupting });
    return STATUS.success;
  }

  /** Create I/O Submission Queue. §5.4 @returns a status */
  createSq(request: QueueRequest, cqId: number): number {
    if (request.id === 0 || request.id > this.limits.pairs || this.sqs[request.id] !== undefined) {
      return STATUS.invalidQueueId;
    }
    if (request.entries < 2 || request.entries > this.limits.entries) return STATUS.invalidQueueSize;
    const cq = this.cqs[cqId];
    if (cqId === 0 || cq === undefined) return STATUS.invalidCompletionQueue;
    this.addSq(new SubmissionQueue(this.master, { ...request, cq }));
    return STATUS.success;
  }

  /** Delete I/O Submission Queue: its commands are given up. §5.6 @returns a status */
  deleteSq(id: number): number {
    const sq = this.sqs[id];
    if (id === 0 || sq === undefined) return STATUS.invalidQueueId;
    sq.isDeleted = true;
    sq.cq.users--;
    this.sqs[id] = undefined;
    this.active.splice(this.active.indexOf(sq), 1);
    return STATUS.success;
  }

  /** Delete I/O Completion Queue, once no submission queue uses it. §5.5 @returns a status */
  deleteCq(id: number): number {
    const cq = this.cqs[id];
    if (id === 0 || cq === undefined) return STATUS.invalidQueueId;
    if (cq.users > 0) return STATUS.invalidQueueDeletion;
    this.cqs[id] = undefined;
    return STATUS.success;
  }

  /** The submission queue with this id. */
  sq(id: number): SubmissionQueue | undefined {
    return this.sqs[id];
  }

  /** The driver writes doorbell number `index`: even ones are tails, odd ones heads. A value past the end is ignored. */
  ring(index: number, value: number): boolean {
    const id = index >>> 1;
    if ((index & 1) === 0) {
      const sq = this.sqs[id];
      if (sq === undefined || value >= sq.entries) return false;
      sq.tail = value;
      return true;
    }
    const cq = this.cqs[id];
    if (cq === undefined || value >= cq.entries) return false;
    cq.head = value;
    if (value === cq.tail && cq.isInterrupting) this.master.withdraw(cq.vector);
    return true;
  }

  /** Complete a command; kept for later when its completion queue is full. */
  complete(sq: SubmissionQueue, commandId: number, status: number, result: number): void {
    if (sq.isDeleted) return;
    sq.cq.begin();
    if (sq.cq.room === 0) this.late.push({ sq, commandId, status, result });
    else if (!sq.cq.post(sq.id, sq.head, commandId, status, result)) this.isFatal = true;
  }

  /** Post completions that found their queue full. @returns whether any was posted */
  retryLate(): boolean {
    if (this.late.length === 0) return false;
    const waiting = this.late;
    this.late = [];
    for (const each of waiting) this.complete(each.sq, each.commandId, each.status, each.result);
    return this.late.length < waiting.length;
  }

  /** Whether completions wait for room. */
  get hasLate(): boolean {
    return this.late.length > 0;
  }

  /** Raise one interrupt for each completion queue that got entries. */
  interrupt(): void {
    const { active } = this;
    for (let i = 0; i < active.length; i++) {
      const { cq } = active[i] as SubmissionQueue; // i < length
      if (!cq.needsInterrupt) continue;
      cq.needsInterrupt = false;
      if (cq.isInterrupting) this.master.interrupt(cq.vector);
    }
  }

  private addSq(sq: SubmissionQueue): void {
    this.sqs[sq.id] = sq;
    sq.cq.users++;
    this.active.push(sq);
  }
}
