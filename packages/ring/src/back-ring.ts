// The back end's half of a Xen request/response ring: consumes requests, produces responses.
// hot path: bench cases pipelined-112 and rtt
import { ProtocolError } from './error.ts';
import { checkCopyBytes, checkIndex, type RingOptions } from './front-ring.ts';
import {
  checkRegion,
  distance,
  INDEX_WORDS,
  REQ_EVENT,
  REQ_PROD,
  type RingSnapshot,
  RSP_EVENT,
  RSP_PROD,
  snapshotRing,
} from './ring-layout.ts';
import { RingSlots } from './ring-slots.ts';

/** How to attach a back end. */
export interface BackRingOptions extends RingOptions {
  /**
   * Bytes of a request that `takeRequest` copies out, a multiple of 8 up to the slot's (the default): enough for the usual
   * request. `takeRest` copies what a longer one has more; lines that nobody needs stay in the front end's cache.
   */
  readonly requestBytes?: number;
}

/**
 * The back end of a request/response ring. It never initialises the ring; it attaches to what the front end granted.
 *
 * No method but the constructor throws: what a hostile front end writes ends in `broken` and a status.
 *
 * @example
 * const ring = new BackRing(region, 112);
 * if (ring.availableRequests() > 0) while (ring.takeRequest()) handle(ring.request);
 * const at = ring.stageResponse(); // fill the slot at byte `at` of ring.view …
 * if (ring.pushResponses()) notify();
 */
export class BackRing {
  /** Slots in the ring, a power of two. */
  readonly slots: number;
  /** Bytes of a slot: the larger of request and response. */
  readonly slotBytes: number;
  /** Name used in errors. */
  readonly name: string;
  /** The shared region: write staged responses here, at the offset that `stageResponse` returned. */
  readonly view: DataView;
  /** The shared region in words, for callers that write whole words. */
  readonly words: Int32Array;
  /** The request taken last, in private memory; past `requestBytes` there may be something old. */
  readonly request: DataView;
  /** The same in words. */
  readonly requestWords: Int32Array;
  /** Why this ring is no longer used; set once, when the front end's index was impossible. */
  broken: ProtocolError | undefined;
  private readonly indexes: Int32Array;
  private readonly ringSlots: RingSlots;
  private rspProdPvt: number;
  private rspProdShared: number;
  private reqCons: number;
  private reqProdSeen: number;

  /**
   * Attach to the ring in `region`: one or more contiguous pages that begin with the header.
   *
   * Attach at the shared `rspProd` only where requests are answered strictly in order, are safe to execute twice, and the
   * former end left in order: one that was killed may have written half a response over a request.
   * Shared words: none. @throws RingError for a region, an index or a request size that cannot be used.
   */
  constructor(region: Uint8Array, slotBytes: number, options: BackRingOptions = {}) {
    this.slots = checkRegion(region, slotBytes);
    this.slotBytes = slotBytes;
    this.name = options.name ?? 'ring';
    const at = checkIndex(options.at ?? 0);
    // The rest is taken in words: a slot that is not made of words is taken whole.
    const copyBytes = checkCopyBytes(options.requestBytes, slotBytes, slotBytes % 4 === 0 ? 8 : slotBytes);
    this.ringSlots = new RingSlots(region, slotBytes, this.slots, copyBytes, slotBytes);
    this.view = this.ringSlots.view;
    this.words = this.ringSlots.words;
    this.request = this.ringSlots.scratch;
    this.requestWords = this.ringSlots.scratchWords;
    this.broken = undefined;
    this.indexes = new Int32Array(region.buffer, region.byteOffset, INDEX_WORDS);
    this.rspProdPvt = at;
    this.rspProdShared = at;
    this.reqCons = at;
    this.reqProdSeen = at;
  }

  /** Requests taken and not yet answered by a staged response: 0 to `slots`. */
  get unanswered(): number {
    return (this.reqCons - this.rspProdPvt) | 0; // both are ours and never further apart than the ring is long
  }

  /**
   * Look for requests: one load of `reqProd` [FRONT], preceded by a plain one as a hint that nothing came.
   *
   * @returns how many requests `takeRequest` will yield, at most `slots`; 0 if none; -1 if the ring is broken, now or before.
   * @see xen/include/public/io/ring.h, RING_REQUEST_PROD_OVERFLOW
   */
  availableRequests(): number {
    const seen = this.reqProdSeen;
    if (this.reqCons === seen && this.indexes[REQ_PROD] === seen) return this.broken === undefined ? 0 : -1;
    return this.loadRequests();
  }

  /**
   * Copy the next request to `request`; from now on its slot may carry a response.
   *
   * Shared words: reads the slot [FRONT], each byte once. Yields only what the last `availableRequests` counted.
   * @returns `false` if nothing is left: look again with `availableRequests`.
   */
  takeRequest(): boolean {
    const index = this.reqCons;
    if (index === this.reqProdSeen) return false;
    this.ringSlots.copyOut(index);
    this.reqCons = (index + 1) | 0;
    return true;
  }

  /**
   * Copy what the request taken last has beyond `requestBytes`, up to byte `endBytes` of its slot: a multiple of 4, at most
   * `slotBytes`. Before anything is staged, and at most once: each byte is read once.
   *
   * Shared words: reads the slot [FRONT].
   */
  takeRest(endBytes: number): void {
    this.ringSlots.copyRest((this.reqCons - 1) | 0, endBytes);
  }

  /**
   * Take the next request where it lies: for slots of a few fields, which cost less to read than to copy.
   *
   * Shared words: none here. The slot may change at any time [FRONT]: read every field once, into a local, and decide by
   * the locals only (XSA-155); from now on the slot may carry a response.
   * @returns its byte offset in `view`; -1 if nothing is left: look again with `availableRequests`.
   */
  takeRequestInPlace(): number {
    const index = this.reqCons;
    if (index === this.reqProdSeen) return -1;
    this.reqCons = (index + 1) | 0;
    return this.ringSlots.offset(index);
  }

  /**
   * Take the next response slot and return its byte offset in `view`, or -1 if no taken request is unanswered.
   *
   * Shared words: none; the slot is ours to write until `pushResponses`. Write every byte of the response, padding too:
   * what remains of the request or of memory must not leak (XSA-216).
   */
  stageResponse(): number {
    const index = this.rspProdPvt;
    if (index === this.reqCons) return -1;
    this.rspProdPvt = (index + 1) | 0;
    return this.ringSlots.offset(index);
  }

  /**
   * Publish the staged responses and tell whether the front end must be woken.
   *
   * Shared words: writes `rspProd` [BACK], then reads `rspEvent` [FRONT].
   * Order: slot bytes, `rspProd`, `rspEvent`; store and load are both atomic, so neither passes the other.
   *
   * @returns `true` if `rspEvent` lies in (old, new]: notify exactly once. Nothing staged: `false`.
   * Never throws: any value of `rspEvent` is harmless.
   * @see xen/include/public/io/ring.h, RING_PUSH_RESPONSES_AND_CHECK_NOTIFY
   */
  pushResponses(): boolean {
    const oldProd = this.rspProdShared; // our shadow, never read back
    const newProd = this.rspProdPvt;
    if (oldProd === newProd) return false;
    Atomics.store(this.indexes, RSP_PROD, newProd);
    this.rspProdShared = newProd;
    return distance(newProd, Atomics.load(this.indexes, RSP_EVENT)) < distance(newProd, oldProd);
  }

  /**
   * Before sleeping: ask for a notification at the next request, then look once more.
   *
   * Shared words: reads `reqProd` [FRONT], writes `reqEvent` [BACK], reads `reqProd` again.
   * @returns `true` if there is something to look at (a request, or a broken ring): do not sleep.
   * @see xen/include/public/io/ring.h, RING_FINAL_CHECK_FOR_REQUESTS
   */
  finalCheck(): boolean {
    return this.loadRequests() !== 0 || this.armAt(1);
  }

  /**
   * Ask for a notification when the `ahead`-th request from now is published (1: the next), then look once more.
   *
   * Shared words: writes `reqEvent` [BACK], reads `reqProd` [FRONT].
   * @returns `true` if at least `ahead` requests are already there, or the ring is broken: do not sleep.
   */
  armAt(ahead: number): boolean {
    Atomics.store(this.indexes, REQ_EVENT, (this.reqCons + ahead) | 0);
    const found = this.loadRequests();
    return found < 0 || found >= ahead;
  }

  /** Read everything worth knowing without disturbing the ring; for people and tests. */
  inspect(): RingSnapshot {
    return snapshotRing(this.indexes, this.slots, this.rspProdPvt, this.reqCons, this.broken?.code);
  }

  /** Load `reqProd` once, judge it, remember it; the count capped by room for the answers, or -1 when broken. */
  private loadRequests(): number {
    if (this.broken !== undefined) return -1;
    const reqProd = Atomics.load(this.indexes, REQ_PROD);
    // Counted from the responses that the front end can have seen: more than a ring ahead of those is impossible, and so
    // is a producer that fell behind what we already took.
    const ahead = distance(reqProd, this.rspProdShared);
    const taken = distance(this.reqCons, this.rspProdShared);
    if (ahead > this.slots || ahead < taken) return this.breakRing(reqProd, ahead);
    this.reqProdSeen = reqProd;
    return ahead - taken;
  }

  private breakRing(reqProd: number, ahead: number): number {
    const overflow = ahead > this.slots;
    this.reqProdSeen = this.reqCons; // nothing more is taken
    this.broken = new ProtocolError(
      overflow ? 'RING_REQUEST_OVERFLOW' : 'RING_REQUEST_REWOUND',
      `Cannot use ${this.name}: reqProd is ${ahead} ahead of the answers, the ring has ${this.slots} slots`,
      { ring: this.name, field: 'reqProd', value: reqProd >>> 0, limit: (this.rspProdShared + this.slots) >>> 0 },
    );
    return -1;
  }
}
