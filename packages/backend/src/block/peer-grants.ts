// Maps the pages that a guest's requests name: kept mapped (persistent grants), or for one request only.
// hot path: bench/src/block
import {
  type DomId,
  type FrameNumber,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  type GrantHandle,
  type GrantRef,
  type Hypercalls,
  type MapOp,
  type UnmapOp,
} from '@splitring/hypervisor';

/** Grant references from here on cannot exist: the hypervisor has no such tables. */
const MAX_REF = 1 << 22;
const FIRST_REFS = 1024;

/**
 * The mappings of one connection. Data pages are mapped for the device only: no byte of them is ever touched here.
 *
 * References are the guest's numbers: any u32 is taken, and those that do not map are refused.
 */
export class PeerGrants {
  /** Mappings kept now. */
  persistentCount: number;
  /** Whether mappings are kept. */
  readonly isPersistent: boolean;
  private readonly hypercalls: Hypercalls;
  private readonly dom: DomId;
  private readonly maxPersistent: number;
  /** Persistent mappings by reference: frame + 1, or 0. Grown when a mapping has succeeded, so no longer than a grant table. */
  private frames: Int32Array;
  private handles: Int32Array;
  private readonly segmentPages: Map<number, { readonly handle: GrantHandle; readonly words: Int32Array }>;
  private readonly mapOps: MapOp[];

  constructor(hypercalls: Hypercalls, dom: DomId, isPersistent: boolean, maxPersistent: number) {
    this.hypercalls = hypercalls;
    this.dom = dom;
    this.isPersistent = isPersistent;
    this.maxPersistent = maxPersistent;
    this.persistentCount = 0;
    this.frames = new Int32Array(FIRST_REFS);
    this.handles = new Int32Array(FIRST_REFS);
    this.segmentPages = new Map();
    this.mapOps = [];
  }

  /** Pages kept mapped now, those of indirect segments among them. */
  get keptPages(): number {
    return this.persistentCount + this.segmentPages.size;
  }

  /** Tell the frame of a reference that is mapped persistently, or −1. */
  lookup(ref: number): number {
    const { frames } = this;
    return ref < frames.length ? (frames[ref] as number) - 1 : -1; // in range
  }

  /** Write the frames of `refs` to `frames`. @returns false if one is not mapped persistently: use `resolve` */
  lookupAll(refs: Uint32Array, frames: Int32Array, count: number): boolean {
    const known = this.frames;
    for (let i = 0; i < count; i += 1) {
      const ref = refs[i] as number; // the caller filled `count`
      const frame = ref < known.length ? (known[ref] as number) - 1 : -1; // in range
      if (frame < 0) return false;
      frames[i] = frame;
    }
    return true;
  }

  /**
   * Map the references among `refs` that are not mapped and write all their frames to `frames`.
   *
   * @param isWritten whether the device writes to the pages
   * @returns handles to give to `unmap` when the request is over, `undefined` if none, or false: a reference was refused
   * and nothing new is left mapped
   */
  resolve(refs: Uint32Array, frames: Int32Array, count: number, isWritten: boolean): GrantHandle[] | undefined | false {
    const { mapOps } = this;
    let missing = 0;
    for (let i = 0; i < count; i += 1) {
      const ref = refs[i] as number; // the caller filled `count`
      const frame = this.isPersistent ? this.lookup(ref) : -1;
      frames[i] = frame;
      if (frame < 0) {
        if (ref >= MAX_REF) return false;
        this.stageMap(missing, ref, isWritten);
        missing += 1;
      }
    }
    if (missing === 0) return undefined;
    const ops = mapOps.slice(0, missing);
    this.hypercalls.mapGrants(ops);
    if (!ops.every((op) => op.status === GNTST.okay)) {
      this.unmap(ops.filter((op) => op.status === GNTST.okay).map((op) => op.handle));
      return false;
    }
    return this.keep(ops, frames, count);
  }

  /** Undo mappings that belonged to one request. */
  unmap(handles: readonly GrantHandle[]): void {
    if (handles.length === 0) return;
    const flags = GNTMAP_device_map;
    const ops = handles.map((handle): UnmapOp => ({ handle, flags, status: GNTST.okay }));
    this.hypercalls.unmapGrants(ops);
  }

  /**
   * Map a page of indirect segments for reading and return its words, or undefined if the reference is refused.
   * The words are the guest's: what was read once may be different the next time.
   */
  segmentPage(ref: number): Int32Array | undefined {
    const known = this.segmentPages.get(ref);
    if (known !== undefined) return known.words;
    if (ref >= MAX_REF) return undefined;
    const op = this.newOp(ref, GNTMAP_host_map | GNTMAP_readonly);
    this.hypercalls.mapGrants([op]);
    if (op.status !== GNTST.okay) return undefined;
    const bytes = this.hypercalls.mappedBytes(op.handle);
    const page = { handle: op.handle, words: new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2) };
    if (this.segmentPages.size >= this.maxPersistent) this.dropSegmentPages();
    this.segmentPages.set(ref, page);
    return page.words;
  }

  /** Drop the pages of indirect segments where they are not kept. */
  segmentPagesDone(): void {
    if (!this.isPersistent) this.dropSegmentPages();
  }

  /** Unmap everything that is kept. Only while nothing of this connection is in flight. */
  releaseAll(): void {
    const handles: GrantHandle[] = [];
    for (const [ref, frame] of this.frames.entries()) {
      if (frame !== 0) handles.push(this.handles[ref] as GrantHandle); // stored from a MapOp
    }
    this.frames.fill(0);
    this.persistentCount = 0;
    this.unmap(handles);
    this.dropSegmentPages();
  }

  /** Keep what may be kept of `ops`, fill the gaps in `frames`; what cannot be kept is the request's. */
  private keep(ops: readonly MapOp[], frames: Int32Array, count: number): GrantHandle[] | undefined {
    let next = 0;
    let transient: GrantHandle[] | undefined;
    for (let i = 0; i < count; i += 1) {
      if (frames[i] !== -1) continue;
      const op = ops[next] as MapOp; // one for each gap, in order
      next += 1;
      frames[i] = op.frame;
      if (this.isPersistent && this.persistentCount < this.maxPersistent && this.lookup(op.ref) < 0) {
        if (op.ref >= this.frames.length) this.grow(op.ref);
        this.frames[op.ref] = op.frame + 1;
        this.handles[op.ref] = op.handle;
        this.persistentCount += 1;
      } else {
        transient ??= [];
        transient.push(op.handle);
      }
    }
    return transient;
  }

  private stageMap(index: number, ref: number, isWritten: boolean): void {
    // A persistent mapping serves reads and writes alike, so it is writable whatever this request does.
    const access = this.isPersistent || isWritten ? 0 : GNTMAP_readonly;
    const known = this.mapOps[index];
    if (known === undefined) {
      this.mapOps[index] = this.newOp(ref, GNTMAP_device_map | access);
      return;
    }
    known.ref = ref as GrantRef;
    known.flags = GNTMAP_device_map | access;
  }

  private newOp(ref: number, flags: number): MapOp {
    return {
      dom: this.dom,
      ref: ref as GrantRef, // unchecked on purpose: the hypervisor judges it
      flags,
      status: GNTST.okay,
      handle: 0 as GrantHandle,
      frame: 0 as FrameNumber,
    };
  }

  private grow(ref: number): void {
    const length = 2 ** (32 - Math.clz32(ref)); // the next power of two above
    const { frames, handles } = this;
    this.frames = new Int32Array(length);
    this.frames.set(frames);
    this.handles = new Int32Array(length);
    this.handles.set(handles);
  }

  private dropSegmentPages(): void {
    if (this.segmentPages.size === 0) return;
    const ops = [...this.segmentPages.values()].map(
      ({ handle }): UnmapOp => ({ handle, flags: GNTMAP_host_map, status: GNTST.okay }),
    );
    this.segmentPages.clear();
    this.hypercalls.unmapGrants(ops);
  }
}
