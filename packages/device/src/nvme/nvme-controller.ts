// hot path: bench/block
// An NVMe controller at its registers. NVM Express base specification 1.4 §3.1 (registers), §7.6 (initialization, reset).
import type { BusMaster, Clock, DeviceModel } from '@splitring/hypervisor';
import type { FaultPlan } from '../media/fault-plan.ts';
import type { Medium } from '../media/medium.ts';
import { DelayedCommands } from './delayed-commands.ts';
import { DiskTiming, type DiskTimingOptions } from './disk-timing.ts';
import { VENDOR_ID } from './identify.ts';
import { Namespace } from './namespace.ts';
import { NvmeAdmin } from './nvme-admin.ts';
import { NvmeIo, PENDING } from './nvme-io.ts';
import type { SubmissionQueue } from './nvme-queues.ts';
import { CC, CSTS, NVME_REG, NVME_VERSION } from './nvme-registers.ts';
import { QueueSet } from './queue-set.ts';
import { BURST } from './transfer-burst.ts';

/** What a controller is made of. */
export interface NvmeOptions {
  /** Media of namespaces 1, 2, …; at least one. They outlive the controller. */
  readonly media: readonly Medium[];
  /** Serial number, ASCII, at most 20 characters. */
  readonly serial?: string;
  /** I/O queue pairs offered, 1 … 63; default 16. */
  readonly queuePairs?: number;
  /** Entries per queue, 2 … 4096; default 1024. */
  readonly queueEntries?: number;
  /** Latency and bandwidth of the media; default as fast as they are. Needs `clock`. */
  readonly timing?: DiskTimingOptions;
  /** Faults on command; none by default. Needs `clock`. */
  readonly faults?: FaultPlan;
  /** Time, for `timing` and `faults`. */
  readonly clock?: Clock;
}

const DEVICE_ID = 0x0010;
const CLASS_NVME = 0x01_08_02;
const BAR_BYTES = 16_384;
const MDTS = 8;
const CAP_TIMEOUT_500MS = 20;

/**
 * An NVMe controller with one or more namespaces. Stepped by the thread that made it; media and their caches outlive it.
 *
 * @example
 * bus.plug(routingId(0, 4, 0), (master) => new NvmeController(master, { media: [new ImageFile({ path })] }));
 */
export class NvmeController implements DeviceModel {
  /** Identity for configuration space. */
  readonly identity: DeviceModel['identity'];
  /** The namespaces, by nsid − 1. */
  readonly namespaces: readonly Namespace[];
  /** Commands completed since power-on. */
  commands = 0;
  /** Doorbell writes that named no queue or lay past its end. */
  invalidDoorbells = 0;
  private readonly queues: QueueSet;
  private readonly io: NvmeIo;
  private readonly admin: NvmeAdmin;
  private readonly delayed: DelayedCommands | undefined;
  private readonly maxEntries: number;
  /** A doorbell rang, or the last poll did something: there may be more. */
  private isRung = false;
  private cc = 0;
  private csts = 0;
  private aqa = 0;
  private readonly adminBases = new Uint32Array(4); // ASQ low, high, ACQ low, high

  /** @throws RangeError without media, or for limits out of range */
  constructor(master: BusMaster, options: NvmeOptions) {
    const pairs = options.queuePairs ?? 16;
    this.maxEntries = options.queueEntries ?? 1024;
    if (options.media.length === 0 || pairs < 1 || pairs > 63 || this.maxEntries < 2 || this.maxEntries > 4096) {
      throw new RangeError('Cannot make an NVMe controller: at least one medium, 1 … 63 queue pairs, 2 … 4096 entries');
    }
    this.namespaces = options.media.map((medium, index) => new Namespace(index + 1, medium));
    this.identity = {
      vendorId: VENDOR_ID,
      deviceId: DEVICE_ID,
      classCode: CLASS_NVME,
      barBytes: [BAR_BYTES],
      vectors: pairs + 1,
    };
    this.queues = new QueueSet(master, { pairs, entries: this.maxEntries, vectors: pairs + 1 });
    this.io = new NvmeIo(master, this.namespaces, this.queues);
    this.delayed = this.makeDelayed(options);
    const serial = options.serial ?? 'SPLITRING0';
    this.admin = new NvmeAdmin(this.io, this.queues, this.namespaces, {
      serial,
      pairs,
      mdts: MDTS,
      abort: (sq, commandId) => (this.delayed?.abort(sq, commandId) ?? false) || this.io.abort(sq, commandId),
    });
  }

  /** Read a register of BAR 0. */
  read32(bar: number, offset: number): number {
    if (bar !== 0) return 0;
    switch (offset) {
      case NVME_REG.capLow:
        return ((this.maxEntries - 1) | (1 << 16) | (CAP_TIMEOUT_500MS << 24)) >>> 0;
      case NVME_REG.capHigh:
        return 1 << 5; // CSS: NVM command set; DSTRD 0, MPSMIN and MPSMAX 4 KiB
      case NVME_REG.vs:
        return NVME_VERSION;
      case NVME_REG.cc:
        return this.cc >>> 0;
      case NVME_REG.csts:
        return (this.csts | (this.queues.isFatal ? CSTS.fatal : 0)) >>> 0;
      case NVME_REG.aqa:
        return this.aqa >>> 0;
      case NVME_REG.asqLow:
      case NVME_REG.asqHigh:
      case NVME_REG.acqLow:
      case NVME_REG.acqHigh:
        return this.adminBases[(offset - NVME_REG.asqLow) >>> 2] ?? 0;
      default:
        return 0;
    }
  }

  /** Write a register of BAR 0. */
  write32(bar: number, offset: number, value: number): void {
    if (bar !== 0) return;
    if (offset >= NVME_REG.doorbells) {
      this.ring((offset - NVME_REG.doorbells) >>> 2, value & 0xffff);
      return;
    }
    switch (offset) {
      case NVME_REG.cc:
        this.configure(value);
        break;
      case NVME_REG.aqa:
        if (!this.isEnabled) this.aqa = value & 0x0fff_0fff;
        break;
      case NVME_REG.asqLow:
      case NVME_REG.asqHigh:
      case NVME_REG.acqLow:
      case NVME_REG.acqHigh:
        if (!this.isEnabled) this.adminBases[(offset - NVME_REG.asqLow) >>> 2] = value;
        break;
      default: // read-only and reserved registers; INTMS and INTMC mean nothing with MSI-X
    }
  }

  /** Fetch and execute commands, at most a burst of each queue; finish what is due; interrupt once per queue. */
  poll(): boolean {
    if (!this.isRung && !this.io.hasWork && this.delayed === undefined) return false;
    if (!this.isRunning) return false;
    let didWork = this.queues.retryLate();
    const { active } = this.queues;
    for (let i = 0; i < active.length; i++) {
      const sq = active[i] as SubmissionQueue; // i < length
      if (sq.head !== sq.tail) didWork = this.serve(sq) || didWork;
    }
    if (this.delayed !== undefined) didWork = this.delayed.poll() || didWork;
    didWork = this.io.poll() || didWork;
    this.queues.interrupt();
    this.isRung = didWork || this.queues.hasLate;
    return didWork;
  }

  /** Whether commands are under way. */
  isBusy(): boolean {
    return this.io.isBusy || (this.delayed?.count ?? 0) > 0;
  }

  /** Whether a flush waits for the event loop. */
  needsEventLoop(): boolean {
    return this.io.outstanding > 0;
  }

  /** Clock time of the next timed work. */
  deadlineMs(): number {
    return this.delayed?.deadlineMs() ?? Number.POSITIVE_INFINITY;
  }

  /** Function level reset: registers at defaults, commands in flight dropped; media and their caches stay. */
  reset(): void {
    this.resetQueues();
    this.cc = 0;
    this.csts = 0;
    this.aqa = 0;
    this.adminBases.fill(0);
  }

  /** Look at the size of a namespace's medium again and tell the driver if it changed. */
  resample(nsid: number): void {
    const namespace = this.namespaces[nsid - 1];
    if (namespace === undefined) return;
    const blocks = Math.floor(namespace.medium.resample() / namespace.medium.blockBytes);
    if (blocks === namespace.blocks) return;
    namespace.blocks = blocks;
    if (this.isRunning) {
      this.admin.namespaceChanged(nsid);
      this.isRung = true;
    }
  }

  private get isEnabled(): boolean {
    return (this.cc & CC.enable) !== 0;
  }

  private get isRunning(): boolean {
    return (this.csts & CSTS.ready) !== 0 && !this.queues.isFatal;
  }

  private makeDelayed(options: NvmeOptions): DelayedCommands | undefined {
    const { clock, faults } = options;
    if (options.timing === undefined && faults === undefined) return undefined;
    if (clock === undefined) throw new RangeError('Cannot make an NVMe controller: timing and faults need a clock');
    const timing = options.timing === undefined ? undefined : new DiskTiming(options.timing);
    return new DelayedCommands(this.io, this.queues, this.namespaces, { clock, timing, faults });
  }

  /**
   * A doorbell. A tail is served at once, a burst of it: the driver that rang finds its completions when it looks next,
   * without a turn of the loop in between. The rest, and the interrupt, wait for poll().
   */
  private ring(index: number, value: number): void {
    if (!this.isRunning || !this.queues.ring(index, value)) {
      this.invalidDoorbells++;
      return;
    }
    this.isRung = true;
    const sq = (index & 1) === 0 ? this.queues.sq(index >>> 1) : undefined;
    if (sq !== undefined && sq.id !== 0) this.serve(sq);
  }

  /** Fetch and execute as many commands as a burst and the room in the completion queue allow. */
  private serve(sq: SubmissionQueue): boolean {
    if (this.queues.hasLate) return false;
    const count = Math.min(BURST, sq.waiting, sq.cq.room);
    if (count <= 0) return false;
    sq.begin();
    this.commands += count;
    // A driver on another thread goes on with each completion; one on ours waits for all of them anyway.
    const isPlain = sq.id !== 0 && this.delayed === undefined && !sq.cq.isDriverRemote;
    const isReached = isPlain ? this.serveBurst(sq, count) : this.serveSingly(sq, count);
    if (!isReached) this.queues.isFatal = true; // the queue itself is out of reach
    return true;
  }

  private serveBurst(sq: SubmissionQueue, count: number): boolean {
    const { io } = this;
    let staged = 0;
    while (staged < count) {
      const words = sq.fetch();
      if (words === undefined) break;
      io.stage(staged, words, sq.at, sq);
      staged++;
    }
    io.move(staged, sq);
    return io.complete(staged, sq) && staged === count;
  }

  private serveSingly(sq: SubmissionQueue, count: number): boolean {
    for (let served = 0; served < count; served++) {
      const words = sq.fetch();
      if (words === undefined) return false;
      const { at } = sq;
      const commandId = (words[at] as number) >>> 16; // at lies inside the page
      const status = sq.id === 0 ? this.admin.execute(words, at, sq) : this.executeIo(words, at, sq);
      if (status !== PENDING && !sq.cq.post(sq.id, sq.head, commandId, status, 0)) return false;
    }
    return true;
  }

  private executeIo(words: Int32Array, at: number, sq: SubmissionQueue): number {
    return this.delayed === undefined ? this.io.execute(words, at, sq) : this.delayed.execute(words, at, sq);
  }

  /** Write CC: enable, disable (a controller reset), shut down. §3.1.5, §7.3, §7.6.2 */
  private configure(value: number): void {
    const was = this.cc;
    this.cc = value & 0x00ff_fff1;
    const isEnabled = (value & CC.enable) !== 0;
    if (isEnabled && (was & CC.enable) === 0) this.enable();
    if (!isEnabled && (was & CC.enable) !== 0) {
      this.resetQueues();
      this.csts = 0;
    }
    if (isEnabled && (value & CC.shnMask) !== 0 && (was & CC.shnMask) === 0) this.shutDown();
  }

  private enable(): void {
    const sqEntries = (this.aqa & 0xfff) + 1;
    const cqEntries = ((this.aqa >>> 16) & 0xfff) + 1;
    const [asqLow = 0, asqHigh = 0, acqLow = 0, acqHigh = 0] = this.adminBases;
    const isSupported = (this.cc & (CC.cssMask | CC.mpsMask | CC.amsMask)) === 0;
    const isPlaced = ((asqLow | acqLow) & 0xfff) === 0 && asqHigh >>> 10 === 0 && acqHigh >>> 10 === 0;
    if (!isSupported || !isPlaced || sqEntries < 2 || cqEntries < 2) {
      this.csts = CSTS.fatal;
      return;
    }
    this.queues.createAdmin(
      { entries: sqEntries, firstPage: (asqHigh << 20) | (asqLow >>> 12) },
      { entries: cqEntries, firstPage: (acqHigh << 20) | (acqLow >>> 12) },
    );
    this.csts = CSTS.ready;
  }

  /** Flush every medium, then report that the shutdown is complete. */
  private shutDown(): void {
    this.csts |= CSTS.shstOccurring;
    this.io.flushAll(() => {
      this.csts = (this.csts & ~CSTS.shstMask) | CSTS.shstComplete;
    });
  }

  private resetQueues(): void {
    this.queues.reset();
    this.io.reset();
    this.delayed?.reset();
    this.admin.reset();
  }
}
