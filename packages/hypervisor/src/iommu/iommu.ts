// hot path: bench/hypervisor (IOMMU translation hit and miss)
// One IOMMU unit: the translation of every DMA of the devices that one thread steps.

import { HypercallError } from '../error.ts';
import type { DomId, FrameNumber, RoutingId } from '../ids.ts';
import { FAULT_REASON, FaultLog } from './fault-log.ts';
import { type LocalUnit, serveInvalidations } from './invalidation.ts';
import { IoPageTables } from './io-page-tables.ts';
import {
  BUS_PAGES,
  IO_READ,
  IO_WRITE,
  type IommuRegions,
  type IoSpace,
  openIommuTables,
  QUARANTINE_SPACE,
  SPACE,
  UNIT,
} from './iommu-layout.ts';

const CONTEXT_PRESENT = 1;
const SPACE_SHIFT = 8;
const IOTLB_ENTRIES = 1024;
const IOTLB_MASK = IOTLB_ENTRIES - 1;
const IOTLB_WORDS = 4;
const UNKNOWN_SPACE = -1;

/** One function that does DMA through the unit; holds its cached context entry. */
export class Requester {
  /** Who it is on the bus. */
  readonly routingId: RoutingId;
  /** Cached space of its context entry; −1 if not cached. [UNIT] */
  space = UNKNOWN_SPACE;

  /** Made by Iommu.requester(). */
  constructor(routingId: RoutingId) {
    this.routingId = routingId;
  }
}

/**
 * Point the context entry of a function at a space (QUARANTINE_SPACE: all its DMA faults). Host thread only; units go on
 * with what they cached until the context is invalidated.
 */
export function setContext(tables: SharedArrayBuffer, routingId: RoutingId, space: IoSpace): void {
  const regions = openIommuTables(tables);
  Atomics.store(regions.words, regions.contexts + routingId, CONTEXT_PRESENT | (space << SPACE_SHIFT));
}

/** Remove the context entry of a function: it is no longer there. Host thread only. */
export function clearContext(tables: SharedArrayBuffer, routingId: RoutingId): void {
  const regions = openIommuTables(tables);
  Atomics.store(regions.words, regions.contexts + routingId, 0);
}

/** Free the units of a dead domain's thread: their caches died with it. Host thread, after the fence. */
export function releaseUnits(tables: SharedArrayBuffer, domid: DomId): void {
  const { words, units, unitRows } = openIommuTables(tables);
  for (let unit = 0; unit < units; unit++) {
    const base = unitRows + unit * UNIT.words;
    if (Atomics.load(words, base + UNIT.owner) !== domid + 1) continue;
    Atomics.store(words, base + UNIT.owner, 0);
    Atomics.notify(words, base + UNIT.head);
  }
}

/**
 * An IOMMU unit, owned by the thread that steps the devices behind it.
 *
 * A translation that is cached stays valid for the device, whatever happens to the tables, until it is invalidated
 * (IoInvalidator) or evicted; that is the hazard of real hardware, kept on purpose. Nothing translated is held by a
 * device across two of its polls, so serve() drains DMA by being called between them.
 */
export class Iommu implements LocalUnit {
  /** Number of this unit. */
  readonly unit: number;
  /** The faults of this unit. */
  readonly faults: FaultLog;
  /** Translations answered by the IOTLB. */
  hits = 0;
  /** Translations that walked the tables. */
  misses = 0;
  private readonly regions: IommuRegions;
  private readonly words: Int32Array;
  private readonly tailWord: number;
  /** Our own copy of the queue's head: one load tells that nothing was posted. */
  private servedTail: number;
  private readonly tables: IoPageTables;
  private readonly requesters: Requester[] = [];
  /** busPage, space, entry (0: nothing cached), unused; four words per set. */
  private readonly iotlb = new Int32Array(IOTLB_ENTRIES * IOTLB_WORDS);

  /** Take a free unit for the thread of a domain. @throws HypercallError ENOSPC when all are taken */
  constructor(tables: SharedArrayBuffer, domid: DomId) {
    this.regions = openIommuTables(tables);
    this.tables = new IoPageTables(tables);
    this.unit = this.claimUnit(domid);
    this.words = this.regions.words;
    this.tailWord = this.regions.unitRows + this.unit * UNIT.words + UNIT.tail;
    this.servedTail = Atomics.load(this.words, this.tailWord - UNIT.tail + UNIT.head);
    this.faults = new FaultLog(this.regions, this.unit);
    this.dropAll();
  }

  /** Introduce a function behind this unit. */
  requester(routingId: RoutingId): Requester {
    const requester = new Requester(routingId);
    this.requesters.push(requester);
    return requester;
  }

  /** Forget a function that left. */
  removeRequester(requester: Requester): void {
    const at = this.requesters.indexOf(requester);
    if (at >= 0) this.requesters.splice(at, 1);
  }

  /**
   * Translate one page for one access.
   * @param isWrite the device writes memory
   * @returns the frame, or −1 after recording a fault
   */
  translate(requester: Requester, busPage: number, isWrite: boolean): FrameNumber | -1 {
    const set = setOf(busPage);
    const { iotlb } = this;
    const needed = isWrite ? IO_WRITE : IO_READ;
    const entry = iotlb[set + 2] as number; // `set` lies inside by the mask
    if (iotlb[set] === busPage && iotlb[set + 1] === requester.space && (entry & needed) !== 0) {
      this.hits++;
      return (entry >>> 2) as FrameNumber; // tables hold frames
    }
    return this.walk(requester, busPage, needed, set);
  }

  /** As `translate`, for the first `count` of `busPages`. @returns how many were translated before one faulted */
  translateAll(
    requester: Requester,
    busPages: Int32Array,
    count: number,
    isWrite: boolean,
    frames: Int32Array,
  ): number {
    const { iotlb } = this;
    const needed = isWrite ? IO_WRITE : IO_READ;
    for (let i = 0; i < count; i++) {
      const busPage = busPages[i] as number; // the caller filled `count`
      const set = setOf(busPage);
      const entry = iotlb[set + 2] as number; // `set` lies inside by the mask
      if (iotlb[set] === busPage && iotlb[set + 1] === requester.space && (entry & needed) !== 0) {
        this.hits++;
        frames[i] = entry >>> 2;
        continue;
      }
      const frame = this.walk(requester, busPage, needed, set);
      if (frame === -1) return i;
      frames[i] = frame;
    }
    return count;
  }

  /** Serve posted invalidations: between two polls of the devices. @returns whether there were any */
  serve(): boolean {
    // A plain look first: what was just posted is seen in a later turn, and whoever posted it waits for that.
    if (this.words[this.tailWord] === this.servedTail) return false;
    serveInvalidations(this.regions, this.unit, this);
    this.servedTail = Atomics.load(this.words, this.tailWord - UNIT.tail + UNIT.head);
    return true;
  }

  /** Forget the context of a function, and with it nothing else. */
  dropContext(routingId: number): void {
    for (const requester of this.requesters) if (requester.routingId === routingId) requester.space = UNKNOWN_SPACE;
  }

  /** Forget translations of some pages of a space. */
  dropPages(space: number, busPage: number, frames: number): void {
    const { iotlb } = this;
    if (frames >= IOTLB_ENTRIES) {
      for (let at = 0; at < iotlb.length; at += IOTLB_WORDS) if (iotlb[at + 1] === space) iotlb[at + 2] = 0;
      return;
    }
    for (let page = busPage; page < busPage + frames; page++) {
      const at = setOf(page);
      if (iotlb[at] === page && iotlb[at + 1] === space) iotlb[at + 2] = 0;
    }
  }

  /** Forget all translations and contexts. */
  dropAll(): void {
    this.iotlb.fill(0);
    for (const requester of this.requesters) requester.space = UNKNOWN_SPACE;
  }

  private walk(requester: Requester, busPage: number, needed: number, set: number): FrameNumber | -1 {
    this.misses++;
    const isRead = needed === IO_READ;
    const { routingId } = requester;
    if (requester.space === UNKNOWN_SPACE && !this.loadContext(requester)) {
      this.faults.record(busPage, routingId, FAULT_REASON.contextNotPresent, isRead);
      return -1;
    }
    if (busPage < 0 || busPage >= BUS_PAGES) {
      this.faults.record(busPage, routingId, FAULT_REASON.addressBeyondWidth, isRead);
      return -1;
    }
    const space = requester.space as IoSpace; // loadContext just read it
    const entry = space === QUARANTINE_SPACE ? 0 : this.tables.lookup(space, busPage);
    if ((entry & needed) === 0) {
      this.faults.record(
        busPage,
        routingId,
        isRead ? FAULT_REASON.readNotPermitted : FAULT_REASON.writeNotPermitted,
        isRead,
      );
      return -1;
    }
    this.iotlb[set] = busPage;
    this.iotlb[set + 1] = space;
    this.iotlb[set + 2] = entry;
    return (entry >>> 2) as FrameNumber; // tables hold frames
  }

  private loadContext(requester: Requester): boolean {
    const { words, contexts, spaces, spaceRows } = this.regions;
    const context = Atomics.load(words, contexts + requester.routingId);
    const space = context >>> SPACE_SHIFT;
    if ((context & CONTEXT_PRESENT) === 0 || space >= spaces) return false;
    // From here on invalidations of this space must come to us: say so before anything of it is cached.
    Atomics.or(words, spaceRows + space * SPACE.words + SPACE.units, 1 << this.unit);
    requester.space = space;
    return true;
  }

  private claimUnit(domid: DomId): number {
    const { words, units, unitRows } = this.regions;
    for (let unit = 0; unit < units; unit++) {
      const base = unitRows + unit * UNIT.words;
      if (Atomics.compareExchange(words, base + UNIT.owner, 0, domid + 1) !== 0) continue;
      words[base + UNIT.head] = Atomics.load(words, base + UNIT.tail);
      return unit;
    }
    throw new HypercallError('ENOSPC', `Cannot give domain ${domid} an IOMMU unit: all ${units} are taken`, { domid });
  }
}

/** The set of a page. Extents start at multiples of 4096 frames: their number must move the set, or all first pages meet. */
function setOf(busPage: number): number {
  return ((busPage ^ (busPage >>> 7)) & IOTLB_MASK) * IOTLB_WORDS;
}
