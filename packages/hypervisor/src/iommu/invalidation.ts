// Queued invalidation: how a thread that takes a mapping away makes sure that no unit still uses it.
//
// Any thread posts, one unit consumes, and nobody may block the other by dying half-way. A poster takes a ticket by
// adding to the tail, fills the slot of that ticket and commits it by writing the ticket into it. The unit never waits
// for a slot: one that is not committed, or was overtaken by 64 newer ones, becomes a global invalidation. Too much
// invalidated is only slower. The wait descriptor of VT-d is the head word: a ticket below it has been served.
import {
  BUS_PAGES,
  INVALIDATION_SLOTS,
  INVALIDATION_WORDS,
  type IommuRegions,
  type IoSpace,
  openIommuTables,
  SPACE,
  UNIT,
} from './iommu-layout.ts';

/** Kinds of invalidation. VT-d specification, "Queued Invalidation Interface" descriptor types. */
export const INVALIDATE = { context: 1, iotlb: 2, all: 15 } as const;

/** What a unit does for an invalidation. */
export interface InvalidationTarget {
  /** Forget the context entry of a routing id. */
  dropContext(routingId: number): void;
  /** Forget the translations of some pages of a space. */
  dropPages(space: number, busPage: number, frames: number): void;
  /** Forget everything. */
  dropAll(): void;
}

const SEQUENCE = 0;
const KIND = 1;
const ARGUMENT = 2;
const PAGE = 3;
const FRAMES = 4;

/** Unit side of the queue: serve all that was posted. @returns whether there was anything */
export function serveInvalidations(regions: IommuRegions, unit: number, target: InvalidationTarget): boolean {
  const { words } = regions;
  const base = regions.unitRows + unit * UNIT.words;
  const tail = Atomics.load(words, base + UNIT.tail);
  const head = words[base + UNIT.head] ?? 0;
  if (tail === head) return false;
  const waiting = (tail - head) >>> 0;
  if (waiting > INVALIDATION_SLOTS) {
    target.dropAll();
  } else {
    for (let i = 0; i < waiting; i++) serveOne(words, base, (head + i) | 0, target);
  }
  Atomics.store(words, base + UNIT.head, tail);
  Atomics.notify(words, base + UNIT.head);
  return true;
}

function serveOne(words: Int32Array, base: number, ticket: number, target: InvalidationTarget): void {
  const slot = slotOf(base, ticket);
  const isCommitted = Atomics.load(words, slot + SEQUENCE) === ((ticket + 1) | 0);
  const kind = Atomics.load(words, slot + KIND);
  const argument = Atomics.load(words, slot + ARGUMENT);
  const page = Atomics.load(words, slot + PAGE);
  const frames = Atomics.load(words, slot + FRAMES);
  // A poster one lap ahead may be writing this slot: what was read counts only if the ticket still stands.
  if (!isCommitted || Atomics.load(words, slot + SEQUENCE) !== ((ticket + 1) | 0)) target.dropAll();
  else if (kind === INVALIDATE.iotlb) target.dropPages(argument, page, frames);
  else if (kind === INVALIDATE.context) target.dropContext(argument);
  else target.dropAll();
}

function slotOf(base: number, ticket: number): number {
  return base + UNIT.queue + (ticket & (INVALIDATION_SLOTS - 1)) * INVALIDATION_WORDS;
}

/** A unit on this thread, which can be served without waiting. */
export interface LocalUnit extends InvalidationTarget {
  /** Its number. */
  readonly unit: number;
  /** Serve what others posted to it. */
  serve(): boolean;
}

/** How long a wait lasts at most before the frame is given up to quarantine; Xen waits as long for a device TLB. */
export const INVALIDATION_TIMEOUT_MS = 1000;

/**
 * Makes units forget translations, and waits until they have.
 *
 * Use: `tables.unmap(…)`, `invalidate(…)` for each, then one `wait()` before the first of the frames is reused.
 *
 * @example
 * tables.unmap(space, frame);
 * invalidator.invalidate(space, frame, 1);
 * if (!invalidator.wait()) keepInQuarantine(frame);
 */
export class IoInvalidator {
  private readonly regions: IommuRegions;
  private readonly local: LocalUnit | undefined;
  private readonly tickets: Int32Array;
  /** Units with tickets of ours that are not known to be served. */
  private waitingFor = 0;
  /** Of those, the ones that have been waited for in vain: nobody blocks for them a second time. */
  private late = 0;

  /** @param local the unit of the calling thread, if it steps devices: served in place instead of waited for */
  constructor(buffer: SharedArrayBuffer, local?: LocalUnit) {
    this.regions = openIommuTables(buffer);
    this.local = local;
    this.tickets = new Int32Array(this.regions.units);
  }

  /** Have every unit that may cache pages of `space` forget `frames` of them. Cheap when none does. */
  invalidate(space: IoSpace, busPage: number, frames: number): void {
    const { words, spaceRows } = this.regions;
    let units = Atomics.load(words, spaceRows + space * SPACE.words + SPACE.units);
    for (let unit = 0; units !== 0; unit++, units >>>= 1) {
      if ((units & 1) === 0) continue;
      if (this.local?.unit === unit) this.local.dropPages(space, busPage, frames);
      else this.post(unit, INVALIDATE.iotlb, space, busPage, frames);
    }
  }

  /** Have every unit that may cache pages of `space` forget them all: before the space goes to another domain. */
  invalidateSpace(space: IoSpace): void {
    this.invalidate(space, 0, BUS_PAGES);
  }

  /** Have every unit forget the context entry of a function. */
  invalidateContext(routingId: number): void {
    for (let unit = 0; unit < this.regions.units; unit++) {
      if (this.local?.unit === unit) this.local.dropContext(routingId);
      else this.post(unit, INVALIDATE.context, routingId, 0, 0);
    }
  }

  /** Whether all that was posted has been served; never blocks. */
  isServed(): boolean {
    for (let unit = 0; unit < this.regions.units; unit++) {
      const bit = 1 << unit;
      if ((this.waitingFor & bit) === 0 || !this.isUnitServed(unit)) continue;
      this.waitingFor &= ~bit;
      this.late &= ~bit;
    }
    return this.waitingFor === 0;
  }

  /**
   * Wait until all that was posted has been served, or a unit's thread is gone. Blocks the thread: not for event loops.
   * @returns false after `timeoutMs`, and at once while a unit is late from a wait before: its device may still reach
   * the pages
   */
  wait(timeoutMs = INVALIDATION_TIMEOUT_MS): boolean {
    const { words } = this.regions;
    const sliceMs = 10;
    for (let slices = Math.ceil(timeoutMs / sliceMs); !this.isServed(); slices--) {
      const awaited = this.waitingFor & ~this.late;
      if (slices <= 0) this.late |= awaited;
      if (slices <= 0 || awaited === 0) return false;
      const unit = 31 - Math.clz32(awaited);
      const head = this.baseOf(unit) + UNIT.head;
      const seen = Atomics.load(words, head);
      if (!this.isUnitServed(unit)) Atomics.wait(words, head, seen, sliceMs);
      else this.waitingFor &= ~(1 << unit);
    }
    return true;
  }

  private post(unit: number, kind: number, argument: number, page: number, frames: number): void {
    const { words } = this.regions;
    const base = this.baseOf(unit);
    if (Atomics.load(words, base + UNIT.owner) === 0) return; // no thread, no cache
    const ticket = Atomics.add(words, base + UNIT.tail, 1);
    const slot = slotOf(base, ticket);
    Atomics.store(words, slot + SEQUENCE, ticket); // names no slot content: a reader takes it for uncommitted
    Atomics.store(words, slot + KIND, kind);
    Atomics.store(words, slot + ARGUMENT, argument);
    Atomics.store(words, slot + PAGE, page);
    Atomics.store(words, slot + FRAMES, frames);
    Atomics.store(words, slot + SEQUENCE, (ticket + 1) | 0); // commit
    this.tickets[unit] = ticket;
    this.waitingFor |= 1 << unit;
  }

  private isUnitServed(unit: number): boolean {
    const { words } = this.regions;
    const base = this.baseOf(unit);
    if (Atomics.load(words, base + UNIT.owner) === 0) return true;
    return ((Atomics.load(words, base + UNIT.head) - (this.tickets[unit] ?? 0)) | 0) > 0;
  }

  private baseOf(unit: number): number {
    return this.regions.unitRows + unit * UNIT.words;
  }
}
