// The hypercalls of one domain, rebuilt on its thread from boot data: puts together memory, grants and events.
import { IommuMapper } from './domain/iommu-mapper.ts';
import { HypercallError } from './error.ts';
import { EventDelivery, type PortCounters } from './event/event-delivery.ts';
import { EventPorts, type PortStatus } from './event/event-ports.ts';
import { DeviceHolds } from './grant/device-holds.ts';
import { HeldGrants } from './grant/foreign-grants.ts';
import { GrantCopy } from './grant/grant-copy.ts';
import { GrantMapper } from './grant/grant-mapper.ts';
import { GrantTable } from './grant/grant-table.ts';
import { Maptrack } from './grant/maptrack.ts';
import { type MappedRun, RunMapper } from './grant/run-mapper.ts';
import type { CopyOp, FrameRun, Hypercalls, MapOp, ShutdownReason, UnmapOp } from './hypercalls.ts';
import {
  DOMID_SELF,
  type DomId,
  type EvtchnPort,
  EXTENT_SHIFT,
  type FrameNumber,
  type GrantHandle,
  type GrantRef,
} from './ids.ts';
import type { DomainBoot } from './memory/boot.ts';
import type { ControlPort } from './memory/control-port.ts';
import { DomainMemory } from './memory/domain-memory.ts';
import type { Extent } from './memory/extent.ts';
import { FrameAllocator } from './memory/frame-allocator.ts';
import type { NativeCopy } from './memory/native-copy.ts';
import {
  DOMAIN_DOORBELL_WORD,
  DOMAIN_HANDLES_WORD,
  DOMAIN_PAUSE_WORD,
  DOMAIN_SHUTDOWN_WORD,
  type Identity,
  identity,
  Tables,
} from './memory/tables.ts';
import type { PciAccess } from './pci/pci-access.ts';
import { PciBus } from './pci/pci-bus.ts';
import type { Clock } from './stepped.ts';

const INDEX_MASK = (1 << EXTENT_SHIFT) - 1;
const MOST_FRAMES = 1 << EXTENT_SHIFT;

const noPci: PciAccess = {
  list: () => [],
  open: (routingId) => {
    throw new HypercallError('ENODEV', `Cannot open function ${routingId}: not assigned to this domain`, { routingId });
  },
};

/** The hypercalls of one domain. @see Hypercalls for the contract of each call */
export class DomainHypercalls implements Hypercalls {
  readonly domid: DomId;
  readonly generation: number;
  readonly doorbell: { readonly words: Int32Array; readonly index: number };
  /** The memory this domain holds; for the device side (DMA) of the same thread, not for drivers. */
  readonly memory: DomainMemory;
  readonly #self: Identity;
  #bus: PciBus | undefined;
  readonly #tables: Tables;
  readonly #pauseWord: number;
  readonly #boot: DomainBoot;
  readonly #io: IommuMapper;
  readonly #allocator = new FrameAllocator();
  /** Frames given back while an invalidation was not confirmed. */
  readonly #heldForDevices: FrameNumber[] = [];
  readonly #table: GrantTable;
  readonly #mapper: GrantMapper;
  readonly #runs: RunMapper;
  readonly #copier: GrantCopy;
  readonly #ports: EventPorts;
  readonly #events: EventDelivery;

  /** Rebuild the hypercalls of the domain that `boot` describes. */
  constructor(boot: DomainBoot, control: ControlPort) {
    const { domid, generation } = boot;
    this.domid = domid;
    this.generation = generation;
    this.#self = identity(domid, generation);
    this.#tables = new Tables(boot.limits, boot.tables);
    this.#boot = boot;
    this.#io = new IommuMapper(boot.iommu, domid, generation);
    const tables = this.#tables;
    const self = this.#self;
    this.memory = new DomainMemory(tables, self, control, boot.memory);
    this.memory.whenRetired((extent) => this.#allocator.remove(extent));
    this.memory.whenAdded((extent) => {
      if (extent.grant.owner === self) this.#allocator.add(extent);
    });
    const grantTables = boot.grantTables.map((buffer) => new Int32Array(buffer));
    this.#table = new GrantTable(grantTables[domid] ?? new Int32Array(0));
    const memory = this.memory;
    const parts = {
      tables,
      self,
      memory,
      held: new HeldGrants(grantTables, self, memory),
      maptrack: new Maptrack(
        tables.words,
        tables.maptrack(domid),
        tables.handles,
        tables.domain(domid) + DOMAIN_HANDLES_WORD,
      ),
      devices: new DeviceHolds(self, this.#io),
    };
    this.#mapper = new GrantMapper(parts);
    this.#runs = new RunMapper(parts, (ops) => this.#mapper.unmap(ops));
    this.#copier = new GrantCopy(parts);
    this.#ports = new EventPorts(tables, self, memory);
    this.#events = new EventDelivery(tables, self, memory);
    this.#ports.onOpen = (port) => this.#events.reset(port);
    this.#pauseWord = tables.domain(domid) + DOMAIN_PAUSE_WORD;
    this.doorbell = { words: tables.words, index: tables.domain(domid) + DOMAIN_DOORBELL_WORD };
  }

  get nativeCopy(): NativeCopy {
    return this.memory.native;
  }

  get pci(): PciAccess {
    return this.#bus?.access ?? noPci;
  }

  /**
   * Make the PCI bus of this thread, which steps device models and gives this domain its functions; add it to the kernel.
   * @throws HypercallError ENOSPC when no IOMMU unit is free, EEXIST when there is a bus
   */
  startPciBus(clock: Clock): PciBus {
    if (this.#bus !== undefined) throw new HypercallError('EEXIST', 'Cannot start a PCI bus: this thread has one');
    const { domid, generation } = this;
    const bus = new PciBus({
      iommu: this.#boot.iommu,
      table: this.#boot.pci,
      domid,
      generation,
      memory: { extentBytes: (extent) => this.memory.extent(extent)?.bytes },
      ports: {
        allocate: () => this.bindPirq(DOMID_SELF),
        raise: (target, targetGeneration, port) => this.#raiseInterrupt(target, targetGeneration, port),
      },
      clock,
    });
    this.#io.useLocalUnit(bus.iommu);
    this.memory.whenRetired((extent) => bus.forgetExtent(extent));
    this.#bus = bus;
    return bus;
  }

  /** Whether the toolstack has paused this domain: no event is delivered, and its idle loop sleeps on the doorbell. */
  get isPaused(): boolean {
    // A plain look first: it is asked on every turn of every idle loop.
    return this.#tables.words[this.#pauseWord] !== 0 && Atomics.load(this.#tables.words, this.#pauseWord) !== 0;
  }

  allocateFrames(peer: DomId, frames: number): FrameRun {
    if (!Number.isInteger(frames) || frames < 1 || frames > MOST_FRAMES) {
      throw new HypercallError('EINVAL', `Cannot allocate ${frames} frames: must be 1 … ${MOST_FRAMES}`, { frames });
    }
    const domid = peer === DOMID_SELF ? this.domid : peer;
    const other = this.#tables.liveIdentity(domid);
    if (other === 0)
      throw new HypercallError('ESRCH', `Cannot share memory with domain ${domid}: no such domain`, { domid });
    this.#letGoOfDevices();
    let place = this.#allocator.allocate(other, frames);
    if (place === undefined) {
      this.memory.request({ kind: 'allocate-extent', peer: other, frames });
      place = this.#allocator.allocate(other, frames);
    }
    if (place === undefined)
      throw new HypercallError('ENOMEM', `Cannot allocate ${frames} frames: no run is free`, { frames });
    const first = place.extent.frame(place.index);
    if (!this.#io.setRights(first, frames, 2)) {
      this.#allocator.free(place.extent, place.index, frames);
      throw new HypercallError('ENOMEM', `Cannot allocate ${frames} frames: I/O page tables are full`, { frames });
    }
    return { first, frames, bytes: place.extent.run(place.index, frames) };
  }

  freeFrames(run: FrameRun): void {
    // Memory shared with a dead domain may be back with the builder already.
    if (run.first >= 0 && this.memory.extentOf(run.first) === undefined) return;
    const extent = this.#owned(run.first, run.frames);
    this.#io.setRights(run.first, run.frames, 0);
    if (!this.#io.flush()) this.#holdForDevices(run);
    this.#allocator.free(extent, run.first & INDEX_MASK, run.frames);
    this.#offerBack();
  }

  grantAccess(peer: DomId, frame: FrameNumber, isReadonly: boolean): GrantRef {
    const extent = this.#owned(frame, 1);
    const domid = peer === DOMID_SELF ? this.domid : peer;
    const other = this.#tables.liveIdentity(domid);
    if (other === 0) throw new HypercallError('ESRCH', `Cannot grant to domain ${domid}: no such domain`, { domid });
    if (other !== this.#self && extent.grant.peer !== other) {
      throw new HypercallError('EPERM', `Cannot grant frame ${frame} to domain ${domid}: allocated for another peer`, {
        frame,
        domid,
      });
    }
    const ref = this.#table.grant(domid, frame, isReadonly);
    this.#allocator.granted(frame);
    return ref;
  }

  endAccess(ref: GrantRef): boolean {
    const frame = this.#table.frameOf(ref);
    if (!this.#table.end(ref)) return false;
    if (frame < 0) return true;
    this.#allocator.ended(frame as FrameNumber); // not negative: it is a frame
    if (this.#allocator.quarantined > 0) {
      this.#allocator.sweep();
      this.#offerBack();
    }
    return true;
  }

  mapGrants(ops: readonly MapOp[]): void {
    this.#mapper.map(ops);
  }

  unmapGrants(ops: readonly UnmapOp[]): void {
    this.#mapper.unmap(ops);
  }

  copyGrants(ops: readonly CopyOp[]): void {
    this.#copier.copy(ops);
  }

  mappedBytes(handle: GrantHandle, frames = 1): Uint8Array {
    return this.#mapper.bytes(handle, frames);
  }

  mapRun(dom: DomId, refs: readonly GrantRef[], flags: number): MappedRun {
    return this.#runs.map(dom, refs, flags);
  }

  allocUnbound(remote: DomId): EvtchnPort {
    return this.#ports.allocUnbound(remote);
  }

  bindInterdomain(remote: DomId, remotePort: EvtchnPort): EvtchnPort {
    const port = this.#ports.bindInterdomain(remote, remotePort);
    this.#events.setPending(port); // Xen: the local port is always set pending once
    return port;
  }

  /** Make a port that only this domain raises. */
  bindIpi(): EvtchnPort {
    return this.#ports.bindIpi();
  }

  /** Make a port for interrupts raised by the thread of `source`, which steps the device. */
  bindPirq(source: DomId): EvtchnPort {
    return this.#ports.bindPirq(source);
  }

  /** Make a port for a VIRQ. @throws HypercallError EINVAL, EPERM, EEXIST, ENOSPC */
  bindVirq(virq: number): EvtchnPort {
    return this.#ports.bindVirq(virq);
  }

  /** What a port of this domain is bound to. */
  portStatus(port: EvtchnPort): PortStatus {
    return this.#ports.status(port);
  }

  /** Close every port of this domain. */
  resetPorts(): void {
    for (let port = 1; port < this.#tables.limits.portsPerDomain; port++) this.closePort(port as EvtchnPort); // a port number
  }

  /** Raise a port of another domain outside any channel; it takes effect only on ports that name us as their source. */
  raise(domid: DomId, port: EvtchnPort): void {
    this.#events.raise(domid, port, 0);
  }

  closePort(port: EvtchnPort): void {
    if (!this.#ports.isPort(port)) return;
    this.#events.setMask(port, false); // while its binding tells where an event may have been held back
    this.#ports.close(port);
    this.#events.forget(port);
  }

  notify(port: EvtchnPort): void {
    this.#events.notify(port);
  }

  setMask(port: EvtchnPort, isMasked: boolean): void {
    if (this.#ports.word(port) !== 0) this.#events.setMask(port, isMasked);
  }

  countSpurious(port: EvtchnPort): void {
    if (this.#ports.word(port) !== 0) this.#events.countSpurious(port);
  }

  pollEvents(dispatch: (port: EvtchnPort) => void): number {
    this.#mapper.finish();
    return this.#events.poll(dispatch);
  }

  /** Counters of one of this domain's ports. */
  portCounters(port: EvtchnPort): PortCounters {
    return this.#events.countersOf(port);
  }

  shutdown(reason: ShutdownReason): void {
    Atomics.store(this.#tables.words, this.#tables.domain(this.domid) + DOMAIN_SHUTDOWN_WORD, reason + 1);
    this.memory.tell({ kind: 'shutdown', reason });
  }

  /** A device may still reach these frames: keep them as if they were granted, until the invalidation is confirmed. */
  #holdForDevices({ first, frames }: FrameRun): void {
    for (let i = 0; i < frames; i++) {
      const frame = (first + i) as FrameNumber; // within the run
      this.#allocator.granted(frame);
      this.#heldForDevices.push(frame);
    }
  }

  #letGoOfDevices(): void {
    if (this.#heldForDevices.length === 0 || !this.#io.isFlushed()) return;
    for (const frame of this.#heldForDevices.splice(0)) this.#allocator.ended(frame);
  }

  /** Memory that was shared with a domain that is gone now goes back to the builder once none of it is in use. */
  #offerBack(): void {
    if (this.#allocator.hasLeftover(this.#tables)) this.memory.tell({ kind: 'released' });
  }

  #raiseInterrupt(domid: DomId, generation: number, port: EvtchnPort): void {
    if (this.#tables.liveIdentity(domid) === identity(domid, generation)) this.#events.raise(domid, port, 0);
  }

  /** The extent of frames that are ours and handed out. @throws HypercallError EPERM otherwise */
  #owned(first: FrameNumber, frames: number): Extent {
    const extent = first >= 0 ? this.memory.extentOf(first) : undefined;
    const index = first & INDEX_MASK;
    if (extent !== undefined && extent.grant.owner === this.#self && frames <= extent.grant.frames - index) {
      let isOurs = true;
      for (let at = index; at < index + frames; at++) isOurs &&= this.#allocator.isAllocated(extent, at);
      if (isOurs) return extent;
    }
    throw new HypercallError('EPERM', `Cannot use frame ${first}: not this domain's`, { frame: first, frames });
  }
}
