// hot path, guarded by bench/src/hypervisor: the grants of one other domain that this domain holds.
//
// Pins are private to the mapping domain: a grant names exactly one domain, and that domain is one thread. What others
// must see of them are the status bits in the granter's entry, set by one compare-exchange of flags and domid together
// and cleared by one atomic `and`. A thread that is killed in between has named the grant in its map-track table before.
import { GNTMAP_readonly, GNTST, type GntStatus } from '../hypercalls.ts';
import { EXTENT_SHIFT } from '../ids.ts';
import type { DomainMemory } from '../memory/domain-memory.ts';
import { type Extent, FRAME_ALLOCATED, FRAME_FREEING } from '../memory/extent.ts';
import { type Identity, identityDomid } from '../memory/tables.ts';
import {
  GRANT_WORDS,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_type_mask,
  GTF_writing,
  grantDomid,
  grantWord,
} from './grant-entry.ts';
import { hasWriter, pinsOf, statusBits, wouldOverflow } from './pins.ts';

const INDEX_MASK = (1 << EXTENT_SHIFT) - 1;
/** A guest that flips its flags holds us for this many tries at most (XSA-295). */
const MAX_TRIES = 5;

/** What this domain holds of one granter, by reference. */
export class ForeignGrants {
  /** The granting domain. */
  readonly granter: Identity;
  /** References that are pinned now. */
  held = 0;
  private readonly table: Int32Array;
  private readonly entries: number;
  private readonly self: Identity;
  private readonly selfDomid: number;
  private readonly memory: DomainMemory;
  /** Entry of a writable grant for us that is not held. */
  private readonly plain: number;
  /** Pin word of each reference, and the frame recorded with the first pin. */
  private readonly pins: Int32Array;
  private readonly frames: Int32Array;

  /** Hold grants of `granter`, whose table is `table`, for `self`. */
  constructor(granter: Identity, table: Int32Array, self: Identity, memory: DomainMemory) {
    this.granter = granter;
    this.table = table;
    this.entries = table.length / GRANT_WORDS;
    this.self = self;
    this.selfDomid = identityDomid(self);
    this.memory = memory;
    this.plain = grantWord(GTF_permit_access, this.selfDomid);
    this.pins = new Int32Array(this.entries);
    this.frames = new Int32Array(this.entries);
  }

  /** Pins of a reference; 0 if it is not held. */
  pinsOf(ref: number): number {
    return this.pins[ref] ?? 0;
  }

  /** Frame of a reference that is pinned. */
  frameOf(ref: number): number {
    return this.frames[ref] ?? -1;
  }

  /**
   * Add a mapping with GNTMAP_* `flags`.
   *
   * Shared words: flags and domid of the entry [GUEST/XEN]; its frame is read once, with the first pin.
   * @returns GNTST.okay, or the refusal with everything as it was
   */
  pin(ref: number, flags: number): GntStatus {
    const pins = this.pins[ref];
    if (pins === undefined) return GNTST.bad_gntref;
    const more = pinsOf(flags);
    if (wouldOverflow(pins, more)) return GNTST.general_error;
    const isWrite = (flags & GNTMAP_readonly) === 0;
    if (pins === 0) {
      const status = this.takeAccess(ref, isWrite, false);
      if (status !== GNTST.okay) return status;
      const frame = this.table[ref * GRANT_WORDS + 1] ?? -1; // published with the flags that the compare-exchange saw
      if (!this.isSharedFrame(frame)) {
        this.clearStatus(ref, GTF_reading | GTF_writing);
        return GNTST.bad_page;
      }
      this.frames[ref] = frame;
      this.held += 1;
    } else if (isWrite && !hasWriter(pins)) {
      const status = this.takeAccess(ref, true, true);
      if (status !== GNTST.okay) return status;
    }
    this.pins[ref] = pins + more;
    return GNTST.okay;
  }

  /**
   * Pin `count` references from `ref` on whose frames follow each other, all or none.
   * @param expected the first frame, if it must be a certain one, else −1
   */
  pinRun(ref: number, count: number, flags: number, expected: number): GntStatus {
    if (ref < 0 || count > this.entries - ref) return GNTST.bad_gntref;
    const { table, pins, frames, plain } = this;
    const more = pinsOf(flags);
    const taken = plain | statusBits(more);
    let states: Int32Array | undefined;
    let index = 0;
    let next = expected;
    let fresh = 0;
    let done = 0;
    let status: GntStatus = GNTST.okay;
    // One pass: the checks of one entry cost little while the atomic on the next is under way.
    while (done < count) {
      const at = ref + done;
      // Mostly the entry is a plain grant that nobody holds: then the compare-exchange alone says so.
      if (pins[at] === 0 && Atomics.compareExchange(table, at * GRANT_WORDS, plain, taken) === plain) {
        frames[at] = table[at * GRANT_WORDS + 1] ?? -1;
        pins[at] = more;
        fresh += 1;
      } else {
        status = this.pin(at, flags);
        if (status !== GNTST.okay) break;
      }
      done += 1;
      const frame = frames[at] ?? -1;
      if (states === undefined) {
        states = this.statesOf(frame, count);
        index = frame & INDEX_MASK;
      } else index += 1;
      if ((next >= 0 && frame !== next) || states === undefined || !isInUse(states[index])) {
        status = GNTST.bad_page;
        break;
      }
      next = frame + 1;
    }
    this.held += fresh;
    if (status !== GNTST.okay) for (let i = 0; i < done; i++) this.unpin(ref + i, flags);
    return status;
  }

  /** Take one mapping away again; the status bits follow from the pins that are left, and from nothing else (XSA-230). */
  unpin(ref: number, flags: number): void {
    const before = this.pins[ref] ?? 0;
    const pins = (before - pinsOf(flags)) | 0;
    this.pins[ref] = pins;
    const gone = statusBits(before) & ~statusBits(pins);
    if (gone !== 0) this.clearStatus(ref, gone);
    if (pins === 0) this.held -= 1;
  }

  /** Undo `pinRun`, or the like of it: `count` references from `ref` on. */
  unpinRun(ref: number, count: number, flags: number): void {
    const { table, pins, plain } = this;
    const only = pinsOf(flags);
    const bits = statusBits(only);
    const taken = plain | bits;
    let gone = 0;
    for (let at = ref; at < ref + count; at++) {
      if (pins[at] !== only) {
        this.unpin(at, flags);
        continue;
      }
      pins[at] = 0;
      gone += 1;
      if (Atomics.compareExchange(table, at * GRANT_WORDS, taken, plain) !== taken) this.clearStatus(at, bits);
    }
    this.held -= gone;
  }

  /** After the last entry of the map-track table that names this granter is free: see whether the granter has waited for it. */
  letGo(): void {
    if (this.held === 0) this.memory.granterMayBeGone(this.granter);
  }

  /** Check the guest's entry and set its status bits. `isHeld`: we hold it already, for reading. */
  private takeAccess(ref: number, isWrite: boolean, isHeld: boolean): GntStatus {
    const at = ref * GRANT_WORDS;
    const bits = isWrite ? GTF_reading | GTF_writing : GTF_reading;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const seen = this.table[at] ?? 0; // a hint: the compare-exchange says whether it holds
      if ((seen & GTF_type_mask) !== GTF_permit_access || grantDomid(seen) !== this.selfDomid) {
        return GNTST.general_error;
      }
      if (isWrite && (seen & GTF_readonly) !== 0) return GNTST.general_error;
      // Held, but not by us: the domid was changed under a mapping of somebody else.
      if (!isHeld && (seen & (GTF_reading | GTF_writing)) !== 0) return GNTST.general_error;
      if (Atomics.compareExchange(this.table, at, seen, seen | bits) === seen) return GNTST.okay;
    }
    return GNTST.general_error;
  }

  /** Whether a frame is the granter's, in use, and in memory that we may hold. Comes after the compare-exchange. */
  private isSharedFrame(frame: number): boolean {
    return isInUse(this.statesOf(frame, 1)?.[frame & INDEX_MASK]);
  }

  /**
   * State words of the extent that holds `count` frames from `frame` on, if it is the granter's and we may hold it. Comes
   * after the (first) compare-exchange, so that a builder that takes the extent back sees either our map-track entry or
   * our refusal.
   */
  private statesOf(frame: number, count: number): Int32Array | undefined {
    const extent: Extent | undefined = frame >= 0 ? this.memory.extentOf(frame) : undefined;
    if (extent === undefined) return undefined;
    const { owner, peer, frames } = extent.grant;
    if (owner !== this.granter || (peer !== this.self && owner !== this.self)) return undefined;
    return count > frames - (frame & INDEX_MASK) ? undefined : extent.states;
  }

  private clearStatus(ref: number, bits: number): void {
    Atomics.and(this.table, ref * GRANT_WORDS, ~bits);
  }
}

function isInUse(state: number | undefined): boolean {
  return ((state ?? 0) & (FRAME_ALLOCATED | FRAME_FREEING)) === FRAME_ALLOCATED;
}

/** Everything that one domain holds of others. */
export class HeldGrants {
  private readonly byDomid: (ForeignGrants | undefined)[] = [];
  private readonly tables: readonly Int32Array[];
  private readonly self: Identity;
  private readonly memory: DomainMemory;

  /** Hold for `self`, over the grant tables of all domains by domid. */
  constructor(tables: readonly Int32Array[], self: Identity, memory: DomainMemory) {
    this.tables = tables;
    this.self = self;
    this.memory = memory;
  }

  /** The grants of `granter`; what was held of a former life of its number has been let go by then. */
  of(granter: Identity): ForeignGrants {
    const domid = identityDomid(granter);
    const known = this.byDomid[domid];
    if (known !== undefined && known.granter === granter) return known;
    const table = this.tables[domid] ?? new Int32Array(0);
    const grants = new ForeignGrants(granter, table, this.self, this.memory);
    this.byDomid[domid] = grants;
    return grants;
  }
}
