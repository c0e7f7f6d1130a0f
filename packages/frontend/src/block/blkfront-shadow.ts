// The front end's private record of every request in flight: the truth about them, whatever the ring says.
// hot path: bench/src/block
import { BLOCK_OP, type BlockCommand, type BlockOp } from '@splitring/device';

/** One request; its pages lie elsewhere. All that is known of it lies together, in a line of cache or two. */
class Shadow {
  isInFlight = false;
  wireOp = 0;
  cookie = 0;
  pageCount = 0;
  op: BlockOp = BLOCK_OP.read;
  isForced = false;
  /** Place in the order of submission, int32. */
  order = 0;
  startSector = 0;
  sectors = 0;
  firstOffset = 0;
}

/** Requests by id; the pages of one begin at `id * maxPages`. */
export class BlkfrontShadow {
  /** Ids there are: one per slot of the ring. */
  readonly ids: number;
  private readonly maxPages: number;
  private readonly freeIds: Int32Array;
  private freeCount: number;
  private sequence: number;
  private readonly requests: readonly Shadow[];
  private readonly pages: Int32Array;

  /** Make a table of `ids` requests of at most `maxPages` pages. */
  constructor(ids: number, maxPages: number) {
    this.ids = ids;
    this.maxPages = maxPages;
    this.freeIds = Int32Array.from({ length: ids }, (_, i) => ids - 1 - i);
    this.freeCount = ids;
    this.sequence = 0;
    this.requests = Array.from({ length: ids }, () => new Shadow());
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
    const request = this.requests[id] as Shadow; // one for each id
    request.isInFlight = true;
    request.wireOp = wireOp;
    request.cookie = command.cookie;
    request.pageCount = command.pageCount;
    request.op = command.op;
    request.isForced = command.isForceUnitAccess;
    request.order = this.sequence;
    request.startSector = command.startSector;
    request.sectors = command.sectors;
    request.firstOffset = command.firstOffset;
    this.sequence = (this.sequence + 1) | 0;
    const base = id * this.maxPages;
    for (let i = 0; i < command.pageCount; i += 1) this.pages[base + i] = command.busPages[i] as number; // pageCount of them
    return id;
  }

  /** Whether a response naming `id` with `wireOp` answers something we asked. Any two numbers are allowed. */
  isAnswer(id: number, wireOp: number): boolean {
    if (id >= this.ids) return false;
    const request = this.requests[id] as Shadow; // one for each id
    return request.isInFlight && request.wireOp === wireOp;
  }

  /** Forget `id`, whose request is answered. @returns its cookie */
  remove(id: number): number {
    const request = this.requests[id] as Shadow; // in range: isAnswer held
    request.isInFlight = false;
    this.freeIds[this.freeCount] = id;
    this.freeCount += 1;
    return request.cookie;
  }

  /** How many pages `id` carries. */
  pageCountOf(id: number): number {
    return (this.requests[id] as Shadow).pageCount; // in range
  }

  /** Page `i` of `id`. */
  pageOf(id: number, i: number): number {
    return this.pages[id * this.maxPages + i] as number; // in range
  }

  /** Everything in flight as commands, in the order in which it was submitted: what a new back end must be told again. */
  unanswered(): BlockCommand[] {
    const inFlight = [...this.requests.entries()].filter(([, request]) => request.isInFlight);
    inFlight.sort(([, a], [, b]) => (a.order - b.order) | 0);
    return inFlight.map(([id, request]) => ({
      op: request.op,
      startSector: request.startSector,
      sectors: request.sectors,
      isForceUnitAccess: request.isForced,
      busPages: [...this.pages.subarray(id * this.maxPages, id * this.maxPages + request.pageCount)],
      pageCount: request.pageCount,
      firstOffset: request.firstOffset,
      cookie: request.cookie,
    }));
  }
}
