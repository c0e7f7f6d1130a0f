// The native NVMe driver: brings a controller up, makes queue pairs, offers namespaces as block devices.
// NVM Express base specification 1.4 §7.6.1, "Initialization".
import { type FrameRun, type Kernel, PCI, PCI_COMMAND, type PciFunction, type Stepped } from '@splitring/hypervisor';
import { BLOCK_STATUS } from '../block-device.ts';
import { ADMIN, CC, CSTS, FEATURE, NVME_REG } from '../nvme/nvme-registers.ts';
import { AdminQueue, type AdminResult } from './admin-queue.ts';
import { ABORT_AGE, IoWatchdog, RESET_AGE } from './io-watchdog.ts';
import { type NamespaceInfo, NvmeDisk } from './nvme-disk.ts';
import { BringUpError, identifyAll, identifyOne, type SendAdmin } from './nvme-namespaces.ts';
import { NvmeQueuePair, queuePairFrames } from './nvme-queue-pair.ts';

/** Options of the driver. */
export interface NvmeDriverOptions {
  /** I/O queue pairs to make, fewer if the controller offers fewer; default 1. */
  readonly queuePairs?: number;
  /** Entries per queue; default 256, fewer if the controller allows fewer. */
  readonly queueEntries?: number;
  /** How long an admin command may take; default 10 s. */
  readonly adminTimeoutMs?: number;
  /**
   * How long the device may leave an I/O command unanswered before it is aborted, and, if that does not help, the
   * controller reset; default 30 s. Infinity: for ever.
   */
  readonly ioTimeoutMs?: number;
}

const IOSQES = 6 << 16;
const IOCQES = 4 << 20;
const ADMIN_ENTRIES = 32;
const EVENT_NAMESPACE_CHANGED = 2;
const LOG_CHANGED_NAMESPACES = 0x04;
const CHANGED_LOG_DWORDS = 1024;
/** Polls between two looks of the watchdog while the domain never sleeps; a power of two. */
const LOOK_POLLS = 1024;

interface Pair {
  readonly queue: NvmeQueuePair;
  readonly vector: number;
  isArmed: boolean;
}

/**
 * Drives one controller. Stepped: add it to the kernel, and poll until `state` is no longer `starting`.
 *
 * @example
 * const driver = new NvmeDriver(kernel, kernel.hypercalls.pci.open(rid));
 * kernel.add(driver);
 * // once driver.state === 'ready':
 * const disk = driver.openDisk(1);
 */
export class NvmeDriver implements Stepped {
  /** Where the driver is. `failed` is for good: open the function anew after a reset. */
  state: 'starting' | 'ready' | 'failed' | 'closed' = 'starting';
  /** Why it failed. */
  failure: string | undefined;
  /** Namespaces found. */
  namespaces: readonly NamespaceInfo[] = [];
  /** Abort commands sent for want of an answer. */
  aborts = 0;
  /** Controller resets for want of an answer. */
  resets = 0;
  private readonly kernel: Pick<Kernel, 'hypercalls' | 'clock' | 'onEvent' | 'offEvent'>;
  private readonly pci: PciFunction;
  private readonly registers;
  private readonly options: Required<NvmeDriverOptions>;
  private readonly memory: FrameRun[] = [];
  private readonly pairs: Pair[] = [];
  private readonly disks: NvmeDisk[] = [];
  private readonly ports: ReturnType<PciFunction['bindVector']>[] = [];
  private readonly task: Generator<void, void, void>;
  private admin: AdminQueue | undefined;
  /** The interrupt of the admin queue came. */
  private isAdminRung = false;
  private waitUntilMs = Number.POSITIVE_INFINITY;
  private readonly watchdog: IoWatchdog;
  /** Some command is overdue, and nothing has been done about it yet. */
  private isOverdue = false;
  private polls = 0;

  /** Start bringing up the controller behind `pci`. */
  constructor(
    kernel: Pick<Kernel, 'hypercalls' | 'clock' | 'onEvent' | 'offEvent'>,
    pci: PciFunction,
    options: NvmeDriverOptions = {},
  ) {
    this.kernel = kernel;
    this.pci = pci;
    this.registers = pci.bar(0);
    this.options = { queuePairs: 1, queueEntries: 256, adminTimeoutMs: 10_000, ioTimeoutMs: 30_000, ...options };
    const { ioTimeoutMs } = this.options;
    this.watchdog = new IoWatchdog(() => this.pairs.map(({ queue }) => queue), kernel.clock, ioTimeoutMs);
    this.task = this.run();
  }

  /** I/O queue pairs made. */
  get queuePairs(): number {
    return this.pairs.length;
  }

  /**
   * Open a namespace on one of the queue pairs; the same namespace may be opened on each.
   * @throws RangeError no such namespace or queue pair, or the driver is not ready
   */
  openDisk(nsid: number, queuePair = 0): NvmeDisk {
    const info = this.namespaces.find((each) => each.nsid === nsid);
    const pair = this.pairs[queuePair];
    if (this.state !== 'ready' || info === undefined || pair === undefined) {
      throw new RangeError(`Cannot open namespace ${nsid} on queue pair ${queuePair}: driver is ${this.state}`);
    }
    const disk = new NvmeDisk(info, pair.queue, () => this.armPair(pair));
    this.disks.push(disk);
    return disk;
  }

  /** Bring-up, then completions of every queue pair and asynchronous events. */
  poll(): boolean {
    if (this.state === 'closed' || this.state === 'failed') return false;
    this.polls = (this.polls + 1) % LOOK_POLLS;
    if (this.polls === 0) this.look();
    const isBusy = this.isAdminRung || this.isOverdue || this.isWaiting;
    let didWork = isBusy && this.pollAdmin();
    for (const pair of this.pairs) {
      if (pair.isArmed) this.disarm(pair);
      if (pair.queue.inFlight > 0 && pair.queue.reap()) didWork = true;
    }
    return didWork;
  }

  /** Let every queue pair interrupt. @returns true if completions wait */
  arm(): boolean {
    this.look();
    let hasWork = this.isAdminRung || this.isOverdue;
    for (const pair of this.pairs) hasWork = this.armPair(pair) || hasWork;
    return hasWork;
  }

  /** When an admin command or the bring-up has taken too long, or the watchdog looks. */
  deadlineMs(): number {
    return Math.min(this.waitUntilMs, this.watchdog.nextMs);
  }

  /** Shut the controller down without a flush, end what is in flight as aborted, and give the memory back. */
  close(): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.registers.write32(NVME_REG.cc, 0);
    this.pci.configWrite(PCI.command, 2, PCI_COMMAND.memory); // no bus mastering: nothing reaches our memory any more
    this.endAll(BLOCK_STATUS.aborted);
    for (const port of this.ports) {
      this.kernel.offEvent(port);
      this.kernel.hypercalls.closePort(port);
    }
    for (const run of this.memory) this.kernel.hypercalls.freeFrames(run);
  }

  private get isWaiting(): boolean {
    return this.state === 'starting' || this.waitUntilMs !== Number.POSITIVE_INFINITY;
  }

  private look(): void {
    if (!this.isWaiting && this.watchdog.look()) this.isOverdue = true;
  }

  private pollAdmin(): boolean {
    this.isAdminRung = false;
    const didWork = this.admin?.poll() ?? false;
    this.advance();
    return didWork;
  }

  private advance(): void {
    try {
      this.task.next();
    } catch (error) {
      if (!(error instanceof BringUpError)) throw error;
      this.fail(error.message);
    }
  }

  private fail(why: string): void {
    this.state = 'failed';
    this.failure = why;
    this.endAll(BLOCK_STATUS.error);
  }

  private endAll(status: typeof BLOCK_STATUS.error | typeof BLOCK_STATUS.aborted): void {
    for (const disk of this.disks) disk.detach();
    for (const { queue } of this.pairs) queue.failAll(status);
  }

  private armPair(pair: Pair): boolean {
    if (!pair.isArmed) {
      pair.isArmed = true;
      pair.queue.acknowledge(); // or what was reaped would fire
      this.pci.maskVector(pair.vector, false);
    }
    return pair.queue.hasCompletion;
  }

  private disarm(pair: Pair): void {
    pair.isArmed = false;
    this.pci.maskVector(pair.vector, true);
  }

  /** The whole life, one step per poll. Not hot: I/O goes past it. */
  private *run(): Generator<void, void, void> {
    this.pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
    yield* this.disable();
    const admin = this.setUpAdmin();
    const pairs = yield* this.enable(admin);
    for (let id = 1; id <= pairs; id++) yield* this.createPair(admin, id, this.openPair(id));
    this.namespaces = yield* identifyAll(admin, this.send(admin));
    this.state = 'ready';
    admin.submitEvent();
    for (;;) {
      this.waitUntilMs = Number.POSITIVE_INFINITY;
      yield;
      const event = admin.takeEvent();
      if (event !== undefined) {
        yield* this.serveEvent(admin, event);
        admin.submitEvent();
      }
      if (!this.isOverdue) continue;
      this.isOverdue = false;
      yield* this.recover(admin);
    }
  }

  /** How long the controller says that it may take to be enabled or disabled. */
  private get readyTimeoutMs(): number {
    return Math.max(500, (this.registers.read32(NVME_REG.capLow) >>> 24) * 500);
  }

  private *disable(): Generator<void, void, void> {
    this.registers.write32(NVME_REG.cc, 0);
    const isDisabled = () => (this.registers.read32(NVME_REG.csts) & CSTS.ready) === 0;
    yield* this.waitFor(isDisabled, this.readyTimeoutMs, 'disable');
  }

  /** @returns the number of queue pairs that it grants */
  private *enable(admin: AdminQueue): Generator<void, number, void> {
    this.registers.write32(NVME_REG.cc, CC.enable | IOSQES | IOCQES);
    yield* this.waitFor(() => this.isReadyOrThrow(), this.readyTimeoutMs, 'enable');
    return yield* this.negotiateQueues(admin);
  }

  /** Commands are overdue: abort them, and reset the controller when that has not helped. §5.1, §7.3.1 */
  private *recover(admin: AdminQueue): Generator<void, void, void> {
    const mustReset = this.pairs.some(({ queue }) => queue.tagsOfAge(RESET_AGE).length > 0);
    if (!mustReset && (yield* this.abortOverdue(admin))) return;
    this.resets += 1;
    yield* this.disable();
    for (const { queue } of this.pairs) queue.park(ABORT_AGE);
    admin.reset();
    if ((yield* this.enable(admin)) < this.pairs.length) throw new BringUpError('the reset has taken queue pairs away');
    for (const { queue } of this.pairs) yield* this.createPair(admin, queue.id, queue);
    for (const { queue } of this.pairs) queue.resume();
    admin.submitEvent();
  }

  /** @returns false if the controller does not take aborts any more */
  private *abortOverdue(admin: AdminQueue): Generator<void, boolean, void> {
    for (const { queue } of this.pairs) {
      for (const tag of queue.tagsOfAge(ABORT_AGE)) {
        this.aborts += 1;
        try {
          yield* this.command(admin, ADMIN.abort, 'abort a command', { cdw10: queue.id | (tag << 16) });
        } catch (error) {
          if (error instanceof BringUpError) return false;
          throw error;
        }
      }
    }
    return true;
  }

  private isReadyOrThrow(): boolean {
    const csts = this.registers.read32(NVME_REG.csts);
    if ((csts & CSTS.fatal) !== 0) throw new BringUpError('the controller reports a fatal status');
    return (csts & CSTS.ready) !== 0;
  }

  private setUpAdmin(): AdminQueue {
    const memory = this.allocate(3); // submission queue, completion queue, data
    const admin = new AdminQueue(memory, ADMIN_ENTRIES, this.registers);
    this.registers.write32(NVME_REG.aqa, (ADMIN_ENTRIES - 1) | ((ADMIN_ENTRIES - 1) << 16));
    this.registers.write32(NVME_REG.asqLow, memory.first << 12);
    this.registers.write32(NVME_REG.asqHigh, memory.first >>> 20);
    this.registers.write32(NVME_REG.acqLow, (memory.first + 1) << 12);
    this.registers.write32(NVME_REG.acqHigh, (memory.first + 1) >>> 20);
    const port = this.pci.bindVector(0);
    this.ports.push(port);
    this.kernel.onEvent(port, () => {
      this.isAdminRung = true;
    });
    this.admin = admin;
    return admin;
  }

  private *negotiateQueues(admin: AdminQueue): Generator<void, number, void> {
    const wanted = this.options.queuePairs;
    const granted = yield* this.command(admin, ADMIN.setFeatures, 'set the number of queues', {
      cdw10: FEATURE.numberOfQueues,
      cdw11: (wanted - 1) | ((wanted - 1) << 16),
    });
    return Math.min(wanted, (granted & 0xffff) + 1, (granted >>> 16) + 1);
  }

  /** Memory and interrupt of a queue pair. */
  private openPair(id: number): NvmeQueuePair {
    const allowed = (this.registers.read32(NVME_REG.capLow) & 0xffff) + 1;
    const entries = Math.min(this.options.queueEntries, allowed >>> 1); // the completion queue is twice as long
    const frames = queuePairFrames(entries);
    const memory = this.allocate(frames.sq + frames.cq + frames.lists);
    const queue = new NvmeQueuePair(id, entries, memory, this.registers);
    const port = this.pci.bindVector(id);
    this.ports.push(port);
    this.kernel.onEvent(port, () => {}); // the event wakes the domain; poll() does the work
    this.pci.maskVector(id, true);
    return queue;
  }

  /** Tell the controller of a queue pair. */
  private *createPair(admin: AdminQueue, id: number, queue: NvmeQueuePair): Generator<void, void, void> {
    yield* this.command(admin, ADMIN.createCq, `create completion queue ${id}`, {
      page: queue.cqPage,
      cdw10: id | ((queue.cqEntries - 1) << 16),
      cdw11: (id << 16) | 3, // interrupts enabled, physically contiguous
    });
    yield* this.command(admin, ADMIN.createSq, `create submission queue ${id}`, {
      page: queue.sqPage,
      cdw10: id | ((queue.entries - 1) << 16),
      cdw11: (id << 16) | 1,
    });
    if (!this.pairs.some((pair) => pair.queue === queue)) this.pairs.push({ queue, vector: id, isArmed: false });
  }

  /** Act on an asynchronous event: sizes of namespaces may have changed. */
  private *serveEvent(admin: AdminQueue, event: AdminResult): Generator<void, void, void> {
    if (event.status !== 0 || (event.result & 7) !== EVENT_NAMESPACE_CHANGED) return;
    yield* this.command(admin, ADMIN.getLogPage, 'read the changed namespaces', {
      page: admin.dataPage,
      cdw10: LOG_CHANGED_NAMESPACES | ((CHANGED_LOG_DWORDS - 1) << 16),
    });
    const namespaces: NamespaceInfo[] = [];
    for (const { nsid } of this.namespaces) {
      const info = yield* identifyOne(admin, this.send(admin), nsid);
      namespaces.push(info);
      for (const disk of this.disks) if (disk.nsid === nsid) disk.resize(info.blocks);
    }
    this.namespaces = namespaces;
  }

  private send(admin: AdminQueue): SendAdmin {
    return (opcode, what, fields) => this.command(admin, opcode, what, fields);
  }

  private *command(
    admin: AdminQueue,
    opcode: number,
    what: string,
    fields: Parameters<AdminQueue['submit']>[1],
  ): Generator<void, number, void> {
    admin.submit(opcode, fields);
    this.waitUntilMs = this.kernel.clock.nowMs() + this.options.adminTimeoutMs;
    for (;;) {
      const result = admin.takeResult();
      if (result !== undefined) {
        if (result.status !== 0) throw new BringUpError(`cannot ${what}: status 0x${result.status.toString(16)}`);
        return result.result;
      }
      if (this.kernel.clock.nowMs() >= this.waitUntilMs) throw new BringUpError(`cannot ${what}: no answer in time`);
      yield;
    }
  }

  private *waitFor(isDone: () => boolean, timeoutMs: number, what: string): Generator<void, void, void> {
    this.waitUntilMs = this.kernel.clock.nowMs() + timeoutMs;
    while (!isDone()) {
      if (this.kernel.clock.nowMs() >= this.waitUntilMs)
        throw new BringUpError(`the controller does not ${what} in time`);
      yield;
    }
  }

  private allocate(frames: number): FrameRun {
    const { hypercalls } = this.kernel;
    const run = hypercalls.allocateFrames(hypercalls.domid, frames);
    this.memory.push(run);
    return run;
  }
}
