// The driver's side of the admin queue pair: one command at a time, a page for its data, and one asynchronous event.
import type { FrameRun, Mmio } from '@splitring/hypervisor';
import { ADMIN, CQE_WORDS, NVME_REG, SQE_WORDS } from '../nvme/nvme-registers.ts';

/** Outcome of an admin command. */
export interface AdminResult {
  /** Status field without the phase bit; 0 is success. */
  readonly status: number;
  /** Command-specific result, dword 0. */
  readonly result: number;
}

/** Fields of an admin command. */
export interface AdminFields {
  /** Namespace. */
  readonly nsid?: number;
  /** Bus page of PRP entry 1. */
  readonly page?: number;
  /** Dword 10. */
  readonly cdw10?: number;
  /** Dword 11. */
  readonly cdw11?: number;
}

/** Command ids from here on are asynchronous event requests. */
const EVENT_ID = 0x4000;

/** The admin queue pair of one controller, in three frames: submission, completion, data. */
export class AdminQueue {
  /** The data page. */
  readonly data: DataView;
  /** Its bus page. */
  readonly dataPage: number;
  private readonly sq: Int32Array;
  private readonly cq: Int32Array;
  private readonly entries: number;
  private readonly registers: Mmio;
  private tail = 0;
  private head = 0;
  private phase = 1;
  private nextId = 0;
  private waitingFor = -1;
  private finished: AdminResult | undefined;
  private event: AdminResult | undefined;

  /** Use three zeroed frames. */
  constructor(memory: FrameRun, entries: number, registers: Mmio) {
    const { buffer, byteOffset } = memory.bytes;
    this.sq = new Int32Array(buffer, byteOffset, 1024);
    this.cq = new Int32Array(buffer, byteOffset + 4096, 1024);
    this.data = new DataView(buffer, byteOffset + 8192, 4096);
    this.dataPage = memory.first + 2;
    this.entries = entries;
    this.registers = registers;
  }

  /** Submit a command and ring the doorbell; the one before must have been taken. */
  submit(opcode: number, fields: AdminFields): void {
    this.nextId = (this.nextId + 1) % EVENT_ID;
    this.waitingFor = this.nextId;
    this.finished = undefined;
    this.stage(opcode, this.nextId, fields);
  }

  /** Ask for one asynchronous event; see `takeEvent`. */
  submitEvent(): void {
    this.event = undefined;
    this.stage(ADMIN.asyncEvent, EVENT_ID, {});
  }

  /** The controller was reset: begin anew, with nothing outstanding. */
  reset(): void {
    this.sq.fill(0);
    this.cq.fill(0);
    this.tail = 0;
    this.head = 0;
    this.phase = 1;
    this.waitingFor = -1;
    this.finished = undefined;
    this.event = undefined;
  }

  private stage(opcode: number, id: number, fields: AdminFields): void {
    const at = this.tail * SQE_WORDS;
    const page = fields.page ?? 0;
    this.sq.fill(0, at, at + SQE_WORDS);
    this.sq[at] = opcode | (id << 16);
    this.sq[at + 1] = fields.nsid ?? 0;
    this.sq[at + 6] = page << 12;
    this.sq[at + 7] = page >>> 20;
    this.sq[at + 10] = fields.cdw10 ?? 0;
    this.sq[at + 11] = fields.cdw11 ?? 0;
    this.tail = (this.tail + 1) % this.entries;
    this.registers.write32(NVME_REG.doorbells, this.tail);
  }

  /** Whether a completion waits. */
  get hasCompletion(): boolean {
    return ((Atomics.load(this.cq, this.head * CQE_WORDS + 3) >>> 16) & 1) === this.phase;
  }

  /** Reap completions; those of commands nobody waits for any more are dropped. */
  poll(): boolean {
    let didWork = false;
    for (let i = 0; i < this.entries && this.hasCompletion; i++) {
      const at = this.head * CQE_WORDS;
      const result = this.cq[at] as number; // head < entries
      const last = this.cq[at + 3] as number; // as above
      if ((last & 0xffff) === this.waitingFor) {
        this.waitingFor = -1;
        this.finished = { status: last >>> 17, result };
      } else if ((last & 0xffff) === EVENT_ID) {
        this.event = { status: last >>> 17, result };
      }
      this.head = (this.head + 1) % this.entries;
      if (this.head === 0) this.phase ^= 1;
      didWork = true;
    }
    if (didWork) this.registers.write32(NVME_REG.doorbells + 4, this.head);
    return didWork;
  }

  /** The asynchronous event that was asked for, once. */
  takeEvent(): AdminResult | undefined {
    const { event } = this;
    this.event = undefined;
    return event;
  }

  /** The outcome of the command submitted last, once. */
  takeResult(): AdminResult | undefined {
    const { finished } = this;
    this.finished = undefined;
    return finished;
  }
}
