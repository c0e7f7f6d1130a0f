// The PCI bus of one thread: the device models that it steps, and the functions as drivers on the same thread see them.
import { HypercallError } from '../error.ts';
import type { DomId, EvtchnPort, FrameNumber, RoutingId } from '../ids.ts';
import { InterruptRemap, msiAddress } from '../iommu/interrupt-remap.ts';
import { Iommu, type Requester } from '../iommu/iommu.ts';
import type { Clock, Stepped } from '../stepped.ts';
import {
  ConfigSpace,
  MSIX_BAR,
  MSIX_CONTROL,
  MSIX_PBA_OFFSET,
  PCI,
  PCI_COMMAND,
  PCI_EXP_DEVCTL_FLR,
  PCI_EXP_DEVSTA_TRPND,
} from './config-space.ts';
import { type DmaMemory, DmaViews } from './dma-views.ts';
import { type InterruptPorts, Msix } from './msix.ts';
import type { BusMaster, DeviceModel, Mmio, PciAccess, PciFunction } from './pci-access.ts';
import { type FunctionRow, findRow, formatRoutingId, openPciTable, ROW } from './pci-platform.ts';

/** Time from a driver's function level reset until the function answers again. PCI Express base specification §6.6.2 */
export const FLR_DELAY_MS = 100;
const BAR_SPACE = 2 ** 32;
const BAR_WINDOW = 2 ** 20;

/** What a bus needs. */
export interface PciBusOptions {
  /** The IOMMU tables (createIommuTables). */
  readonly iommu: SharedArrayBuffer;
  /** The PCI table (createPciTable). */
  readonly table: SharedArrayBuffer;
  /** The domain whose thread this is. */
  readonly domid: DomId;
  /** Its generation. */
  readonly generation: number;
  /** Memory that devices of this thread can reach. */
  readonly memory: DmaMemory;
  /** Event-channel ports for interrupts. */
  readonly ports: InterruptPorts;
  /** Time, for the delay after a function level reset. */
  readonly clock: Clock;
}

/**
 * Steps device models and connects them with the drivers of the same thread.
 *
 * @example
 * const bus = new PciBus({ iommu, table, domid, generation, memory, ports, clock });
 * bus.plug(routingId(0, 4, 0), (master) => new NvmeController(master, { namespaces, clock }));
 * const nvme = bus.access.open(routingId(0, 4, 0));
 */
export class PciBus implements Stepped {
  /** The unit that translates for all devices of this thread. */
  readonly iommu: Iommu;
  /** What the domain of this thread can do with PCI: the `pci` of its hypercalls. */
  readonly access: PciAccess;
  private readonly options: PciBusOptions;
  private readonly rows: readonly FunctionRow[];
  private readonly views: DmaViews;
  private readonly remap: InterruptRemap;
  private readonly slots: Slot[] = [];

  /** @throws HypercallError ENOSPC when no IOMMU unit is free */
  constructor(options: PciBusOptions) {
    this.options = options;
    this.rows = openPciTable(options.table);
    this.views = new DmaViews(options.memory);
    this.remap = new InterruptRemap(options.iommu);
    this.iommu = new Iommu(options.iommu, options.domid);
    this.access = { list: () => this.assigned(), open: (id) => this.open(id) };
  }

  /**
   * Plug a device model into a function whose stepper is this domain.
   * @throws HypercallError ENODEV no such function, EPERM another domain steps it, EEXIST a model is plugged already
   */
  plug<Model extends DeviceModel>(id: RoutingId, create: (master: BusMaster) => Model): Model {
    const row = findRow(this.rows, id);
    if (row === undefined) throw refusal('ENODEV', 'plug a model into', id, 'there is no such function');
    if (Atomics.load(row.words, ROW.stepper) !== this.options.domid + 1) {
      throw refusal('EPERM', 'plug a model into', id, 'another domain steps it');
    }
    if (this.slots.some((slot) => slot.routingId === id)) {
      throw refusal('EEXIST', 'plug a model into', id, 'it has a model');
    }
    const master = new SlotMaster(row, this.iommu, this.iommu.requester(id), this.views);
    const model = create(master);
    this.slots.push(new Slot({ id, row, model, master, remap: this.remap, barBase: this.barBase(), ...this.options }));
    return model;
  }

  /** Serve invalidations, do requested resets, step every model. */
  poll(): boolean {
    let didWork = this.iommu.serve();
    for (const slot of this.slots) didWork = slot.poll() || didWork;
    return didWork;
  }

  /** Clock time of the next timed work of any model. */
  deadlineMs(): number {
    let deadline = Number.POSITIVE_INFINITY;
    for (const slot of this.slots) deadline = Math.min(deadline, slot.model.deadlineMs());
    return deadline;
  }

  /** Whether a model waits for this thread's event loop. */
  needsEventLoop(): boolean {
    for (const slot of this.slots) if (slot.model.needsEventLoop()) return true;
    return false;
  }

  /** Drop cached views of an extent that is retired. */
  forgetExtent(extent: number): void {
    this.views.forget(extent);
  }

  private barBase(): number {
    return BAR_SPACE + this.slots.length * BAR_WINDOW;
  }

  private isOurs(row: FunctionRow): boolean {
    return (
      Atomics.load(row.words, ROW.owner) === this.options.domid + 1 &&
      Atomics.load(row.words, ROW.ownerGeneration) === (this.options.generation | 0)
    );
  }

  private assigned(): RoutingId[] {
    return this.rows
      .filter((row) => Atomics.load(row.words, ROW.routingId) !== 0 && this.isOurs(row))
      .map((row) => (Atomics.load(row.words, ROW.routingId) - 1) as RoutingId); // rows hold routing ids
  }

  private open(id: RoutingId): PciFunction {
    const row = findRow(this.rows, id);
    if (row === undefined || !this.isOurs(row))
      throw refusal('ENODEV', 'open', id, 'it is not assigned to this domain');
    const slot = this.slots.find((each) => each.routingId === id);
    if (slot === undefined) throw refusal('ENODEV', 'open', id, 'no device model is plugged in on this thread');
    return new SlotFunction(slot, () => this.isOurs(row), this.options, this.remap);
  }
}

/** One plugged function: registers, reset and interrupts around its model. */
class Slot {
  readonly routingId: RoutingId;
  readonly model: DeviceModel;
  readonly config: ConfigSpace;
  readonly msix: Msix;
  isMemoryEnabled = false;
  private readonly row: FunctionRow;
  private readonly master: SlotMaster;
  private readonly barBase: number;
  private readonly clock: Clock;
  private readyAtMs = 0;
  private resetsDone: number;

  constructor(
    of: PciBusOptions & {
      readonly id: RoutingId;
      readonly row: FunctionRow;
      readonly model: DeviceModel;
      readonly master: SlotMaster;
      readonly remap: InterruptRemap;
      readonly barBase: number;
    },
  ) {
    this.routingId = of.id;
    this.model = of.model;
    this.row = of.row;
    this.master = of.master;
    this.barBase = of.barBase;
    this.clock = of.clock;
    this.config = new ConfigSpace(of.row.config, of.model.identity);
    const { vectors } = of.model.identity;
    const { faults } = of.master.iommu;
    this.msix = new Msix({ row: of.row, routingId: of.id, vectors, remap: of.remap, faults, ports: of.ports });
    of.master.msix = this.msix;
    this.resetsDone = Atomics.load(of.row.words, ROW.resetRequested);
    Atomics.store(of.row.words, ROW.resetDone, this.resetsDone);
    this.reset();
  }

  poll(): boolean {
    // A plain look: a reset that was just requested is seen in a later turn.
    if (this.row.words[ROW.resetRequested] === this.resetsDone) return this.model.poll();
    const requested = Atomics.load(this.row.words, ROW.resetRequested);
    this.reset();
    this.resetsDone = requested;
    Atomics.store(this.row.words, ROW.resetDone, requested);
    this.model.poll();
    return true;
  }

  /** Function level reset: outstanding DMA dropped, configuration at defaults, interrupts off. */
  reset(): void {
    this.master.isEnabled = false;
    this.isMemoryEnabled = false;
    this.model.reset();
    this.msix.reset();
    this.config.reset(this.barBase);
  }

  configRead(offset: number, widthBytes: 1 | 2 | 4): number {
    if (this.clock.nowMs() < this.readyAtMs) return 2 ** (8 * widthBytes) - 1;
    this.config.setDeviceBit16(PCI.expressDeviceStatus, PCI_EXP_DEVSTA_TRPND, this.model.isBusy());
    return this.config.read(offset, widthBytes);
  }

  configWrite(offset: number, widthBytes: 1 | 2 | 4, value: number): void {
    if (this.clock.nowMs() < this.readyAtMs) return;
    this.config.write(offset, widthBytes, value);
    if (offset === PCI.expressDeviceControl && widthBytes >= 2 && (value & PCI_EXP_DEVCTL_FLR) !== 0) {
      this.reset();
      this.readyAtMs = this.clock.nowMs() + FLR_DELAY_MS;
      return;
    }
    const command = this.config.read(PCI.command, 2);
    this.isMemoryEnabled = (command & PCI_COMMAND.memory) !== 0;
    this.master.isEnabled = (command & PCI_COMMAND.busMaster) !== 0;
    const control = this.config.read(PCI.msixControl, 2);
    this.msix.isEnabled = (control & MSIX_CONTROL.enable) !== 0;
    this.msix.isFunctionMasked = (control & MSIX_CONTROL.functionMask) !== 0;
    this.msix.sendPending();
  }
}

/** The bus as one model sees it. */
class SlotMaster implements BusMaster {
  readonly iommu: Iommu;
  msix: Msix | undefined = undefined;
  isEnabled = false;
  private readonly row: FunctionRow;
  private readonly requester: Requester;
  private readonly views: DmaViews;

  constructor(row: FunctionRow, iommu: Iommu, requester: Requester, views: DmaViews) {
    this.row = row;
    this.iommu = iommu;
    this.requester = requester;
    this.views = views;
  }

  get routingId(): RoutingId {
    return this.requester.routingId;
  }

  translate(busPage: number, isWrite: boolean): FrameNumber | -1 {
    return this.isEnabled ? this.iommu.translate(this.requester, busPage, isWrite) : -1;
  }

  translateAll(busPages: Int32Array, count: number, isWrite: boolean, frames: Int32Array): number {
    return this.isEnabled ? this.iommu.translateAll(this.requester, busPages, count, isWrite, frames) : 0;
  }

  get viewEpoch(): number {
    return this.views.epoch;
  }

  get isDriverRemote(): boolean {
    return Atomics.load(this.row.words, ROW.owner) !== Atomics.load(this.row.words, ROW.stepper);
  }

  pageBytes(frame: FrameNumber): Uint8Array {
    return this.views.page(frame);
  }

  extentBytes(frame: FrameNumber): Uint8Array {
    return this.views.extent(frame);
  }

  interrupt(vector: number): void {
    if (this.isEnabled) this.msix?.raise(vector);
  }

  withdraw(vector: number): void {
    this.msix?.withdraw(vector);
  }
}

/** A function as its driver sees it. */
class SlotFunction implements PciFunction {
  private readonly slot: Slot;
  private readonly isOurs: () => boolean;
  private readonly options: PciBusOptions;
  private readonly remap: InterruptRemap;

  constructor(slot: Slot, isOurs: () => boolean, options: PciBusOptions, remap: InterruptRemap) {
    this.slot = slot;
    this.isOurs = isOurs;
    this.options = options;
    this.remap = remap;
  }

  get routingId(): RoutingId {
    return this.slot.routingId;
  }

  configRead(offset: number, widthBytes: 1 | 2 | 4): number {
    return this.isOurs() ? this.slot.configRead(offset, widthBytes) : 2 ** (8 * widthBytes) - 1;
  }

  configWrite(offset: number, widthBytes: 1 | 2 | 4, value: number): void {
    if (this.isOurs()) this.slot.configWrite(offset, widthBytes, value);
  }

  bar(index: number): Mmio {
    const { slot } = this;
    const lengthBytes = slot.config.barBytes(index);
    if (lengthBytes === 0) throw refusal('EINVAL', `open BAR ${index} of`, slot.routingId, 'it has no such BAR');
    return index === MSIX_BAR ? new MsixMmio(slot, lengthBytes) : new ModelMmio(slot, index, lengthBytes);
  }

  bindVector(vector: number): EvtchnPort {
    const { domid, generation, ports } = this.options;
    const { routingId, model, msix } = this.slot;
    if (!this.isOurs()) throw refusal('ENODEV', 'bind a vector of', routingId, 'it is not assigned to this domain');
    if (vector < 0 || vector >= model.identity.vectors) {
      throw refusal('EINVAL', 'bind a vector of', routingId, `it has no vector ${vector}`);
    }
    const port = ports.allocate();
    const handle = this.remap.bind(routingId, domid, generation, port);
    if (handle < 0) throw refusal('ENOSPC', 'bind a vector of', routingId, 'the interrupt remap table is full');
    msix.program(vector, msiAddress(handle));
    const control = this.slot.config.read(PCI.msixControl, 2);
    this.slot.configWrite(PCI.msixControl, 2, control | MSIX_CONTROL.enable);
    return port;
  }

  maskVector(vector: number, isMasked: boolean): void {
    this.slot.msix.mask(vector, isMasked);
  }
}

/** Registers of a model; all ones while the memory space is disabled, as a master abort reads. */
class ModelMmio implements Mmio {
  readonly isRemote = false;
  readonly lengthBytes: number;
  private readonly slot: Slot;
  private readonly index: number;

  constructor(slot: Slot, index: number, lengthBytes: number) {
    this.slot = slot;
    this.index = index;
    this.lengthBytes = lengthBytes;
  }

  read32(offset: number): number {
    if (!this.slot.isMemoryEnabled || offset >>> 0 > this.lengthBytes - 4) return 0xffff_ffff;
    return this.slot.model.read32(this.index, offset);
  }

  write32(offset: number, value: number): void {
    if (!this.slot.isMemoryEnabled || offset >>> 0 > this.lengthBytes - 4) return;
    this.slot.model.write32(this.index, offset, value);
  }
}

/** The MSI-X table and pending bits as registers. */
class MsixMmio implements Mmio {
  readonly isRemote = false;
  readonly lengthBytes: number;
  private readonly slot: Slot;

  constructor(slot: Slot, lengthBytes: number) {
    this.slot = slot;
    this.lengthBytes = lengthBytes;
  }

  read32(offset: number): number {
    if (!this.slot.isMemoryEnabled) return 0xffff_ffff;
    const word = offset >>> 2;
    const pendingWord = MSIX_PBA_OFFSET >>> 2;
    return word >= pendingWord ? this.slot.msix.readPending(word - pendingWord) : this.slot.msix.readTable(word);
  }

  write32(offset: number, value: number): void {
    if (this.slot.isMemoryEnabled && offset < MSIX_PBA_OFFSET) this.slot.msix.writeTable(offset >>> 2, value);
  }
}

function refusal(code: string, verb: string, id: RoutingId, why: string): HypercallError {
  return new HypercallError(code, `Cannot ${verb} PCI function ${formatRoutingId(id)}: ${why}`, { routingId: id });
}
