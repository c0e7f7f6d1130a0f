// The front end's half of a Xen request/response ring: produces requests, consumes responses.
// hot path: bench cases pipelined-112 and rtt
import { ProtocolError, RingError } from './error.ts';
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

/** How to attach an end to a ring. */
export interface RingOptions {
  /** Index to attach at, u32: 0 (the default) for a fresh ring. */
  readonly at?: number;
  /** Name used in errors, such as `vbd-51712 queue 0`. */
  readonly name?: string;
}

/** How to attach a front end. */
export interface FrontRingOptions extends RingOptions {
  /** Bytes of a response, 1 to the slot's (the default): no more than these are copied out. */
  readonly responseBytes?: number;
}

/**
 * The front end of a request/response ring. Private indices are the truth; shared words are written, never read back.
 *
 * No method but the constructor throws: what a hostile back end writes ends in `broken` and a status.
 *
 * @example
 * initRing(region);
 * const ring = new FrontRing(region, 112);
 * const at = ring.stageRequest(); // fill the slot at byte `at` of ring.view …
 * if (at >= 0 && ring.pushRequests()) notify();
 * if (ring.availableResponses() > 0) while (ring.takeResponse()) handle(ring.response);
 */
export class FrontRing {
  /** Slots in the ring, a power of two. */
  readonly slots: number;
  /** Bytes of a slot: the larger of request and response. */
  readonly slotBytes: number;
  /** Name used in errors. */
  readonly name: string;
  /** The shared region: write staged requests here, at the offset that `stageRequest` returned. */
  readonly view: DataView;
  /** The shared region in words, for callers that write whole words. */
  readonly words: Int32Array;
  /** The response taken last, in private memory. */
  readonly response: DataView;
  /** The same in words. */
  readonly responseWords: Int32Array;
  /** Why this ring is no longer used; set once, when the back end's index was impossible. */
  broken: ProtocolError | undefined;
  private readonly indexes: Int32Array;
  private readonly ringSlots: RingSlots;
  private reqProdPvt: number;
  private reqProdShared: number;
  private rspCons: number;
  private rspProdSeen: number;

  /**
   * Attach to the ring in `region`: one or more contiguous pages that begin with the header, set up by `initRing`.
   *
   * Shared words: none. @throws RingError for a region, an index or a response size that cannot be used.
   */
  constructor(region: Uint8Array, slotBytes: number, options: FrontRingOptions = {}) {
    this.slots = checkRegion(region, slotBytes);
    this.slotBytes = slotBytes;
    this.name = options.name ?? 'ring';
    const at = checkIndex(options.at ?? 0);
    this.ringSlots = new RingSlots(region, slotBytes, this.slots, checkCopyBytes(options.responseBytes, slotBytes, 1));
    this.view = this.ringSlots.view;
    this.words = this.ringSlots.words;
    this.response = this.ringSlots.scratch;
    this.responseWords = this.ringSlots.scratchWords;
    this.broken = undefined;
    this.indexes = new Int32Array(region.buffer, region.byteOffset, INDEX_WORDS);
    this.reqProdPvt = at;
    this.reqProdShared = at;
    this.rspCons = at;
    this.rspProdSeen = at;
  }

  /** Slots that can be staged now: those that hold no unanswered request and no unconsumed response. */
  get freeSlots(): number {
    return this.slots - this.outstanding;
  }

  /** `true` if no request can be staged. */
  get isFull(): boolean {
    return this.outstanding >= this.slots;
  }

  /** Requests staged or published whose response has not been taken: 0 to `slots`. */
  get outstanding(): number {
    return (this.reqProdPvt - this.rspCons) | 0; // both are ours and never further apart than the ring is long
  }

  /**
   * Take the next request slot and return its byte offset in `view`, or -1 if the ring is full.
   *
   * Shared words: none; the slot is ours to write until `pushRequests`. It may still hold an old response: write every
   * byte that the back end will read.
   */
  stageRequest(): number {
    const index = this.reqProdPvt;
    if (this.isFull) return -1;
    this.reqProdPvt = (index + 1) | 0;
    return this.ringSlots.offset(index);
  }

  /**
   * Publish the staged requests and tell whether the back end must be woken.
   *
   * Shared words: writes `reqProd` [FRONT], then reads `reqEvent` [BACK].
   * Order: slot bytes, `reqProd`, `reqEvent`; store and load are both atomic, so neither passes the other.
   *
   * @returns `true` if `reqEvent` lies in (old, new]: notify exactly once. Nothing staged: `false`.
   * Never throws: any value of `reqEvent` is harmless.
   * @see xen/include/public/io/ring.h, RING_PUSH_REQUESTS_AND_CHECK_NOTIFY
   */
  pushRequests(): boolean {
    const oldProd = this.reqProdShared; // our shadow, never read back
    const newProd = this.reqProdPvt;
    if (oldProd === newProd) return false;
    Atomics.store(this.indexes, REQ_PROD, newProd);
    this.reqProdShared = newProd;
    return distance(newProd, Atomics.load(this.indexes, REQ_EVENT)) < distance(newProd, oldProd);
  }

  /**
   * Look for responses: one load of `rspProd` [BACK], preceded by a plain one as a hint that nothing came.
   *
   * @returns how many responses `takeResponse` will yield, at most `slots`; 0 if none; -1 if the ring is broken, now or before.
   * @see xen/include/public/io/ring.h, RING_RESPONSE_PROD_OVERFLOW
   */
  availableResponses(): number {
    const seen = this.rspProdSeen;
    if (this.rspCons === seen && this.indexes[RSP_PROD] === seen) return this.broken === undefined ? 0 : -1;
    return this.loadResponses();
  }

  /**
   * Copy the next response to `response` and give its slot free.
   *
   * Shared words: reads the slot [BACK], each byte once. Yields only what the last `availableResponses` counted.
   * @returns `false` if nothing is left: look again with `availableResponses`.
   */
  takeResponse(): boolean {
    const index = this.rspCons;
    if (index === this.rspProdSeen) return false;
    this.ringSlots.copyOut(index);
    this.rspCons = (index + 1) | 0;
    return true;
  }

  /**
   * Take the next response where it lies: for slots of a few fields, which cost less to read than to copy.
   *
   * Shared words: none here. The slot may change until it is staged anew [BACK]: read every field once, into a local, and
   * decide by the locals only (XSA-155).
   * @returns its byte offset in `view`; -1 if nothing is left: look again with `availableResponses`.
   */
  takeResponseInPlace(): number {
    const index = this.rspCons;
    if (index === this.rspProdSeen) return -1;
    this.rspCons = (index + 1) | 0;
    return this.ringSlots.offset(index);
  }

  /**
   * Before sleeping: ask for a notification at the next response, then look once more.
   *
   * Shared words: reads `rspProd` [BACK], writes `rspEvent` [FRONT], reads `rspProd` again.
   * @returns `true` if there is something to look at (a response, or a broken ring): do not sleep.
   * @see xen/include/public/io/ring.h, RING_FINAL_CHECK_FOR_RESPONSES
   */
  finalCheck(): boolean {
    return this.loadResponses() !== 0 || this.armAt(1);
  }

  /**
   * Ask for a notification when the `ahead`-th response from now is published (1: the next), then look once more.
   *
   * More than 1 batches wake-ups; that is legal only while something else guarantees progress, so keep it at or below
   * `outstanding`. Shared words: writes `rspEvent` [FRONT], reads `rspProd` [BACK].
   * @returns `true` if at least `ahead` responses are already there, or the ring is broken: do not sleep.
   */
  armAt(ahead: number): boolean {
    Atomics.store(this.indexes, RSP_EVENT, (this.rspCons + ahead) | 0);
    const found = this.loadResponses();
    return found < 0 || found >= ahead;
  }

  /** Read everything worth knowing without disturbing the ring; for people and tests. */
  inspect(): RingSnapshot {
    return snapshotRing(this.indexes, this.slots, this.reqProdPvt, this.rspCons, this.broken?.code);
  }

  /** Load `rspProd` once, judge it, remember it; the count, or -1 when broken. */
  private loadResponses(): number {
    if (this.broken !== undefined) return -1;
    const rspProd = Atomics.load(this.indexes, RSP_PROD);
    const unconsumed = distance(rspProd, this.rspCons);
    // The header bounds by the ring; we are stricter: nobody can answer a request that was not published.
    const published = distance(this.reqProdShared, this.rspCons);
    if (unconsumed > published) return this.breakRing(rspProd, unconsumed, published);
    this.rspProdSeen = rspProd;
    return unconsumed;
  }

  private breakRing(rspProd: number, unconsumed: number, published: number): number {
    const overflow = unconsumed > this.slots;
    this.rspProdSeen = this.rspCons; // nothing more is taken
    this.broken = new ProtocolError(
      overflow ? 'RING_RESPONSE_OVERFLOW' : 'RING_RESPONSE_UNASKED',
      `Cannot use ${this.name}: rspProd is ${unconsumed} ahead, ${published} requests are outstanding`,
      { ring: this.name, field: 'rspProd', value: rspProd >>> 0, limit: (this.rspCons + published) >>> 0 },
    );
    return -1;
  }
}

/** Check how many bytes of a slot to copy out: all by default, else whole `unit`s. @throws RingError `RING_SLOT_BYTES`. */
export function checkCopyBytes(bytes: number | undefined, slotBytes: number, unit: number): number {
  if (bytes === undefined) return slotBytes;
  if (Number.isInteger(bytes / unit) && bytes >= 1 && bytes <= slotBytes) return bytes;
  throw new RingError('RING_SLOT_BYTES', `Cannot copy ${bytes} bytes out of a slot of ${slotBytes}`, {
    bytes,
    slotBytes,
  });
}

/** Check an index to attach at and return it as int32. @throws RingError `RING_INDEX`. */
export function checkIndex(at: number): number {
  if (!Number.isInteger(at) || at < 0 || at > 0xffffffff) {
    throw new RingError('RING_INDEX', `Cannot attach at index ${at}: not an unsigned 32-bit integer`, { at });
  }
  return at | 0;
}
