// hot path, guarded by bench/src/hypervisor: pin and unpin one foreign grant for the calling domain.
//
// An active entry is *claimed* by the domain that pins it: a compare-exchange of its owner word from 0. From then to the
// last unpin only that domain's thread writes the entry, so nothing here needs a lock, and nothing half-done survives:
// after the fence the hypervisor finds each claimed entry through the map-track table and wipes it (ADR 0003).

import { GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly, GNTST, type GntStatus } from '../hypercalls.ts';
import { EXTENT_SHIFT } from '../ids.ts';
import type { DomainMemory } from '../memory/domain-memory.ts';
import { type Extent, OWNER_CLAIM, PEER_CLAIM } from '../memory/extent.ts';
import { ACTIVE_WORDS, type Identity, identityDomid, type Tables } from '../memory/tables.ts';
import { GRANT_WORDS, GTF_permit_access, GTF_readonly, GTF_type_mask, grantDomid } from './grant-entry.ts';
import { hasWriter, pinsOf, statusBits, wouldOverflow } from './pins.ts';

const OWNER = 0;
const PINS = 1;
const FRAME = 2;
const INDEX_MASK = (1 << EXTENT_SHIFT) - 1;
/** A guest that flips its flags holds us for this many tries at most (XSA-295). */
const MAX_TRIES = 5;
/** Parts and access of a mapping: the bits that pins are made of. */
const PIN_FLAGS = GNTMAP_device_map | GNTMAP_host_map | GNTMAP_readonly;

/** Pins foreign grants on behalf of one domain. */
export class GrantPins {
  /** Frame of the grant pinned last. */
  frame = -1;
  private readonly tables: Tables;
  private readonly words: Int32Array;
  private readonly memory: DomainMemory;
  private readonly grantTables: readonly Int32Array[];
  private readonly self: Identity;

  /** Work for `self`, over the grant tables of all domains by domid. */
  constructor(tables: Tables, self: Identity, grantTables: readonly Int32Array[], memory: DomainMemory) {
    this.tables = tables;
    this.words = tables.words;
    this.self = self;
    this.grantTables = grantTables;
    this.memory = memory;
  }

  /**
   * Add a mapping with GNTMAP_* `flags` of grant `ref` of `granter`; on success its frame is in `frame`.
   *
   * Shared words: flags of the grant entry [GUEST/XEN], active entry [claiming domain], frame state [its holders].
   * @returns GNTST.okay, or the refusal with everything as it was
   */
  pin(granter: Identity, ref: number, flags: number): GntStatus {
    const domid = identityDomid(granter);
    if (ref < 0 || ref >= this.tables.grants) return GNTST.bad_gntref;
    const entry = this.tables.active(domid) + ref * ACTIVE_WORDS;
    const owner = Atomics.compareExchange(this.words, entry + OWNER, 0, this.self);
    if (owner === 0 && this.tables.liveIdentity(domid) !== granter) {
      // Died since we looked it up. From the claim on its remains stay in place until we let go (identity, not domid).
      Atomics.store(this.words, entry + OWNER, 0);
      return GNTST.bad_domain;
    }
    if (owner !== 0 && owner !== this.self) return GNTST.general_error;
    const pins = this.words[entry + PINS] ?? 0;
    const more = pinsOf(flags & PIN_FLAGS);
    if (wouldOverflow(pins, more)) return GNTST.general_error;
    const isFirst = pins === 0;
    const isWrite = (flags & GNTMAP_readonly) === 0;
    if (isFirst || (isWrite && !hasWriter(pins))) {
      const status = this.takeAccess(domid, ref, pins, more, isWrite);
      if (status !== GNTST.okay) {
        if (isFirst) Atomics.store(this.words, entry + OWNER, 0);
        return status;
      }
    }
    if (isFirst) {
      const status = this.takeFrame(granter, domid, ref, entry);
      if (status !== GNTST.okay) return status;
    }
    this.words[entry + PINS] = pins + more;
    this.frame = this.words[entry + FRAME] ?? -1;
    return GNTST.okay;
  }

  /** Take one mapping away again. `frame` is what was recorded; status bits and claims follow from the pins left. */
  unpin(granter: Identity, ref: number, flags: number): void {
    const domid = identityDomid(granter);
    const entry = this.tables.active(domid) + ref * ACTIVE_WORDS;
    const before = this.words[entry + PINS] ?? 0;
    const pins = (before - pinsOf(flags & PIN_FLAGS)) | 0;
    this.words[entry + PINS] = pins;
    const gone = statusBits(before) & ~statusBits(pins);
    if (gone !== 0) this.clearStatus(domid, ref, gone);
    if (pins === 0) this.dropFrame(domid, entry);
  }

  /** The pins of a grant that this domain has claimed; 0 if it has not. */
  pinsOf(granter: Identity, ref: number): number {
    const entry = this.tables.active(identityDomid(granter)) + ref * ACTIVE_WORDS;
    return Atomics.load(this.words, entry + OWNER) === this.self ? (this.words[entry + PINS] ?? 0) : 0;
  }

  /** Check the guest's entry and set its status bits, all by one compare-exchange of flags and domid together. */
  private takeAccess(domid: number, ref: number, pins: number, more: number, isWrite: boolean): GntStatus {
    const table = this.grantTables[domid];
    if (table === undefined) return GNTST.bad_domain;
    const at = ref * GRANT_WORDS;
    const bits = statusBits(pins + more);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const seen = Atomics.load(table, at);
      if ((seen & GTF_type_mask) !== GTF_permit_access) return GNTST.general_error;
      if (grantDomid(seen) !== identityDomid(this.self)) return GNTST.general_error;
      if (isWrite && (seen & GTF_readonly) !== 0) return GNTST.general_error;
      if (Atomics.compareExchange(table, at, seen, seen | bits) === seen) return GNTST.okay;
    }
    return GNTST.general_error;
  }

  /** Read the frame once, check that it is the granter's and ours to see, and claim it. Undoes the first pin on refusal. */
  private takeFrame(granter: Identity, domid: number, ref: number, entry: number): GntStatus {
    const frame = Atomics.load(this.grantTables[domid] ?? this.words, ref * GRANT_WORDS + 1);
    const extent = frame >= 0 ? this.memory.extentOf(frame) : undefined;
    if (extent !== undefined && this.claimFrame(extent, granter, frame & INDEX_MASK)) {
      this.words[entry + FRAME] = frame;
      return GNTST.okay;
    }
    this.clearStatus(domid, ref, statusBits(-1));
    Atomics.store(this.words, entry + OWNER, 0);
    return GNTST.bad_page;
  }

  private claimFrame(extent: Extent, granter: Identity, index: number): boolean {
    const { owner, peer, frames } = extent.grant;
    if (owner !== granter || index >= frames || (peer !== this.self && owner !== this.self)) return false;
    return extent.claim(index, owner === this.self ? OWNER_CLAIM : PEER_CLAIM);
  }

  private dropFrame(domid: number, entry: number): void {
    const frame = this.words[entry + FRAME] ?? -1;
    const extent = this.memory.extentOf(frame);
    if (extent !== undefined) {
      extent.release(frame & INDEX_MASK, extent.grant.owner === this.self ? OWNER_CLAIM : PEER_CLAIM);
    }
    this.words[entry + FRAME] = -1;
    Atomics.store(this.words, entry + OWNER, 0);
    if (this.tables.liveIdentity(domid) === 0) this.memory.granterMayBeGone();
  }

  private clearStatus(domid: number, ref: number, bits: number): void {
    const table = this.grantTables[domid];
    if (table !== undefined) Atomics.and(table, ref * GRANT_WORDS, ~bits);
  }
}
