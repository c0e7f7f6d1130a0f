// hot path, guarded by bench/src/hypervisor: grants of consecutive frames mapped in one step.
//
// Consecutive references share one map-track entry and one handle; a run of scattered references is several of these.
import { type FrameRun, GNTMAP_device_map, GNTST, type GntStatus, type UnmapOp } from '../hypercalls.ts';
import { DOMID_SELF, type DomId, type FrameNumber, type GrantHandle, type GrantRef } from '../ids.ts';
import type { ForeignGrants } from './foreign-grants.ts';
import { MAP_FLAGS, MAP_PARTS, type MappingParts } from './grant-mapper.ts';
import { MAPTRACK_MOST } from './maptrack.ts';

/** What mapping a run yields. */
export interface MappedRun {
  /** GNTST.okay, or the first refusal: then nothing is mapped. */
  readonly status: GntStatus;
  /** What to unmap, all of them, to undo it. */
  readonly handles: readonly GrantHandle[];
  /** The memory, in one view. */
  readonly run: FrameRun | undefined;
}

/** Maps runs for one domain. */
export class RunMapper {
  private readonly parts: MappingParts;
  private readonly unmap: (ops: readonly UnmapOp[]) => void;

  /** Map with `parts`; `unmap` undoes what was mapped of a run that is refused later. */
  constructor(parts: MappingParts, unmap: (ops: readonly UnmapOp[]) => void) {
    this.parts = parts;
    this.unmap = unmap;
  }

  /** Map grants whose frames follow each other in one extent. */
  map(dom: DomId, refs: readonly GrantRef[], flags: number): MappedRun {
    const { tables, self, held } = this.parts;
    if ((flags & MAP_PARTS) === 0 || refs.length === 0) return refused(GNTST.bad_gntref);
    const granter = dom === DOMID_SELF ? self : tables.liveIdentity(dom);
    if (granter === 0) return refused(GNTST.bad_domain);
    const grants = held.of(granter);
    const handles: GrantHandle[] = [];
    let first = -1;
    let done = 0;
    while (done < refs.length) {
      const ref = refs[done] as GrantRef; // below length
      const count = stretch(refs, done);
      const status = this.mapStretch(grants, ref, count, flags, done === 0 ? -1 : first + done, handles);
      if (status !== GNTST.okay) return this.undo(handles, status);
      if (done === 0) first = grants.frameOf(ref);
      done += count;
    }
    const run = this.parts.memory.run(first as FrameNumber, refs.length); // a frame: it is mapped
    return run === undefined ? this.undo(handles, GNTST.bad_page) : { status: GNTST.okay, handles, run };
  }

  /** Map one stretch of consecutive references. */
  private mapStretch(
    grants: ForeignGrants,
    ref: number,
    count: number,
    flags: number,
    expected: number,
    handles: GrantHandle[],
  ): GntStatus {
    const { maptrack, devices } = this.parts;
    const entry = maptrack.reserve(grants.granter, ref, count);
    if (entry < 0) return GNTST.no_space;
    let status = grants.pinRun(ref, count, flags, expected);
    const first = grants.frameOf(ref) as FrameNumber; // meaningful if pinned
    if (
      status === GNTST.okay &&
      (flags & GNTMAP_device_map) !== 0 &&
      !devices.hold(grants.granter, first, count, flags)
    ) {
      for (let i = 0; i < count; i++) grants.unpin(ref + i, flags);
      status = GNTST.no_device_space;
    }
    if (status === GNTST.okay) {
      handles.push(maptrack.commit(entry, flags & MAP_FLAGS, first));
    } else {
      maptrack.release(entry);
      grants.letGo();
    }
    return status;
  }

  private undo(handles: readonly GrantHandle[], status: GntStatus): MappedRun {
    this.unmap(handles.map((handle): UnmapOp => ({ handle, flags: MAP_PARTS, status: GNTST.okay })));
    return refused(status);
  }
}

/** How many references from `from` on follow each other by one. */
function stretch(refs: readonly GrantRef[], from: number): number {
  const first = refs[from] as number; // below length
  let count = 1;
  while (count < MAPTRACK_MOST && refs[from + count] === first + count) count += 1;
  return count;
}

function refused(status: GntStatus): MappedRun {
  return { status, handles: [], run: undefined };
}
