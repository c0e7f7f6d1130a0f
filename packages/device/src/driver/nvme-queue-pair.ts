// hot path: bench/block
// The driver's side of one I/O queue pair: tags, submission entries, PRP lists, completions.
// NVM Express base specification 1.4 §4 (queues, PRPs), §6 (NVM commands).
import type { FrameRun, Mmio } from '@splitring/hypervisor';
import { BLOCK_OP, BLOCK_STATUS, type BlockCommand, type BlockStatus } from '../block-device.ts';
import {
  CQE_WORDS,
  DSM_DEALLOCATE,
  FORCE_UNIT_ACCESS,
  NVM,
  NVME_REG,
  SQE_WORDS,
  STATUS,
} from '../nvme/nvme-registers.ts';

/** Pages one PRP list of ours holds, and therefore pages one command carries. */
export const MAX_COMMAND_PAGES = 256;
/** Most logical blocks of one command (16 bits, zero-based). */
const MAX_COMMAND_BLOCKS = 65_536;
const LIST_WORDS = 512; // 2 KiB a tag: 256 entries of 8 bytes

/** Who asked for a command. */
export interface TagOwner {
  /** Namespace that the owner's commands go to. */
  readonly nsid: number;
  /** log2 of sectors (512 bytes) per logical block. */
  readonly sectorShift: number;
  /** Told once per command. */
  onComplete: (cookie: number, status: BlockStatus) => void;
}

/** Memory a queue pair needs, in frames: submission queue of `entries`, completion queue of twice as many, PRP lists. */
export function queuePairFrames(entries: number): { readonly sq: number; readonly cq: number; readonly lists: number } {
  return { sq: Math.ceil(entries / 64), cq: Math.ceil(entries / 128), lists: Math.ceil(entries / 2) };
}

/** The block status for an NVMe status field. */
export function blockStatus(status: number): BlockStatus {
  switch (status & 0x7ff) {
    case STATUS.success:
      return BLOCK_STATUS.okay;
    case STATUS.capacityExceeded:
      return BLOCK_STATUS.outOfSpace;
    case STATUS.namespaceWriteProtected:
      return BLOCK_STATUS.readOnly;
    case STATUS.lbaOutOfRange:
      return BLOCK_STATUS.outOfRange;
    case STATUS.invalidOpcode:
      return BLOCK_STATUS.unsupported;
    case STATUS.abortRequested: // by ourselves, for want of an answer
      return BLOCK_STATUS.timedOut;
    case STATUS.abortedSqDeletion:
      return BLOCK_STATUS.aborted;
    default:
      return BLOCK_STATUS.error;
  }
}

/** One command in flight, or a free tag. What is known of it lies together: a read of the medium has evicted it. */
class Tag {
  owner: TagOwner | undefined = undefined;
  cookie = 0;
  /** How often the watchdog has seen the command. */
  age = 0;
  /** Blocks still to zero or discard after the piece in flight, where they start, and how. */
  moreBlocks = 0;
  moreStart = 0;
  rangeOp = 0;
  rangeFlags = 0;
}

/** One I/O queue pair. */
export class NvmeQueuePair {
  /** Queue id. */
  readonly id: number;
  /** Entries of the submission queue. */
  readonly entries: number;
  /** Entries of the completion queue. */
  readonly cqEntries: number;
  /** First bus page of the submission queue. */
  readonly sqPage: number;
  /** First bus page of the completion queue. */
  readonly cqPage: number;
  /** Completions that named no command in flight: the device is broken. */
  strayCompletions = 0;
  private readonly registers: Mmio;
  private readonly isRemote: boolean;
  private readonly sq: Int32Array;
  private readonly cq: Int32Array;
  private readonly lists: Int32Array;
  private readonly listPage: number;
  private sqTail = 0;
  private rungTail = 0;
  private cqHead = 0;
  private phase = 1;
  private unacknowledged = 0;
  private readonly tags: readonly Tag[];
  private readonly freeList: Int32Array;
  private free: number;
  /** Free tags while the controller is being reset and nothing may be submitted. */
  private parked: number;

  /** Use `memory`: as many frames as queuePairFrames() tells, zeroed, contiguous. */
  constructor(id: number, entries: number, memory: FrameRun, registers: Mmio) {
    const frames = queuePairFrames(entries);
    const { buffer, byteOffset } = memory.bytes;
    this.id = id;
    this.entries = entries;
    this.cqEntries = entries * 2;
    this.registers = registers;
    this.isRemote = registers.isRemote;
    this.sqPage = memory.first;
    this.cqPage = memory.first + frames.sq;
    this.listPage = memory.first + frames.sq + frames.cq;
    this.sq = new Int32Array(buffer, byteOffset, frames.sq * 1024);
    this.cq = new Int32Array(buffer, byteOffset + frames.sq * 4096, frames.cq * 1024);
    this.lists = new Int32Array(buffer, byteOffset + (frames.sq + frames.cq) * 4096, frames.lists * 1024);
    const tags = entries - 1; // one entry stays empty, so the queue never overflows
    this.tags = Array.from({ length: tags }, () => new Tag());
    this.parked = 0;
    this.freeList = Int32Array.from({ length: tags }, (_, tag) => tags - 1 - tag);
    this.free = tags;
  }

  /** Tags not in flight. */
  get freeTags(): number {
    return this.free;
  }

  /** Commands staged or with the device. */
  get inFlight(): number {
    return this.entries - 1 - this.free;
  }

  /** Stage a command. @returns false if no tag is free */
  submit(owner: TagOwner, command: BlockCommand): boolean {
    if (this.free === 0) return false;
    const tag = this.freeList[--this.free] as number; // free ≤ tags
    const record = this.tags[tag] as Tag; // it was free
    record.owner = owner;
    record.cookie = command.cookie;
    record.age = 0;
    if (command.op <= BLOCK_OP.write) {
      this.stageTransfer(tag, owner, command);
    } else if (command.op === BLOCK_OP.flush) {
      this.stage(tag, NVM.flush, owner.nsid, 0, 0);
    } else {
      record.moreBlocks = command.sectors >>> owner.sectorShift;
      record.moreStart = command.startSector / 2 ** owner.sectorShift;
      record.rangeOp = command.op;
      record.rangeFlags = command.isForceUnitAccess ? FORCE_UNIT_ACCESS : 0;
      this.stageRange(tag, record, owner);
    }
    return true;
  }

  /** Ring the doorbell if anything was staged since the last time. */
  kick(): void {
    if (this.rungTail === this.sqTail) return;
    this.rungTail = this.sqTail;
    this.registers.write32(NVME_REG.doorbells + this.id * 8, this.sqTail);
  }

  /** Whether a completion waits. */
  get hasCompletion(): boolean {
    const last = Atomics.load(this.cq, this.cqHead * CQE_WORDS + 3);
    return ((last >>> 16) & 1) === this.phase;
  }

  /** Reap completions, at most a queue full. @returns whether there was any */
  reap(): boolean {
    const { cq, isRemote } = this;
    let reaped = 0;
    while (reaped < this.entries) {
      const at = this.cqHead * CQE_WORDS + 3;
      const last = isRemote ? Atomics.load(cq, at) : (cq[at] as number); // cqHead lies inside the queue
      if (((last >>> 16) & 1) !== this.phase) break;
      if (++this.cqHead === this.cqEntries) {
        this.cqHead = 0;
        this.phase ^= 1;
      }
      reaped++;
      this.finish(last & 0xffff, last >>> 17);
    }
    if (reaped === 0) return false;
    this.unacknowledged += reaped;
    if (this.unacknowledged >= this.entries >>> 1) this.acknowledge();
    this.kick(); // pieces of long commands, and what completions made room for
    return true;
  }

  /**
   * Tell the device which completions were reaped. Done every half queue, which the completion queue, twice as long as
   * the submission queue, has room for, and before the interrupt is armed.
   */
  acknowledge(): void {
    if (this.unacknowledged === 0) return;
    this.unacknowledged = 0;
    this.registers.write32(NVME_REG.doorbells + this.id * 8 + 4, this.cqHead);
  }

  /** The device is gone: everything in flight ends with `status`, each command told once. */
  failAll(status: BlockStatus): void {
    for (const [tag, { owner }] of this.tags.entries()) if (owner !== undefined) this.end(tag, status);
  }

  /** The watchdog looks: every command in flight is one look older. @returns the greatest age */
  growOld(): number {
    let oldest = 0;
    for (const record of this.tags) {
      if (record.owner === undefined) continue;
      record.age += 1;
      oldest = Math.max(oldest, record.age);
    }
    return oldest;
  }

  /** Commands in flight that are at least so old. */
  tagsOfAge(age: number): number[] {
    return [...this.tags.entries()]
      .filter(([, each]) => each.owner !== undefined && each.age >= age)
      .map(([tag]) => tag);
  }

  /**
   * The controller is disabled: end the commands of at least `age` as timed out, keep the others for `resume`, and take
   * nothing until then. The queue's memory is as new.
   */
  park(age: number): void {
    this.reap(); // what was answered before
    for (let gone = this.tagsOfAge(age); gone.length > 0; gone = this.lostTags()) {
      for (const tag of gone) this.end(tag, BLOCK_STATUS.timedOut);
    }
    const kept = [...this.entriesInFlight().values()];
    this.sq.set(kept.flatMap((entry) => [...entry]));
    this.cq.fill(0);
    this.sqTail = kept.length;
    this.rungTail = kept.length;
    this.cqHead = 0;
    this.phase = 1;
    this.unacknowledged = 0;
    for (const record of this.tags) record.age = 0;
    this.parked = this.free;
    this.free = 0;
  }

  /** The queues exist again: submit what was kept. */
  resume(): void {
    this.free = this.parked;
    if (this.sqTail > 0) this.registers.write32(NVME_REG.doorbells + this.id * 8, this.sqTail);
  }

  /** The submission entry of each command in flight, oldest first; an old one may have been overwritten. */
  private entriesInFlight(): Map<number, Int32Array> {
    const found: [number, Int32Array][] = [];
    const seen = new Set<number>();
    for (let back = 1; back <= this.entries; back++) {
      const at = ((this.sqTail - back + this.entries) % this.entries) * SQE_WORDS;
      const tag = (this.sq[at] as number) >>> 16; // in range
      if (this.tags[tag]?.owner === undefined || seen.has(tag)) continue;
      seen.add(tag);
      found.push([tag, this.sq.slice(at, at + SQE_WORDS)]);
    }
    return new Map(found.reverse());
  }

  private lostTags(): number[] {
    const known = this.entriesInFlight();
    return this.tagsOfAge(0).filter((tag) => !known.has(tag));
  }

  private end(tag: number, status: BlockStatus): void {
    const record = this.tags[tag] as Tag; // the caller's tags are in range
    const { owner, cookie } = record;
    record.moreBlocks = 0;
    this.release(tag, record);
    owner?.onComplete(cookie, status);
  }

  private finish(tag: number, status: number): void {
    const record = this.tags[tag];
    const owner = record?.owner;
    if (record === undefined || owner === undefined) {
      this.strayCompletions++;
      return;
    }
    if (record.moreBlocks !== 0) {
      if (status === 0) {
        record.age = 0;
        this.stageRange(tag, record, owner);
        return;
      }
      record.moreBlocks = 0;
    }
    this.release(tag, record);
    owner.onComplete(record.cookie, status === 0 ? BLOCK_STATUS.okay : blockStatus(status));
  }

  private release(tag: number, record: Tag): void {
    record.owner = undefined;
    this.freeList[this.free++] = tag;
  }

  private stageTransfer(tag: number, owner: TagOwner, command: BlockCommand): void {
    const { sq } = this;
    const at = this.sqTail * SQE_WORDS;
    const pages = command.busPages;
    const first = pages[0] as number; // a transfer touches at least one page
    const shift = owner.sectorShift;
    const start = shift === 0 ? command.startSector : command.startSector / 8;
    sq[at] = (command.op === BLOCK_OP.read ? NVM.read : NVM.write) | (tag << 16);
    sq[at + 1] = owner.nsid;
    sq[at + 6] = (first << 12) | command.firstOffset;
    sq[at + 7] = first >>> 20;
    if (command.pageCount === 2) {
      const second = pages[1] as number; // pageCount is 2
      sq[at + 8] = second << 12;
      sq[at + 9] = second >>> 20;
    } else if (command.pageCount > 2) {
      this.writeList(tag, pages, command.pageCount);
      const list = this.listPage + (tag >>> 1);
      sq[at + 8] = (list << 12) | ((tag & 1) << 11);
      sq[at + 9] = list >>> 20;
    }
    sq[at + 10] = start;
    sq[at + 11] = start < 2 ** 32 ? 0 : Math.floor(start / 2 ** 32);
    sq[at + 12] = ((command.sectors >>> shift) - 1) | (command.isForceUnitAccess ? FORCE_UNIT_ACCESS : 0);
    this.advance();
  }

  private writeList(tag: number, pages: readonly number[], count: number): void {
    const { lists } = this;
    let at = tag * LIST_WORDS;
    for (let i = 1; i < count; i++) {
      const page = pages[i] as number; // i < pageCount
      lists[at] = page << 12;
      lists[at + 1] = page >>> 20;
      at += 2;
    }
  }

  /** Stage the next piece of a write-zeroes or discard command. */
  private stageRange(tag: number, record: Tag, owner: TagOwner): void {
    const start = record.moreStart;
    const blocks = Math.min(record.moreBlocks, MAX_COMMAND_BLOCKS);
    record.moreBlocks -= blocks;
    record.moreStart += blocks;
    const high = Math.floor(start / 2 ** 32);
    if (record.rangeOp !== BLOCK_OP.discard) {
      this.stage(tag, NVM.writeZeroes, owner.nsid, 0, 0);
      this.amend(start, high, (blocks - 1) | record.rangeFlags);
      return;
    }
    const list = tag * LIST_WORDS; // one range of 16 bytes: attributes, blocks, start
    this.lists[list] = 0;
    this.lists[list + 1] = blocks;
    this.lists[list + 2] = start;
    this.lists[list + 3] = high;
    const page = this.listPage + (tag >>> 1);
    this.stage(tag, NVM.datasetManagement, owner.nsid, (page << 12) | ((tag & 1) << 11), page >>> 20);
    this.amend(0, DSM_DEALLOCATE, 0);
  }

  private stage(tag: number, opcode: number, nsid: number, prpLow: number, prpHigh: number): void {
    const { sq } = this;
    const at = this.sqTail * SQE_WORDS;
    sq[at] = opcode | (tag << 16);
    sq[at + 1] = nsid;
    sq[at + 6] = prpLow;
    sq[at + 7] = prpHigh;
    sq[at + 8] = 0;
    sq[at + 9] = 0;
    sq[at + 10] = 0;
    sq[at + 11] = 0;
    sq[at + 12] = 0;
    this.advance();
  }

  /** Fill in dwords 10 … 12 of the entry staged last. */
  private amend(cdw10: number, cdw11: number, cdw12: number): void {
    const at = ((this.sqTail === 0 ? this.entries : this.sqTail) - 1) * SQE_WORDS;
    this.sq[at + 10] = cdw10;
    this.sq[at + 11] = cdw11;
    this.sq[at + 12] = cdw12;
  }

  private advance(): void {
    if (++this.sqTail === this.entries) this.sqTail = 0;
  }
}
