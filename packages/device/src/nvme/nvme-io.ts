// hot path: bench/block
// The NVM command set: read, write, flush, write zeroes, dataset management. NVM Express base specification 1.4 §6.
import type { BusMaster } from '@splitring/hypervisor';
import type { Fault } from '../media/fault-plan.ts';
import { FaultyMedium } from '../media/faulty-medium.ts';
import { MEDIUM_STATUS, type MediumStatus } from '../media/medium.ts';
import { Namespace, nvmeStatus } from './namespace.ts';
import type { SubmissionQueue } from './nvme-queues.ts';
import { DSM_DEALLOCATE, FORCE_UNIT_ACCESS, NSID_ALL, NVM, STATUS } from './nvme-registers.ts';
import { MAX_TRANSFER_BYTES, PrpTransfer } from './prp-transfer.ts';
import type { QueueSet } from './queue-set.ts';
import { BURST, StagedTransfer } from './transfer-burst.ts';

/** Status of a command that completes later. */
export const PENDING = -1;
/** Status of a transfer that is staged, and whose data is still to be moved. */
const STAGED = -2;
/** As STAGED, for a write that is to be durable. */
const STAGED_DURABLE = -3;

const ZERO_SLICE_BYTES = 1 << 20;
const DSM_RANGE_BYTES = 16;
const MAX_BLOCKS_HIGH = 2 ** 21; // above, a block number is no safe integer

/** A command whose medium work was handed off, or that goes on in slices. */
interface Ongoing {
  readonly sq: SubmissionQueue;
  readonly commandId: number;
  readonly epoch: number;
}

/** Zeroing in slices: [positionBytes, lengthBytes] pairs still to do. */
interface Zeroing extends Ongoing {
  readonly namespace: Namespace;
  readonly ranges: { position: number; left: number }[];
  readonly isDurable: boolean;
}

/** Executes I/O commands of one controller. */
export class NvmeIo {
  /** Whether the volatile write cache is on (feature 06h). Off: every write is durable before it completes. */
  isCacheOn = true;
  /** Medium operations that only the event loop can finish. */
  outstanding = 0;
  /** Scratch of the command at hand, shared with the admin commands. */
  readonly transfer: PrpTransfer;
  private readonly namespaces: readonly Namespace[];
  private readonly queues: QueueSet;
  private epoch = 0;
  private zeroing: Zeroing[] = [];
  private finished: (Ongoing & { readonly status: number })[] = [];
  /** The commands at hand: who they are, what became of them, and the transfers among them. */
  private readonly commandIds = new Int32Array(BURST);
  private readonly statuses = new Int32Array(BURST);
  private readonly transfers: readonly StagedTransfer[] = Array.from({ length: BURST }, () => new StagedTransfer());
  private moved = 0;
  private readonly rangeBytes = new Uint8Array(4096);

  /** Execute against `namespaces`, whose index is nsid − 1. */
  constructor(master: BusMaster, namespaces: readonly Namespace[], queues: QueueSet) {
    this.transfer = new PrpTransfer(master);
    this.namespaces = namespaces;
    this.queues = queues;
  }

  /** Drop everything in flight: late results of the medium are ignored. */
  reset(): void {
    this.epoch++;
    this.zeroing = [];
    this.finished = [];
    this.isCacheOn = true;
  }

  /** Whether commands are under way that no queue entry stands for. */
  get isBusy(): boolean {
    return this.outstanding > 0 || this.zeroing.length > 0 || this.finished.length > 0;
  }

  /** Whether poll() has something to do. */
  get hasWork(): boolean {
    return this.zeroing.length > 0 || this.finished.length > 0;
  }

  /** Go on with what takes several polls. @returns whether anything was done */
  poll(): boolean {
    if (!this.hasWork) return false;
    const { finished } = this;
    this.finished = [];
    for (const { sq, commandId, epoch, status } of finished) {
      if (epoch === this.epoch) this.queues.complete(sq, commandId, status, 0);
    }
    const first = this.zeroing[0];
    if (first !== undefined) this.zeroSlice(first);
    return true;
  }

  /**
   * Execute the entry at `words[at]`.
   * @param fault what goes wrong with its data, if anything
   * @returns a status, or PENDING
   */
  execute(words: Int32Array, at: number, sq: SubmissionQueue, fault?: Fault): number {
    this.stage(0, words, at, sq, fault);
    this.move(1, sq);
    return this.statuses[0] as number; // staged
  }

  /**
   * Take the entry at `words[at]` as command `slot` of a burst, which begins with 0. Each word is read once: the driver may
   * be hostile and on another thread. Reads and writes are checked and translated only; whatever else it is, is executed
   * after what was staged before it.
   */
  stage(slot: number, words: Int32Array, at: number, sq: SubmissionQueue, fault?: Fault): void {
    const command = words[at] as number; // at + SQE_WORDS − 1 lies inside the page
    const opcode = command & 0xffff; // and the bits of fused operations and SGLs, which are not offered
    if (slot === 0) this.moved = 0;
    this.commandIds[slot] = command >>> 16;
    if (opcode === NVM.read || opcode === NVM.write) {
      this.statuses[slot] = this.stageTransfer(slot, words, at, opcode === NVM.write, fault);
    } else {
      this.move(slot, sq);
      this.statuses[slot] = this.executeOther(opcode, command >>> 16, words, at, sq, fault);
    }
  }

  /** Move the data of what is staged before slot `end`. */
  move(end: number, sq: SubmissionQueue): void {
    const { statuses } = this;
    for (let slot = this.moved; slot < end; slot++) {
      const staged = statuses[slot] as number; // slot < BURST
      if (staged === STAGED || staged === STAGED_DURABLE) {
        const transfer = this.transfers[slot] as StagedTransfer; // likewise
        const status = transfer.move();
        if (status !== MEDIUM_STATUS.okay) {
          statuses[slot] = nvmeStatus(status, transfer.isWrite);
        } else if (staged === STAGED) {
          statuses[slot] = STATUS.success;
        } else {
          statuses[slot] = PENDING;
          transfer.persist(this.finisher(sq, this.commandIds[slot] as number)); // likewise
        }
      }
    }
    this.moved = end;
  }

  /** Complete the first `count` commands of the burst, which have moved. @returns false if the queue is out of reach */
  complete(count: number, sq: SubmissionQueue): boolean {
    for (let slot = 0; slot < count; slot++) {
      const status = this.statuses[slot] as number; // slot < BURST
      const commandId = this.commandIds[slot] as number; // likewise
      if (status !== PENDING && !sq.cq.post(sq.id, sq.head, commandId, status, 0)) return false;
    }
    return true;
  }

  /**
   * Give up a command that goes on in slices. One that the medium works on cannot be recalled.
   * @returns whether it was found; it completes as aborted then
   */
  abort(sq: SubmissionQueue, commandId: number): boolean {
    const at = this.zeroing.findIndex((job) => job.sq === sq && job.commandId === commandId);
    if (at < 0) return false;
    this.zeroing.splice(at, 1);
    this.queues.complete(sq, commandId, STATUS.abortRequested, 0);
    return true;
  }

  /** Flush all media; `done` is told the worst outcome, unless the controller is reset first. */
  flushAll(done: (status: MediumStatus) => void): void {
    const { epoch } = this;
    let left = this.namespaces.length;
    let worst: MediumStatus = MEDIUM_STATUS.okay;
    this.outstanding++;
    for (const { medium } of this.namespaces) {
      medium.flush((status) => {
        if (status !== MEDIUM_STATUS.okay) worst = status;
        if (--left > 0) return;
        this.outstanding--;
        if (epoch === this.epoch) done(worst);
      });
    }
  }

  private stageTransfer(slot: number, words: Int32Array, at: number, isWrite: boolean, fault?: Fault): number {
    const namespace = this.namespaceOf(words, at, fault);
    if (namespace === undefined) return STATUS.invalidNamespace;
    const { medium, blockShift } = namespace;
    const slba = startBlock(words, at);
    const control = words[at + 12] as number; // inside the entry
    const blocks = (control & 0xffff) + 1;
    if (slba > namespace.blocks - blocks) return STATUS.lbaOutOfRange;
    if (isWrite && medium.isReadOnly) return STATUS.namespaceWriteProtected;
    const lengthBytes = blocks << blockShift;
    if (lengthBytes > MAX_TRANSFER_BYTES) return STATUS.invalidField;
    const loaded = this.transfer.load(words, at, lengthBytes, !isWrite);
    if (loaded !== STATUS.success) return loaded;
    const staged = this.transfers[slot] as StagedTransfer; // slot < BURST
    staged.stage(this.transfer, medium, slba * medium.blockBytes, isWrite);
    return isWrite && this.mustPersist(control, medium.hasVolatileCache) ? STAGED_DURABLE : STAGED;
  }

  private namespaceOf(words: Int32Array, at: number, fault: Fault | undefined): Namespace | undefined {
    const nsid = (words[at + 1] as number) >>> 0; // inside the entry
    const known = this.namespaces[nsid - 1];
    if (known === undefined || fault === undefined) return known;
    return new Namespace(nsid, new FaultyMedium(known.medium, fault));
  }

  /** Everything but reads and writes. */
  private executeOther(
    opcode: number,
    commandId: number,
    words: Int32Array,
    at: number,
    sq: SubmissionQueue,
    fault: Fault | undefined,
  ): number {
    if (opcode > 0xff) return STATUS.invalidField;
    if (opcode === NVM.flush) return this.flush((words[at + 1] as number) >>> 0, commandId, sq, fault); // inside the entry
    const namespace = this.namespaceOf(words, at, fault);
    if (namespace === undefined) return STATUS.invalidNamespace;
    if (opcode === NVM.writeZeroes) return this.writeZeroes(words, at, namespace, commandId, sq);
    if (opcode === NVM.datasetManagement) return this.datasetManagement(words, at, namespace, commandId, sq);
    return STATUS.invalidOpcode;
  }

  private flush(nsid: number, commandId: number, sq: SubmissionQueue, fault: Fault | undefined): number {
    if (fault?.rule.kind === 'lost') return STATUS.success;
    if (nsid !== NSID_ALL) {
      const namespace = this.namespaces[nsid - 1];
      if (namespace === undefined) return STATUS.invalidNamespace;
      namespace.medium.flush(this.finisher(sq, commandId));
      return PENDING;
    }
    const { epoch } = this;
    this.flushAll((status) => this.finished.push({ sq, commandId, epoch, status: nvmeStatus(status, true) }));
    return PENDING;
  }

  private writeZeroes(
    words: Int32Array,
    at: number,
    namespace: Namespace,
    commandId: number,
    sq: SubmissionQueue,
  ): number {
    const slba = startBlock(words, at);
    const control = words[at + 12] as number; // inside the entry
    const blocks = (control & 0xffff) + 1;
    if (slba > namespace.blocks - blocks) return STATUS.lbaOutOfRange;
    if (namespace.medium.isReadOnly) return STATUS.namespaceWriteProtected;
    const { blockBytes, hasVolatileCache } = namespace.medium;
    const ranges = [{ position: slba * blockBytes, left: blocks * blockBytes }];
    const isDurable = this.mustPersist(control, hasVolatileCache);
    this.zeroing.push({ sq, commandId, epoch: this.epoch, namespace, ranges, isDurable });
    return PENDING;
  }

  private datasetManagement(
    words: Int32Array,
    at: number,
    namespace: Namespace,
    commandId: number,
    sq: SubmissionQueue,
  ): number {
    const count = ((words[at + 10] as number) & 0xff) + 1; // inside the entry
    const isDeallocate = ((words[at + 11] as number) & DSM_DEALLOCATE) !== 0; // as above
    if (!isDeallocate) return STATUS.success; // the other attributes are hints
    if (namespace.medium.isReadOnly) return STATUS.namespaceWriteProtected;
    const loaded = this.transfer.load(words, at, count * DSM_RANGE_BYTES, false);
    if (loaded !== STATUS.success) return loaded;
    this.transfer.copyIn(this.rangeBytes);
    const view = new DataView(this.rangeBytes.buffer);
    const { blockBytes } = namespace.medium;
    const ranges: { position: number; left: number }[] = [];
    for (let i = 0; i < count; i++) {
      const blocks = view.getUint32(i * DSM_RANGE_BYTES + 4, true);
      const slba =
        view.getUint32(i * DSM_RANGE_BYTES + 8, true) + view.getUint32(i * DSM_RANGE_BYTES + 12, true) * 2 ** 32;
      if (slba > namespace.blocks - blocks) return STATUS.lbaOutOfRange;
      if (blocks > 0) ranges.push({ position: slba * blockBytes, left: blocks * blockBytes });
    }
    this.zeroing.push({ sq, commandId, epoch: this.epoch, namespace, ranges, isDurable: false });
    return PENDING;
  }

  /** One slice of the oldest zeroing command; the next command gets its turn in the next poll. */
  private zeroSlice(job: Zeroing): void {
    const range = job.ranges[0];
    let status: MediumStatus = MEDIUM_STATUS.okay;
    if (range !== undefined) {
      const length = Math.min(range.left, ZERO_SLICE_BYTES);
      status = job.namespace.medium.writeZeroes(range.position, length);
      range.position += length;
      range.left -= length;
      if (range.left === 0) job.ranges.shift();
    }
    this.zeroing.shift();
    if (status !== MEDIUM_STATUS.okay) this.queues.complete(job.sq, job.commandId, nvmeStatus(status, true), 0);
    else if (job.ranges.length > 0) this.zeroing.push(job);
    else if (job.isDurable) job.namespace.medium.flush(this.finisher(job.sq, job.commandId));
    else this.queues.complete(job.sq, job.commandId, STATUS.success, 0);
  }

  private mustPersist(control: number, hasVolatileCache: boolean): boolean {
    return hasVolatileCache && ((control & FORCE_UNIT_ACCESS) !== 0 || !this.isCacheOn);
  }

  /** A callback that completes a command in a later poll, unless the controller was reset meanwhile. */
  private finisher(sq: SubmissionQueue, commandId: number): (status: MediumStatus) => void {
    const { epoch } = this;
    this.outstanding++;
    return (status) => {
      this.outstanding--;
      if (epoch === this.epoch) this.finished.push({ sq, commandId, epoch, status: nvmeStatus(status, true) });
    };
  }
}

/** The starting block of a command (dwords 10 and 11); Infinity where it is no safe integer. */
export function startBlock(words: Int32Array, at: number): number {
  const low = (words[at + 10] as number) >>> 0; // inside the entry
  const high = (words[at + 11] as number) >>> 0; // as above
  if (high === 0) return low;
  return high < MAX_BLOCKS_HIGH ? low + high * 2 ** 32 : Number.POSITIVE_INFINITY;
}
