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

const CHUNK_SHIFT = 10;
const CHUNK = 1 << CHUNK_SHIFT;
/** Grant references above this cannot exist: the hypervisor has no such tables. */
const MAX_REF = 1 << 22;

/** Persistent mappings of one run of 1024 references: frame + 1, or 0. */
interface Chunk {
  readonly frames: Int32Array;
  readonly handles: Int32Array;
}

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
  private readonly chunks: (Chunk | undefined)[];
  private readonly segmentPages: Map<number, { readonly handle: GrantHandle; readonly bytes: Uint8Array }>;
  private readonly mapOps: MapOp[];

  constructor(hypercalls: Hypercalls, dom: DomId, isPersistent: boolean, maxPersistent: number) {
    this.hypercalls = hypercalls;
    this.dom = dom;
    this.isPersistent = isPersistent;
    this.maxPersistent = maxPersistent;
    this.persistentCount = 0;
    this.chunks = [];
    this.segmentPages = new Map();
    this.mapOps = [];
  }

  /** Tell the frame of a reference that is mapped persistently, or −1. */
  lookup(ref: number): number {
    const chunk = ref < MAX_REF ? this.chunks[ref >>> CHUNK_SHIFT] : undefined;
    return chunk === undefined ? -1 : (chunk.frames[ref & (CHUNK - 1)] as number) - 1; // in range: masked
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
   * Map a page of indirect segments for reading and return its bytes, or undefined if the reference is refused.
   * The bytes are the guest's: copy before looking.
   */
  segmentPage(ref: number): Uint8Array | undefined {
    const known = this.segmentPages.get(ref);
    if (known !== undefined) return known.bytes;
    if (ref >= MAX_REF) return undefined;
    const op = this.newOp(ref, GNTMAP_host_map | GNTMAP_readonly);
    this.hypercalls.mapGrants([op]);
    if (op.status !== GNTST.okay) return undefined;
    const page = { handle: op.handle, bytes: this.hypercalls.mappedBytes(op.handle) };
    if (this.segmentPages.size >= this.maxPersistent) this.dropSegmentPages();
    this.segmentPages.set(ref, page);
    return page.bytes;
  }

  /** Drop the pages of indirect segments where they are not kept. */
  segmentPagesDone(): void {
    if (!this.isPersistent) this.dropSegmentPages();
  }

  /** Unmap everything that is kept. Only while nothing of this connection is in flight. */
  releaseAll(): void {
    const handles: GrantHandle[] = [];
    for (const chunk of this.chunks) {
      if (chunk === undefined) continue;
      for (let i = 0; i < CHUNK; i += 1) {
        if (chunk.frames[i] !== 0) handles.push(chunk.handles[i] as GrantHandle); // stored from a MapOp
      }
    }
    this.chunks.length = 0;
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
        const chunk = this.chunkOf(op.ref);
        chunk.frames[op.ref & (CHUNK - 1)] = op.frame + 1;
        chunk.handles[op.ref & (CHUNK - 1)] = op.handle;
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

  private chunkOf(ref: number): Chunk {
    const index = ref >>> CHUNK_SHIFT;
    let chunk = this.chunks[index];
    if (chunk === undefined) {
      chunk = { frames: new Int32Array(CHUNK), handles: new Int32Array(CHUNK) };
      this.chunks[index] = chunk;
    }
    return chunk;
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
