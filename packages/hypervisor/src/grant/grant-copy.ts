// hot path, guarded by bench/src/hypervisor: GNTTABOP_copy between grants and own frames.
import type { CopyOp, CopySide } from '../hypercalls.ts';
import { GNTMAP_host_map, GNTMAP_readonly, GNTST, type GntStatus } from '../hypercalls.ts';
import { DOMID_SELF, EXTENT_SHIFT, type FrameNumber, PAGE_SIZE } from '../ids.ts';
import { FRAME_ALLOCATED } from '../memory/extent.ts';
import type { Identity } from '../memory/tables.ts';
import type { MappingParts } from './grant-mapper.ts';

const INDEX_MASK = (1 << EXTENT_SHIFT) - 1;

/** Copies for one domain. */
export class GrantCopy {
  private readonly parts: MappingParts;
  /** Out of `take`: the page, and what `drop` needs. */
  private page: Uint8Array | undefined;
  private granter: Identity = 0;
  private track = -1;

  /** Copy with `parts`. */
  constructor(parts: MappingParts) {
    this.parts = parts;
  }

  /** Do each copy; every element gets its own status. */
  copy(ops: readonly CopyOp[]): void {
    for (let i = 0; i < ops.length; i++) {
      const op = ops[i] as CopyOp; // below length
      op.status = this.copyOne(op);
    }
  }

  private copyOne(op: CopyOp): GntStatus {
    const { source, dest, lengthBytes } = op;
    if (!fits(source.offset, lengthBytes) || !fits(dest.offset, lengthBytes)) return GNTST.bad_copy_arg;
    let status = this.take(source, GNTMAP_host_map | GNTMAP_readonly);
    if (status !== GNTST.okay) return status;
    const from = this.page;
    const fromGranter = this.granter;
    const fromTrack = this.track;
    status = this.take(dest, GNTMAP_host_map);
    if (status === GNTST.okay) {
      if (from !== undefined && this.page !== undefined) move(from, source.offset, this.page, dest.offset, lengthBytes);
      this.drop(dest, this.granter, this.track, GNTMAP_host_map);
    }
    this.drop(source, fromGranter, fromTrack, GNTMAP_host_map | GNTMAP_readonly);
    return status;
  }

  /**
   * Pin a side for the time of the copy. The map-track entry names the grant, so that a kill in between is undone like
   * any mapping. An entry that is pinned already is checked as strictly as a fresh one (XSA-500).
   */
  private take(side: CopySide, flags: number): GntStatus {
    this.track = -1;
    if ('frame' in side) return this.takeFrame(side.frame);
    const { tables, self, held, maptrack, memory } = this.parts;
    const granter = side.dom === DOMID_SELF ? self : tables.liveIdentity(side.dom);
    if (granter === 0) return GNTST.bad_domain;
    const track = maptrack.reserve(granter, side.ref, 1);
    if (track < 0) return GNTST.no_space;
    const grants = held.of(granter);
    const status = grants.pin(side.ref, flags);
    if (status !== GNTST.okay) {
      maptrack.release(track);
      return status;
    }
    this.granter = granter;
    this.track = track;
    this.page = memory.pageBytes(grants.frameOf(side.ref) as FrameNumber); // pinned: it is ours to see
    return GNTST.okay;
  }

  /** A frame side is only for frames of our own. */
  private takeFrame(frame: FrameNumber): GntStatus {
    const extent = frame >= 0 ? this.parts.memory.extentOf(frame) : undefined;
    const index = frame & INDEX_MASK;
    if (extent === undefined || index >= extent.grant.frames) return GNTST.bad_page;
    if (extent.grant.owner !== this.parts.self) return GNTST.permission_denied;
    if ((Atomics.load(extent.states, index) & FRAME_ALLOCATED) === 0) return GNTST.bad_page;
    this.page = extent.page(index);
    return GNTST.okay;
  }

  private drop(side: CopySide, granter: Identity, track: number, flags: number): void {
    if (track < 0 || 'frame' in side) return;
    const grants = this.parts.held.of(granter);
    grants.unpin(side.ref, flags);
    this.parts.maptrack.release(track);
    grants.letGo();
  }
}

/** Whether `length` bytes at `offset` stay in their page, by subtraction so that nothing wraps. */
function fits(offset: number, length: number): boolean {
  return offset >>> 0 === offset && length >>> 0 === length && offset <= PAGE_SIZE && length <= PAGE_SIZE - offset;
}

function move(from: Uint8Array, at: number, to: Uint8Array, toAt: number, length: number): void {
  to.set(from.subarray(at, at + length), toAt);
}
