// hot path: bench net, cases 1500-*, 64-*, gso-*
// The receive half of one netfront queue: buffers go out, frames come in, each in the slot of the buffer it used.
import type { GrantRef, Hypercalls } from '@splitring/hypervisor';
import {
  ETHERNET_HEADER_BYTES,
  NETIF_RX_SLOT_BYTES,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETRXF_extra_info,
  NETRXF_more_data,
  netifExtraGso,
  netifRxRequestWords,
  netifRxResponse,
  netifRxResponseWords,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE,
} from '@splitring/hypervisor/io';
import { FrontRing, initRing, ProtocolError } from 'sharedarraybuffer-ring';
import { GRANTED_PAGE_BYTES, GrantedPages } from './granted-pages.ts';
import type { NicCounters } from './net-counters.ts';
import type { QueueWiring } from './queue-wiring.ts';
import { MAX_RX_FRAGMENTS, RxFrame } from './rx-frame.ts';

/** Buffers given back before they are published without waiting for the end of the turn. */
const REFILL_BATCH = 32;

/**
 * One receive queue. Slot i always offers page i: the ring is kept full, and a buffer goes back in the order in which
 * the ring used it. An extra info has no id, so the slot, not the id, says which page a response speaks of.
 */
export class NetRxQueue {
  /** The ring page. */
  readonly ringPages: GrantedPages;
  /** The frame taken last. */
  readonly frame: RxFrame;
  /** Set when the back end broke the protocol. */
  broken: ProtocolError | undefined;
  private readonly hypercalls: Hypercalls;
  private readonly counters: NicCounters;
  private readonly wiring: QueueWiring;
  private readonly ring: FrontRing;
  private readonly data: GrantedPages;
  private readonly refs: Uint32Array;
  private readonly mask: number;
  private cons: number;
  private posted: number;

  /** Allocate, grant and offer a page for every slot. @throws HypercallError */
  constructor(hypercalls: Hypercalls, wiring: QueueWiring, counters: NicCounters) {
    this.hypercalls = hypercalls;
    this.wiring = wiring;
    this.counters = counters;
    this.ringPages = new GrantedPages(hypercalls, wiring.peer, 1, false);
    initRing(this.ringPages.bytes);
    this.ring = new FrontRing(this.ringPages.bytes, NETIF_RX_SLOT_BYTES, { name: `${wiring.name} rx` });
    try {
      this.data = new GrantedPages(hypercalls, wiring.peer, this.ring.slots, false);
    } catch (error) {
      this.ringPages.release();
      throw error;
    }
    this.frame = new RxFrame(this.data.bytes);
    this.broken = undefined;
    this.refs = Uint32Array.from(this.data.refs);
    this.mask = this.ring.slots - 1;
    this.cons = 0;
    this.posted = 0;
    this.refill();
    this.ring.pushRequests(); // nobody to notify yet: the back end finds the buffers when it attaches
  }

  /** Responses taken so far, modulo 2^32. */
  get taken(): number {
    return this.ring.inspect().cons;
  }

  /** Whether a frame, or a broken ring, awaits. */
  get hasFrames(): boolean {
    return this.broken === undefined && this.ring.availableResponses() !== 0;
  }

  /**
   * Take the next good frame into `frame`; frames that make no sense are dropped and counted.
   *
   * The pages stay out of the back end's reach until `recycle`. @returns false if there is none, or the ring is broken
   */
  take(): boolean {
    while (this.broken === undefined) {
      const at = this.next();
      if (at < 0) return false;
      if (this.gather(at)) {
        this.counters.rxFrames += 1;
        this.counters.rxBytes += this.frame.lengthBytes;
        return true;
      }
      this.counters.rxErrors += 1;
    }
    return false;
  }

  /** The pages of all frames taken so far may be offered again: 32 at a time. */
  recycle(): void {
    if (this.ring.freeSlots >= REFILL_BATCH) this.flush();
  }

  /** Offer the pages of all frames taken so far; one notification at most. */
  flush(): void {
    this.refill();
    if (this.ring.pushRequests()) {
      this.counters.notifications += 1;
      this.hypercalls.notify(this.wiring.rxPort);
    }
  }

  /** Ask for a notification at the next frame. @returns true if one is there already */
  arm(): boolean {
    return this.broken === undefined && this.ring.finalCheck();
  }

  /** Release ring and pages. @returns grants that the back end holds on to */
  release(): readonly GrantRef[] {
    return [...this.ringPages.release(), ...this.data.release()];
  }

  /** The ring has room for as many requests as responses were taken; page and slot have the same index. */
  private refill(): void {
    const { view } = this.ring;
    for (let left = this.ring.freeSlots; left > 0; left -= 1) {
      const at = this.ring.stageRequest();
      const slot = this.posted & this.mask;
      netifRxRequestWords.set.idPad(view, at, slot);
      netifRxRequestWords.set.gref(view, at, this.refs[slot] as number); // slots index the pages
      this.posted = (this.posted + 1) | 0;
    }
  }

  /** Take the next response, looking at the ring only when the last look is used up. @returns where it lies; -1: no more */
  private next(): number {
    let at = this.ring.takeResponseInPlace();
    if (at < 0) {
      if (this.ring.availableResponses() <= 0) {
        this.broken ??= this.ring.broken;
        return -1;
      }
      at = this.ring.takeResponseInPlace();
    }
    this.cons = (this.cons + 1) | 0;
    return at;
  }

  /**
   * Assemble the frame whose first response lies at byte `at` of the ring. Reads each of its fields once [BACK].
   * @returns false if it is to be dropped; its slots are consumed either way, or the ring is broken
   */
  private gather(at: number): boolean {
    const { view } = this.ring;
    const idOffset = netifRxResponseWords.get.idOffset(view, at);
    const flagsStatus = netifRxResponseWords.get.flagsStatus(view, at);
    const id = idOffset & 0xffff;
    const offset = idOffset >>> 16;
    const flags = flagsStatus & 0xffff;
    const status = flagsStatus >> 16;
    const slot = (this.cons - 1) & this.mask;
    const isPlain = (flags & (NETRXF_more_data | NETRXF_extra_info)) === 0;
    this.frame.begin((flags & NETRXF_csum_blank) !== 0, (flags & (NETRXF_csum_blank | NETRXF_data_validated)) !== 0);
    if (isPlain && id === slot && status >= ETHERNET_HEADER_BYTES && offset + status <= GRANTED_PAGE_BYTES) {
      this.frame.append((slot << 12) + offset, status);
      return true;
    }
    return this.gatherChain(id, status, offset, flags);
  }

  /** Assemble any frame, good or bad, from its first response on. @returns as `gather` */
  private gatherChain(firstId: number, firstStatus: number, firstOffset: number, firstFlags: number): boolean {
    const { view } = this.ring;
    let id = firstId;
    let status = firstStatus;
    let offset = firstOffset;
    let flags = firstFlags;
    let isGood = status >= ETHERNET_HEADER_BYTES;
    for (let index = 0; ; index += 1) {
      const slot = (this.cons - 1) & this.mask;
      if (id !== slot) return this.breakOff('id', id, slot);
      if (index >= MAX_RX_FRAGMENTS) return this.breakOff('slots', index + 1, MAX_RX_FRAGMENTS);
      if (status < 0 || offset + status > GRANTED_PAGE_BYTES) isGood = false;
      else if (isGood && status > 0) this.frame.append((slot << 12) + offset, status);
      if (index === 0 && (flags & NETRXF_extra_info) !== 0 && !this.gatherExtras()) return false;
      if ((flags & NETRXF_more_data) === 0) return isGood;
      const at = this.next();
      if (at < 0) return this.breakOff('flags', flags, 0); // the chain goes on, the ring does not
      id = netifRxResponse.get.id(view, at);
      status = netifRxResponse.get.status(view, at);
      offset = netifRxResponse.get.offset(view, at);
      flags = netifRxResponse.get.flags(view, at);
    }
  }

  /** Read the extra infos after the first slot, each of their fields once. @returns false if the ring broke */
  private gatherExtras(): boolean {
    const { frame, ring } = this;
    for (let count = 1; count < XEN_NETIF_EXTRA_TYPE.max; count += 1) {
      const at = this.next();
      if (at < 0) return this.breakOff('extra', count, 0);
      const type = netifExtraGso.get.type(ring.view, at);
      const flags = netifExtraGso.get.flags(ring.view, at);
      if (type === XEN_NETIF_EXTRA_TYPE.none || type >= XEN_NETIF_EXTRA_TYPE.max) {
        return this.breakOff('type', type, XEN_NETIF_EXTRA_TYPE.max);
      }
      if (type === XEN_NETIF_EXTRA_TYPE.gso) {
        frame.gsoSizeBytes = netifExtraGso.get.size(ring.view, at);
        frame.gsoType = netifExtraGso.get.gsoType(ring.view, at);
      }
      if ((flags & XEN_NETIF_EXTRA_FLAG_MORE) === 0) return true;
    }
    return this.breakOff('extra', XEN_NETIF_EXTRA_TYPE.max, XEN_NETIF_EXTRA_TYPE.max);
  }

  private breakOff(field: string, value: number, limit: number): false {
    this.broken = new ProtocolError(
      'NET_RESPONSE_INVALID',
      `Cannot use ${this.wiring.name} rx: response has ${field} ${value}, expected ${limit}`,
      { ring: this.wiring.name, field, value, limit },
    );
    return false;
  }
}
