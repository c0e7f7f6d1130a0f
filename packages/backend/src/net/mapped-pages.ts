// hot path: bench net
// The pages of one front end as the back end sees them: mapped once and kept, or mapped for one frame and let go.
import {
  type DomId,
  type FrameNumber,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  type GrantHandle,
  type GrantRef,
  type Hypercalls,
  type MapOp,
  type UnmapOp,
} from '@splitring/hypervisor';
import { FrameMemory, type FramePage } from './frame.ts';

/** One mapped page. */
export class MappedPage implements FramePage {
  /** The extent that it lies in. */
  readonly memory: FrameMemory;
  /** Where in that memory it begins. */
  readonly address: number;
  /** Undoes the mapping. */
  readonly handle: GrantHandle;
  private startByte: number;
  private lengthBytes: number;
  private part: Uint8Array;

  /** The page at byte `address` of `memory`. */
  constructor(memory: FrameMemory, address: number, handle: GrantHandle) {
    this.memory = memory;
    this.address = address;
    this.handle = handle;
    this.startByte = 0;
    this.lengthBytes = 0;
    this.part = NOTHING;
  }

  /** Bytes `start … start + length` as a view; the last one is kept, because frames of a stream look alike. */
  slice(start: number, lengthBytes: number): Uint8Array {
    if (this.startByte !== start || this.lengthBytes !== lengthBytes) {
      const from = this.address + start;
      this.part = this.memory.bytes.subarray(from, from + lengthBytes);
      this.startByte = start;
      this.lengthBytes = lengthBytes;
    }
    return this.part;
  }
}

const NOTHING = new Uint8Array(0);

/** Extents whose views are kept, less one: a guest that uses more has them made again. */
const MAX_MEMORIES = 15;
/** References above this are never kept mapped: no grant table is larger. */
const MAX_KEPT_REF = 32768;

/**
 * Mappings of one front end's pages by grant reference.
 *
 * A front end that says `feature-persistent` reuses its grants, so a mapping is kept until the connection ends, up to
 * `maxKept` of them; all others end with the frame they were made for.
 */
export class MappedPages {
  private readonly hypercalls: Hypercalls;
  private readonly dom: DomId;
  private readonly flags: number;
  private readonly maxKept: number;
  private kept: (MappedPage | undefined)[];
  private keptCount: number;
  private memories: readonly FrameMemory[];
  private readonly mapOps: MapOp[];

  /** `isReadonly`: map for reading. `maxKept`: 0 for front ends that do not reuse grants. */
  constructor(hypercalls: Hypercalls, dom: DomId, options: { readonly isReadonly: boolean; readonly maxKept: number }) {
    this.hypercalls = hypercalls;
    this.dom = dom;
    this.flags = options.isReadonly ? GNTMAP_host_map | GNTMAP_readonly : GNTMAP_host_map;
    this.maxKept = options.maxKept;
    this.kept = [];
    this.keptCount = 0;
    this.memories = [];
    this.mapOps = [createMapOp(dom)];
  }

  /**
   * The page behind `ref`, mapped if it is not yet. A mapping that is not kept is added to `passing`, which the caller
   * hands back to `releasePassing`. @returns undefined if the front end did not grant it like that
   */
  page(ref: number, passing: MappedPage[]): MappedPage | undefined {
    return this.known(ref) ?? this.map(ref, passing);
  }

  /** The page behind `ref` if it is kept mapped. */
  known(ref: number): MappedPage | undefined {
    return ref < this.kept.length ? this.kept[ref] : undefined;
  }

  /** End the mappings in `passing`, and empty it. */
  releasePassing(passing: MappedPage[]): void {
    if (passing.length === 0) return;
    this.unmap(passing);
    passing.length = 0;
  }

  /** End all kept mappings. Idempotent. */
  close(): void {
    this.unmap(this.kept.filter((page) => page !== undefined));
    this.kept = [];
    this.keptCount = 0;
    this.memories = [];
  }

  private map(ref: number, passing: MappedPage[]): MappedPage | undefined {
    const op = this.mapOps[0] as MapOp; // made in the constructor
    op.dom = this.dom;
    op.ref = ref as GrantRef; // a number of the peer's: the hypervisor judges it
    op.flags = this.flags;
    this.hypercalls.mapGrants(this.mapOps);
    if (op.status !== GNTST.okay) return undefined;
    const bytes = this.hypercalls.mappedBytes(op.handle);
    const page = new MappedPage(this.memoryOf(bytes), bytes.byteOffset, op.handle);
    if (this.keptCount >= this.maxKept || ref >= MAX_KEPT_REF) {
      passing.push(page);
      return page;
    }
    while (this.kept.length <= ref) this.kept.push(undefined); // stays a packed array
    this.kept[ref] = page;
    this.keptCount += 1;
    return page;
  }

  /** The views of the extent that `bytes` lie in; a front end's pages lie in few. */
  private memoryOf(bytes: Uint8Array): FrameMemory {
    const known = this.memories.find(({ buffer }) => buffer === bytes.buffer);
    if (known !== undefined) return known;
    const memory = new FrameMemory(bytes.buffer, this.hypercalls.nativeCopy?.memoryOf(bytes) ?? -1);
    this.memories = [...this.memories.slice(-MAX_MEMORIES), memory];
    return memory;
  }

  private unmap(pages: readonly MappedPage[]): void {
    if (pages.length === 0) return;
    const ops = pages.map((page): UnmapOp => ({ handle: page.handle, flags: GNTMAP_host_map, status: GNTST.okay }));
    this.hypercalls.unmapGrants(ops);
  }
}

function createMapOp(dom: DomId): MapOp {
  // Brands for fields that the hypervisor fills in.
  return {
    dom,
    ref: 0 as GrantRef,
    flags: 0,
    status: GNTST.okay,
    handle: 0 as GrantHandle,
    frame: 0 as FrameNumber,
  };
}
