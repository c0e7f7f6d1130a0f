// The front end's private record of every request in flight: the truth about them, whatever the ring says.
// hot path: bench/src/block
import type { BlockCommand, BlockOp } from '@splitring/device';

/** One array per field, indexed by request id; a request's pages lie at `id * maxPages`. */
export class BlkfrontShadow {
  /** Ids there are: one per slot of the ring. */
  readonly ids: number;
  private readonly maxPages: number;
  private readonly freeIds: Int32Array;
  private freeCount: number;
  private sequence: number;
  /** 1 while the id is in flight. */
  private readonly inFlight: Uint8Array;
  private readonly wireOp: Uint8Array;
  private readonly op: Uint8Array;
  private readonly isForced: Uint8Array;
  private readonly cookie: Int32Array;
  private readonly order: Int32Array;
  private readonly startSector: Float64Array;
  private readonly sectors: Float64Array;
  private readonly firstOffset: Int32Array;
  private readonly pageCount: Int32Array;
  private readonly pages: Int32Array;

  /** Make a table of `ids` requests of at most `maxPages` pages. */
  constructor(ids: number, maxPages: number) {
    this.ids = ids;
    this.maxPages = maxPages;
    this.freeIds = Int32Array.from({ length: ids }, (_, i) => ids - 1 - i);
    this.freeCount = ids;
    this.sequence = 0;
    this.inFlight = new Uint8Array(ids);
    this.wireOp = new Uint8Array(ids);
    this.op = new Uint8Array(ids);
    this.isForced = new Uint8Array(ids);
    this.cookie = new Int32Array(ids);
    this.order = new Int32Array(ids);
    this.startSector = new Float64Array(ids);
    this.sectors = new Float64Array(ids);
    this.firstOffset = new Int32Array(ids);
    this.pageCount = new Int32Array(ids);
    this.pages = new Int32Array(ids * maxPages);
  }

  /** Requests in flight. */
  get count(): number {
    return this.ids - this.freeCount;
  }

  /** Record `command` as in flight under a free id, which the caller has made sure exists. @returns the id */
  add(command: BlockCommand, wireOp: number): number {
    this.freeCount -= 1;
    const id = this.freeIds[this.freeCount] as number; // the caller checked for room
    this.inFlight[id] = 1;
    this.wireOp[id] = wireOp;
    this.op[id] = command.op;
    this.isForced[id] = command.isForceUnitAccess ? 1 : 0;
    this.cookie[id] = command.cookie;
    this.order[id] = this.sequence;
    this.sequence = (this.sequence + 1) | 0;
    this.startSector[id] = command.startSector;
    this.sectors[id] = command.sectors;
    this.firstOffset[id] = command.firstOffset;
    this.pageCount[id] = command.pageCount;
    const base = id * this.maxPages;
    for (let i = 0; i < command.pageCount; i += 1) this.pages[base + i] = command.busPages[i] as number; // pageCount of them
    return id;
  }

  /** Whether a response naming `id` with `wireOp` answers something we asked. Any two numbers are allowed. */
  isAnswer(id: number, wireOp: number): boolean {
    return id < this.ids && this.inFlight[id] === 1 && this.wireOp[id] === wireOp;
  }

  /** Forget `id`, whose request is answered. @returns its cookie */
  remove(id: number): number {
    this.inFlight[id] = 0;
    this.freeIds[this.freeCount] = id;
    this.freeCount += 1;
    return this.cookie[id] as number; // in range: isAnswer held
  }

  /** What `id` asked for. */
  opOf(id: number): BlockOp {
    return this.op[id] as BlockOp; // stored from a BlockCommand
  }

  /** How many pages `id` carries. */
  pageCountOf(id: number): number {
    return this.pageCount[id] as number; // in range
  }

  /** Page `i` of `id`. */
  pageOf(id: number, i: number): number {
    return this.pages[id * this.maxPages + i] as number; // in range
  }

  /** Everything in flight as commands, in the order in which it was submitted: what a new back end must be told again. */
  unanswered(): BlockCommand[] {
    const ids = [...this.inFlight.keys()].filter((id) => this.inFlight[id] === 1);
    ids.sort((a, b) => ((this.order[a] as number) - (this.order[b] as number)) | 0);
    return ids.map((id) => ({
      op: this.opOf(id),
      startSector: this.startSector[id] as number, // in range, as all below
      sectors: this.sectors[id] as number,
      isForceUnitAccess: this.isForced[id] === 1,
      busPages: [...this.pages.subarray(id * this.maxPages, id * this.maxPages + this.pageCountOf(id))],
      pageCount: this.pageCountOf(id),
      firstOffset: this.firstOffset[id] as number,
      cookie: this.cookie[id] as number,
    }));
  }
}
