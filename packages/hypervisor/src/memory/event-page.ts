// The pending words of all channels between two domains: one page that only these two hold.
//
// Each direction has its half: a bitmap over the *receiver's* ports and one selector bit per bitmap word, the two-level
// scheme of Xen's shared_info. The page of a domain with itself carries its IPIs, VIRQs and interrupts.
//   words 0…127 pending, 128…131 selector: towards the first domain · 512… likewise: towards the second
// xen/include/public/event_channel.h; xen/include/public/xen.h, struct shared_info
import { PAGE_SIZE } from '../ids.ts';
import type { Identity } from './tables.ts';

/** What a thread needs to use an event page: plain data. */
export interface EventPageGrant {
  /** Which message this is. */
  readonly kind: 'event-page';
  /** The end whose half is the first. */
  readonly first: Identity;
  /** The end whose half is the second; the same as `first` for a domain's own page. */
  readonly second: Identity;
  /** The page. */
  readonly buffer: SharedArrayBuffer;
}

/** Bytes of an event page. */
export const EVENT_PAGE_BYTES = PAGE_SIZE;
/** Words of pending bits in a half: 4096 ports. */
export const PENDING_WORDS = 128;
/** Words of selector bits in a half. */
export const SELECTOR_WORDS = 4;
const SECOND_HALF = 512;

/** One event page, seen from one of its two ends. */
export class EventPage {
  /** The whole page. */
  readonly words: Int32Array;
  /** First word of the half with events for us. */
  readonly inbound: number;
  /** First word of the half with events for the other end. */
  readonly outbound: number;
  /** The other end. */
  readonly peer: Identity;

  /** Open a page as `self`. */
  constructor(grant: EventPageGrant, self: Identity) {
    this.words = new Int32Array(grant.buffer, 0, EVENT_PAGE_BYTES / 4);
    const isFirst = grant.first === self;
    this.inbound = isFirst ? 0 : SECOND_HALF;
    this.outbound = isFirst && grant.second !== self ? SECOND_HALF : 0;
    this.peer = isFirst ? grant.second : grant.first;
  }

  /**
   * Set a port pending at the other end.
   *
   * Each step is skipped if its bit was set already: the sender that set it has done, or will do, the steps after it.
   * A sender killed in between is made good by the hypervisor, which rings everybody after the fence.
   * @returns 0 if it was pending already (coalesced), 1 if set and already announced, 2 if it must be announced
   */
  raise(port: number): 0 | 1 | 2 {
    const bit = 1 << (port & 31);
    const word = port >> 5;
    if ((Atomics.or(this.words, this.outbound + word, bit) & bit) !== 0) return 0;
    const selectorBit = 1 << (word & 31);
    const selector = this.outbound + PENDING_WORDS + (word >> 5);
    return (Atomics.or(this.words, selector, selectorBit) & selectorBit) !== 0 ? 1 : 2;
  }

  /** Clear one pending event of ours. @returns whether there was one */
  takeInbound(port: number): boolean {
    const bit = 1 << (port & 31);
    return (Atomics.and(this.words, this.inbound + (port >> 5), ~bit) & bit) !== 0;
  }
}
