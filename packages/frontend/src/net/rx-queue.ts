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
  netifRxRequest,
  netifRxResponse,
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
  private readonly mask: number;
  private cons: number;
  private posted: number;
  private toPublish: number;

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
    this.mask = this.ring.slots - 1;
    this.cons = 0;
    this.posted = 0;
    this.toPublish = 0;
    this.refill();
    this.toPublish = 0;
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
    while (this.broken === undefined && this.next()) {
      if (this.gather()) {
        this.counters.rxFrames += 1;
        this.counters.rxBytes += this.frame.lengthBytes;
        return true;
      }
      this.counters.rxErrors += 1;
    }
    return false;
  }

  /** Offer the pages of all frames taken so far again; publishes every 32 of them. */
  recycle(): void {
    this.refill();
    if (this.toPublish >= REFILL_BATCH) this.flush();
  }

  /** Publish offered buffers; one notification at most. */
  flush(): void {
    this.refill();
    if (this.toPublish === 0) return;
    this.toPublish = 0;
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

  private refill(): void {
    const view = this.ring.view;
    // The ring has room for as many requests as responses were taken; page and slot have the same index.
    while (((this.posted - this.cons) | 0) <= this.mask) {
      const at = this.ring.stageRequest();
      if (at < 0) return;
      const slot = this.posted & this.mask;
      netifRxRequest.set.id(view, at, slot);
      netifRxRequest.set.pad(view, at, 0);
      netifRxRequest.set.gref(view, at, this.data.refs[slot] as number); // slots index the pages
      this.posted = (this.posted + 1) | 0;
      this.toPublish += 1;
    }
  }

  /** Take the next response slot, looking at the ring only when the last look is used up. */
  private next(): boolean {
    if (!this.ring.takeResponse()) {
      if (this.ring.availableResponses() <= 0) {
        this.broken ??= this.ring.broken;
        return false;
      }
      this.ring.takeResponse();
    }
    this.cons = (this.cons + 1) | 0;
    return true;
  }

  /**
   * Assemble the frame whose first slot was taken. @returns false if it is to be dropped; its slots are consumed either
   * way, or the ring is broken
   */
  private gather(): boolean {
    const { frame } = this;
    const response = this.ring.response;
    frame.reset();
    let isGood = true;
    for (let index = 0; ; index += 1) {
      const slot = (this.cons - 1) & this.mask;
      const id = netifRxResponse.get.id(response, 0);
      const status = netifRxResponse.get.status(response, 0);
      const offset = netifRxResponse.get.offset(response, 0);
      const flags = netifRxResponse.get.flags(response, 0);
      if (id !== slot) return this.breakOff('id', id, slot);
      if (index >= MAX_RX_FRAGMENTS) return this.breakOff('slots', index + 1, MAX_RX_FRAGMENTS);
      if (status < 0 || offset + status > GRANTED_PAGE_BYTES) isGood = false;
      else if (isGood && status > 0) frame.append((slot << 12) + offset, status);
      if (index === 0) {
        frame.isChecksumBlank = (flags & NETRXF_csum_blank) !== 0;
        frame.isValidated = (flags & (NETRXF_csum_blank | NETRXF_data_validated)) !== 0;
        if (status < ETHERNET_HEADER_BYTES) isGood = false;
        if ((flags & NETRXF_extra_info) !== 0 && !this.gatherExtras()) return false;
      }
      if ((flags & NETRXF_more_data) === 0) return isGood;
      if (!this.next()) return this.breakOff('flags', flags, 0); // the chain goes on, the ring does not
    }
  }

  /** Read the extra infos after the first slot. @returns false if the ring broke */
  private gatherExtras(): boolean {
    const { frame, ring } = this;
    for (let count = 1; count < XEN_NETIF_EXTRA_TYPE.max; count += 1) {
      if (!this.next()) return this.breakOff('extra', count, 0);
      const type = netifExtraGso.get.type(ring.response, 0);
      if (type === XEN_NETIF_EXTRA_TYPE.none || type >= XEN_NETIF_EXTRA_TYPE.max) {
        return this.breakOff('type', type, XEN_NETIF_EXTRA_TYPE.max);
      }
      if (type === XEN_NETIF_EXTRA_TYPE.gso) {
        frame.gsoSizeBytes = netifExtraGso.get.size(ring.response, 0);
        frame.gsoType = netifExtraGso.get.gsoType(ring.response, 0);
      }
      if ((netifExtraGso.get.flags(ring.response, 0) & XEN_NETIF_EXTRA_FLAG_MORE) === 0) return true;
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
