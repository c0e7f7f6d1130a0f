// hot path: bench/block
// Submission and completion queues as the controller sees them: entries in host memory, reached through the IOMMU.
import type { BusMaster } from '@splitring/hypervisor';
import { CQE_WORDS, SQE_WORDS } from './nvme-registers.ts';

const PAGE_WORDS = 1024;

/** Memory of a physically contiguous queue: translated once per poll and page, viewed once per frame. */
class QueueMemory {
  private readonly master: BusMaster;
  private readonly firstPage: number;
  private readonly frames: Int32Array;
  private readonly views: (Int32Array | undefined)[];
  private epoch: number;
  private current = -1;
  private currentWords: Int32Array | undefined = undefined;

  constructor(master: BusMaster, firstPage: number, pages: number) {
    this.master = master;
    this.epoch = master.viewEpoch;
    this.firstPage = firstPage;
    this.frames = new Int32Array(pages).fill(-1);
    this.views = new Array<Int32Array | undefined>(pages).fill(undefined);
  }

  /** A poll begins: translations from before it count no more. */
  begin(): void {
    this.current = -1;
  }

  /** The words of page `index`, or undefined after a fault. */
  page(index: number, isWrite: boolean): Int32Array | undefined {
    if (index === this.current) return this.currentWords;
    const frame = this.master.translate(this.firstPage + index, isWrite);
    if (frame === -1) return undefined;
    if (this.epoch !== this.master.viewEpoch) {
      this.frames.fill(-1);
      this.epoch = this.master.viewEpoch;
    }
    if (this.frames[index] !== frame) {
      const bytes = this.master.pageBytes(frame);
      this.views[index] = new Int32Array(bytes.buffer, bytes.byteOffset, PAGE_WORDS);
      this.frames[index] = frame;
    }
    this.current = index;
    this.currentWords = this.views[index];
    return this.currentWords;
  }
}

const CQE_SHIFT = 8; // 256 entries of 16 bytes in a page
const SQE_SHIFT = 6; // 64 entries of 64 bytes in a page

/** A completion queue. */
export class CompletionQueue {
  /** Queue id; 0 is the admin queue. */
  readonly id: number;
  /** Entries, one of which stays empty. */
  readonly entries: number;
  /** MSI-X vector. */
  readonly vector: number;
  /** Whether completions interrupt. */
  readonly isInterrupting: boolean;
  /** Submission queues that complete here. */
  users = 0;
  /** Completions were posted since the last interrupt. */
  needsInterrupt = false;
  /** Consumer index, as the driver last told. */
  head = 0;
  /** Next entry to write. */
  tail = 0;
  private phase = 1;
  /** Whether the driver runs on another thread, which may look at any time. */
  readonly isDriverRemote: boolean;
  private readonly memory: QueueMemory;

  /** A queue at bus page `firstPage`. */
  constructor(
    master: BusMaster,
    of: {
      readonly id: number;
      readonly entries: number;
      readonly firstPage: number;
      readonly vector: number;
      readonly isInterrupting: boolean;
    },
  ) {
    this.id = of.id;
    this.entries = of.entries;
    this.vector = of.vector;
    this.isInterrupting = of.isInterrupting;
    this.isDriverRemote = master.isDriverRemote;
    this.memory = new QueueMemory(master, of.firstPage, Math.ceil(of.entries / (1 << CQE_SHIFT)));
  }

  /** A poll begins. */
  begin(): void {
    this.memory.begin();
  }

  /** Entries that are free. */
  get room(): number {
    const used = this.tail - this.head;
    return this.entries - 1 - (used < 0 ? used + this.entries : used);
  }

  /**
   * Write one entry; the caller has seen that the queue is not full. The word with the phase bit is stored last, and
   * atomically if a driver on another thread may be looking.
   * @returns false if the entry could not be written (IOMMU fault): the controller is dead then
   */
  post(sqId: number, sqHead: number, commandId: number, status: number, result: number): boolean {
    const words = this.memory.page(this.tail >>> CQE_SHIFT, true);
    if (words === undefined) return false;
    const at = (this.tail & ((1 << CQE_SHIFT) - 1)) * CQE_WORDS;
    words[at] = result;
    words[at + 1] = 0;
    words[at + 2] = (sqId << 16) | sqHead;
    const last = (status << 17) | (this.phase << 16) | commandId;
    if (this.isDriverRemote) Atomics.store(words, at + 3, last);
    else words[at + 3] = last;
    if (++this.tail === this.entries) {
      this.tail = 0;
      this.phase ^= 1;
    }
    this.needsInterrupt = true;
    return true;
  }
}

/** A submission queue. */
export class SubmissionQueue {
  /** Queue id; 0 is the admin queue. */
  readonly id: number;
  /** Entries, one of which stays empty. */
  readonly entries: number;
  /** Where its commands complete. */
  readonly cq: CompletionQueue;
  /** Next entry to fetch. */
  head = 0;
  /** One past the last entry, as the driver last told. */
  tail = 0;
  /** Set when the queue was deleted: late completions are dropped. */
  isDeleted = false;
  /** Word index of the entry that `fetch` found. */
  at = 0;
  private readonly memory: QueueMemory;

  /** A queue at bus page `firstPage`. */
  constructor(
    master: BusMaster,
    of: { readonly id: number; readonly entries: number; readonly firstPage: number; readonly cq: CompletionQueue },
  ) {
    this.id = of.id;
    this.entries = of.entries;
    this.cq = of.cq;
    this.memory = new QueueMemory(master, of.firstPage, Math.ceil(of.entries / (1 << SQE_SHIFT)));
  }

  /** A poll begins. */
  begin(): void {
    this.memory.begin();
    this.cq.begin();
  }

  /** Entries not fetched yet. */
  get waiting(): number {
    const ahead = this.tail - this.head;
    return ahead < 0 ? ahead + this.entries : ahead;
  }

  /** Take the next entry: it starts at word `at` of what is returned; undefined after a fault. */
  fetch(): Int32Array | undefined {
    const words = this.memory.page(this.head >>> SQE_SHIFT, false);
    this.at = (this.head & ((1 << SQE_SHIFT) - 1)) * SQE_WORDS;
    this.head = this.head + 1 === this.entries ? 0 : this.head + 1;
    return words;
  }
}
