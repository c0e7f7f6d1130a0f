// hot path, guarded by bench/src/hypervisor: GNTTABOP_map_grant_ref and GNTTABOP_unmap_grant_ref, batched.

import {
  type FrameRun,
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
import type { GrantPins } from './grant-pins.ts';
import {
  MAPTRACK_FRAME,
  MAPTRACK_GRANTER,
  MAPTRACK_LOWERED,
  MAPTRACK_REF,
  MAPTRACK_STATE,
  type Maptrack,
} from './maptrack.ts';

const PARTS = GNTMAP_device_map | GNTMAP_host_map;
const MAP_FLAGS = PARTS | GNTMAP_readonly;
const NO_HANDLE = -1 as GrantHandle; // never valid: handles are not negative

/** Maps foreign grants for one domain. */
export class GrantMapper {
  private readonly tables: Tables;
  private readonly words: Int32Array;
  private readonly self: Identity;
  private readonly pins: GrantPins;
  private readonly maptrack: Maptrack;
  private readonly memory: DomainMemory;
  private readonly devices: DeviceHolds;
  /** Out of mapOne: handle and frame. */
  private handle: GrantHandle = NO_HANDLE;

  /** Map for `self`. */
  constructor(
    tables: Tables,
    self: Identity,
    parts: { pins: GrantPins; maptrack: Maptrack; memory: DomainMemory; devices: DeviceHolds },
  ) {
    this.tables = tables;
    this.words = tables.words;
    this.self = self;
    this.pins = parts.pins;
    this.maptrack = parts.maptrack;
    this.memory = parts.memory;
    this.devices = parts.devices;
  }

  /** Map each grant; every element gets its own status. */
  map(ops: readonly MapOp[]): void {
    for (let i = 0; i < ops.length; i++) {
      const op = ops[i] as MapOp; // below length
      op.status = this.mapOne(op.dom, op.ref, op.flags);
      op.handle = this.handle;
      op.frame = this.pins.frame as FrameNumber; // meaningful only when mapped
    }
  }

  /** Unmap each handle; every element gets its own status. Devices lose them all behind one invalidation. */
  unmap(ops: readonly UnmapOp[]): void {
    let isLowered = false;
    for (let i = 0; i < ops.length; i++) isLowered = this.lowerDevice(ops[i] as UnmapOp) || isLowered; // below length
    const isConfirmed = !isLowered || this.devices.flush();
    for (let i = 0; i < ops.length; i++) {
      const op = ops[i] as UnmapOp; // below length
      op.status = this.unmapOne(op.handle, op.flags, isConfirmed);
    }
  }

  /** Map consecutive frames; nothing stays mapped on refusal. */
  mapRun(
    dom: DomId,
    refs: readonly GrantRef[],
    flags: number,
  ): { status: GntStatus; handles: readonly GrantHandle[]; run: FrameRun | undefined } {
    const handles: GrantHandle[] = [];
    let status: GntStatus = refs.length === 0 ? GNTST.bad_gntref : GNTST.okay;
    let first = -1;
    for (const ref of refs) {
      status = this.mapOne(dom, ref, flags);
      if (status !== GNTST.okay) break;
      handles.push(this.handle);
      if (first < 0) first = this.pins.frame;
      if (this.pins.frame !== first + handles.length - 1) {
        status = GNTST.bad_page;
        break;
      }
    }
    const run = status === GNTST.okay ? this.memory.run(first as FrameNumber, handles.length) : undefined; // just mapped
    if (run !== undefined) return { status, handles, run };
    this.unmap(handles.map((handle) => ({ handle, flags: PARTS, status: GNTST.okay })));
    return { status: status === GNTST.okay ? GNTST.bad_page : status, handles: [], run: undefined };
  }

  /** The memory of host mappings from `handle` on. @throws RangeError if the handle is not live or not a host mapping */
  bytes(handle: GrantHandle, frames: number): Uint8Array {
    const at = this.maptrack.find(handle);
    if (at < 0 || ((this.words[at + MAPTRACK_STATE] ?? 0) & GNTMAP_host_map) === 0) {
      throw new RangeError(`Cannot reach mapping ${handle}: not a live host mapping`);
    }
    const frame = (this.words[at + MAPTRACK_FRAME] ?? -1) as FrameNumber; // recorded by commit
    if (frames === 1) return this.memory.pageBytes(frame);
    const run = this.memory.run(frame, frames);
    if (run === undefined) throw new RangeError(`Cannot reach ${frames} frames from mapping ${handle}: no such run`);
    return run.bytes;
  }

  /** Xen's order of checks: parts, domain, handle, reference, entry. */
  private mapOne(dom: DomId, ref: GrantRef, flags: number): GntStatus {
    this.handle = NO_HANDLE;
    if ((flags & PARTS) === 0) return GNTST.bad_gntref;
    const granter = dom === DOMID_SELF ? this.self : this.tables.liveIdentity(dom);
    if (granter === 0) return GNTST.bad_domain;
    const index = this.maptrack.reserve(granter, ref);
    if (index < 0) return GNTST.no_space;
    let status = this.pins.pin(granter, ref, flags);
    if (status === GNTST.okay && (flags & GNTMAP_device_map) !== 0) {
      if (!this.devices.hold(granter, this.pins.frame as FrameNumber, flags)) {
        this.pins.unpin(granter, ref, flags);
        status = GNTST.no_device_space;
      }
    }
    if (status !== GNTST.okay) {
      this.maptrack.release(index);
      return status;
    }
    this.handle = this.maptrack.commit(index, flags & MAP_FLAGS, this.pins.frame);
    return GNTST.okay;
  }

  /** First half of an unmap with a device part. @returns whether an invalidation must be waited for */
  private lowerDevice(op: UnmapOp): boolean {
    const at = this.maptrack.find(op.handle);
    if (at < 0) return false;
    const state = this.words[at + MAPTRACK_STATE] ?? 0;
    if ((op.flags & state & GNTMAP_device_map) === 0) return false;
    // The same handle twice in one batch, or again after an unconfirmed flush: already lowered, still to be waited for.
    if ((state & MAPTRACK_LOWERED) !== 0) return true;
    this.maptrack.lowered(at);
    const granter = this.words[at + MAPTRACK_GRANTER] ?? 0;
    return this.devices.letGo(granter, (this.words[at + MAPTRACK_FRAME] ?? -1) as FrameNumber, state);
  }

  private unmapOne(handle: GrantHandle, flags: number, isConfirmed: boolean): GntStatus {
    const at = this.maptrack.find(handle);
    if (at < 0) return GNTST.bad_handle;
    const state = this.words[at + MAPTRACK_STATE] ?? 0;
    const parts = flags & state & PARTS;
    if (parts === 0) return GNTST.bad_handle;
    if ((parts & GNTMAP_device_map) !== 0 && !isConfirmed) return GNTST.general_error;
    const granter = this.words[at + MAPTRACK_GRANTER] ?? 0;
    this.pins.unpin(granter, this.words[at + MAPTRACK_REF] ?? 0, parts | (state & GNTMAP_readonly));
    const left = state & PARTS & ~parts;
    this.maptrack.keep(at, left === 0 ? 0 : left | (state & GNTMAP_readonly));
    return GNTST.okay;
  }
}
