// hot path, guarded by bench/src/hypervisor: GNTTABOP_map_grant_ref and GNTTABOP_unmap_grant_ref, batched.
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  type GntStatus,
  type MapOp,
  type UnmapOp,
} from '../hypercalls.ts';
import { DOMID_SELF, type DomId, type FrameNumber, type GrantHandle, type GrantRef } from '../ids.ts';
import type { DomainMemory } from '../memory/domain-memory.ts';
import type { Identity, Tables } from '../memory/tables.ts';
import type { DeviceHolds } from './device-holds.ts';
import type { ForeignGrants, HeldGrants } from './foreign-grants.ts';
import {
  MAPTRACK_FRAME,
  MAPTRACK_GRANTER,
  MAPTRACK_LOWERED,
  MAPTRACK_REF,
  MAPTRACK_STATE,
  type Maptrack,
  runLength,
} from './maptrack.ts';

/** The two parts of a mapping. */
export const MAP_PARTS = GNTMAP_device_map | GNTMAP_host_map;
/** Parts and access: the GNTMAP_* bits that are kept. */
export const MAP_FLAGS = MAP_PARTS | GNTMAP_readonly;
const NO_HANDLE = -1 as GrantHandle; // never valid: handles are not negative

/** What the mapping hypercalls of one domain work on. */
export interface MappingParts {
  /** The shared tables. */
  readonly tables: Tables;
  /** The calling domain. */
  readonly self: Identity;
  /** Grants of others that it holds. */
  readonly held: HeldGrants;
  /** Its map-track table. */
  readonly maptrack: Maptrack;
  /** Its memory. */
  readonly memory: DomainMemory;
  /** What its devices reach through grants. */
  readonly devices: DeviceHolds;
}

/** Maps foreign grants for one domain. */
export class GrantMapper {
  private readonly parts: MappingParts;
  private readonly words: Int32Array;
  private readonly maptrack: Maptrack;
  /** Whose grants mapOne maps: looked up once for neighbours in a batch. */
  private granter: ForeignGrants | undefined;
  /** Out of mapOne. */
  private handle: GrantHandle = NO_HANDLE;
  private frame = -1;
  /** Unmaps that wait for a device to forget: what was asked for. */
  private unfinished: { readonly handle: GrantHandle; readonly flags: number }[] = [];

  /** Map with `parts`. */
  constructor(parts: MappingParts) {
    this.parts = parts;
    this.words = parts.tables.words;
    this.maptrack = parts.maptrack;
  }

  /** Map each grant; every element gets its own status. */
  map(ops: readonly MapOp[]): void {
    let dom = -1;
    for (let i = 0; i < ops.length; i++) {
      const op = ops[i] as MapOp; // below length
      if (op.dom !== dom) {
        dom = op.dom;
        this.granter = this.granterOf(op.dom);
      }
      op.status = this.mapOne(op.ref, op.flags);
      op.handle = this.handle;
      op.frame = this.frame as FrameNumber; // meaningful only when mapped
    }
  }

  /**
   * Unmap each handle; every element gets its own status. Devices lose them all behind one invalidation; while it is not
   * confirmed the status is general_error, the grant stays pinned, and `finish` completes the rest.
   */
  unmap(ops: readonly UnmapOp[]): void {
    let isLowered = false;
    for (let i = 0; i < ops.length; i++) {
      const op = ops[i] as UnmapOp; // below length
      if ((op.flags & GNTMAP_device_map) !== 0) isLowered = this.lowerDevice(op.handle) || isLowered;
    }
    const isConfirmed = !isLowered || this.parts.devices.flush();
    for (let i = 0; i < ops.length; i++) {
      const op = ops[i] as UnmapOp; // below length
      op.status = this.unmapOne(op.handle, op.flags, isConfirmed);
    }
  }

  /**
   * Complete unmaps that no device had confirmed, once it has: their callers need not ask again. Never blocks.
   * @returns whether any is still under way
   */
  finish(): boolean {
    if (this.unfinished.length === 0) return false;
    if (!this.parts.devices.isFlushed()) return true;
    // A handle that its caller has unmapped meanwhile is not found: it has a generation.
    for (const { handle, flags } of this.unfinished) this.unmapOne(handle, flags, true);
    this.unfinished = [];
    return false;
  }

  /** The memory of a host mapping, or of `frames` frames from there. @throws RangeError if it is not mapped so */
  bytes(handle: GrantHandle, frames: number): Uint8Array {
    const at = this.maptrack.find(handle);
    if (at < 0 || ((this.words[at + MAPTRACK_STATE] ?? 0) & GNTMAP_host_map) === 0) {
      throw new RangeError(`Cannot reach mapping ${handle}: not a live host mapping`);
    }
    const frame = (this.words[at + MAPTRACK_FRAME] ?? -1) as FrameNumber; // recorded by commit
    if (frames === 1) return this.parts.memory.pageBytes(frame);
    const run = this.parts.memory.run(frame, frames);
    if (run === undefined) throw new RangeError(`Cannot reach ${frames} frames from mapping ${handle}: no such run`);
    return run.bytes;
  }

  /** Grants of a live domain. A frame that is mapped is checked to be this very life's. */
  private granterOf(dom: DomId): ForeignGrants | undefined {
    const { tables, self, held } = this.parts;
    const granter = dom === DOMID_SELF ? self : tables.liveIdentity(dom);
    return granter === 0 ? undefined : held.of(granter);
  }

  /** Xen's order of checks: parts, domain, handle, reference, entry. */
  private mapOne(ref: GrantRef, flags: number): GntStatus {
    this.handle = NO_HANDLE;
    this.frame = -1;
    if ((flags & MAP_PARTS) === 0) return GNTST.bad_gntref;
    const grants = this.granter;
    if (grants === undefined) return GNTST.bad_domain;
    const { devices } = this.parts;
    const { granter } = grants;
    const index = this.maptrack.reserve(granter, ref, 1);
    if (index < 0) return GNTST.no_space;
    let status = grants.pin(ref, flags);
    if (status === GNTST.okay) {
      this.frame = grants.frameOf(ref);
      if ((flags & GNTMAP_device_map) === 0 || devices.hold(granter, this.frame as FrameNumber, 1, flags)) {
        this.handle = this.maptrack.commit(index, flags & MAP_FLAGS, this.frame);
        return GNTST.okay;
      }
      grants.unpin(ref, flags);
      status = GNTST.no_device_space;
    }
    this.maptrack.release(index);
    grants.letGo();
    return status;
  }

  /** First half of an unmap of a device part. @returns whether an invalidation must be waited for */
  private lowerDevice(handle: GrantHandle): boolean {
    const at = this.maptrack.find(handle);
    if (at < 0) return false;
    const state = this.words[at + MAPTRACK_STATE] ?? 0;
    if ((state & GNTMAP_device_map) === 0) return false;
    // The same handle twice in one batch, or again after an unconfirmed flush: already lowered, still to be waited for.
    if ((state & MAPTRACK_LOWERED) !== 0) return true;
    this.maptrack.lowered(at);
    const granter = this.words[at + MAPTRACK_GRANTER] ?? 0;
    const first = (this.words[at + MAPTRACK_FRAME] ?? -1) as FrameNumber; // recorded by commit
    return this.parts.devices.letGo(granter, first, runLength(state), state);
  }

  private unmapOne(handle: GrantHandle, flags: number, isConfirmed: boolean): GntStatus {
    const at = this.maptrack.find(handle);
    if (at < 0) return GNTST.bad_handle;
    const state = this.words[at + MAPTRACK_STATE] ?? 0;
    const parts = flags & state & MAP_PARTS;
    if (parts === 0) return GNTST.bad_handle;
    if ((parts & GNTMAP_device_map) !== 0 && !isConfirmed) {
      this.unfinished.push({ handle, flags });
      return GNTST.general_error;
    }
    const grants = this.parts.held.of(this.words[at + MAPTRACK_GRANTER] ?? 0);
    const gone = parts | (state & GNTMAP_readonly);
    const left = state & MAP_PARTS & ~parts;
    const ref = this.words[at + MAPTRACK_REF] ?? 0;
    const count = runLength(state);
    if (count === 1) grants.unpin(ref, gone);
    else grants.unpinRun(ref, count, gone);
    this.maptrack.keep(at, left === 0 ? 0 : left | (state & GNTMAP_readonly));
    grants.letGo();
    return GNTST.okay;
  }
}
