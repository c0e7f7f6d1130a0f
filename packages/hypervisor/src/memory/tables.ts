// The shared tables of the machine: one buffer that every domain's hypercalls work on.
//
//   region      per domain                    who writes
//   domains     32 words (two cache lines)    hypervisor; doorbell: anybody
//   hints       domains/32 words              anybody who raises an event: "look at what domain n raised"
//   ports       portsPerDomain × 1 word       its domain; the other end by compare-exchange
//   counters    portsPerDomain × 4 words      its domain
//   maptrack    handles × 4 words             its domain; hypervisor after the fence
//   extents     4 words each, machine-wide    hypervisor
//
// A guest's own grant table is not here: it lies in a buffer of its own, because guests may write it.
import { GRANTS_PER_FRAME, HANDLES_PER_FRAME, type Limits } from './limits.ts';

/** Words of one row of the domain table. */
export const DOMAIN_WORDS = 32;
/** Word of a domain row: one of {@link DOMAIN_STATE}. [hypervisor] */
export const DOMAIN_STATE_WORD = 0;
/** Word of a domain row: generation, 1 … 0xffff. [hypervisor] */
export const DOMAIN_GENERATION_WORD = 1;
/** Word of a domain row: announced shutdown reason + 1, or 0. [the domain, hypervisor] */
export const DOMAIN_SHUTDOWN_WORD = 2;
/** Word of a domain row: number of pauses in force. [hypervisor] */
export const DOMAIN_PAUSE_WORD = 3;
/** Word of a domain row: counts answers of the control thread, for a domain that waits for one. [hypervisor] */
export const DOMAIN_REPLY_WORD = 4;
/** Word of a domain row: most memory in frames. [hypervisor] */
export const DOMAIN_LIMIT_WORD = 5;
/** Word of a domain row: frames in extents that it owns. [hypervisor] */
export const DOMAIN_USED_WORD = 6;
/** Word of a domain row: map-track entries ever used. [the domain] */
export const DOMAIN_HANDLES_WORD = 7;
/** Word of a domain row, on a cache line of its own: the doorbell. [anybody, by Atomics.add] */
export const DOMAIN_DOORBELL_WORD = 16;

/** States of a domain-table row. */
export const DOMAIN_STATE = {
  /** The domid may be given out. */
  free: 0,
  /** Made, or running: may be granted to, mapped from, bound to. */
  live: 1,
  /** Its end has begun; nothing new may refer to it. */
  dying: 2,
  /** Dead, fence passed; some peer still maps its frames. */
  zombie: 3,
} as const;

/** Words of one port's counters: raised by us, coalesced, delivered to us, spurious. */
export const COUNTER_WORDS = 4;
/** Words of one map-track entry: granter identity, grant reference, state, frame. */
export const MAPTRACK_WORDS = 4;
/** Words of one extent row: owner identity, peer identity, frames, generation. */
export const EXTENT_WORDS = 4;

/** (domid, generation) in one non-zero word: generation << 15 | domid. */
export type Identity = number;

/** Pack an identity. Generations are 1 … 0xffff, so that the result is positive. */
export function identity(domid: number, generation: number): Identity {
  return (generation << 15) | domid;
}

/** The domid of an identity. */
export function identityDomid(id: Identity): number {
  return id & 0x7fff;
}

/** Where everything lies, derived from the limits alone so that every thread computes the same. All in words. */
export class Tables {
  /** All tables. */
  readonly words: Int32Array;
  /** What the layout was made for. */
  readonly limits: Limits;
  /** Grants per domain. */
  readonly grants: number;
  /** Map-track handles per domain. */
  readonly handles: number;
  /** Hint words per domain. */
  readonly hintWords: number;
  readonly #hints: number;
  readonly #ports: number;
  readonly #counters: number;
  readonly #maptrack: number;
  readonly #extents: number;

  /** Lay tables over `buffer`; without one, make a fresh zeroed buffer. */
  constructor(limits: Limits, buffer?: SharedArrayBuffer) {
    this.limits = limits;
    this.grants = limits.grantFrames * GRANTS_PER_FRAME;
    this.handles = limits.maptrackFrames * HANDLES_PER_FRAME;
    this.hintWords = limits.domains / 32;
    const n = limits.domains;
    this.#hints = n * DOMAIN_WORDS;
    this.#ports = this.#hints + n * this.hintWords;
    this.#counters = this.#ports + n * limits.portsPerDomain;
    this.#maptrack = this.#counters + n * limits.portsPerDomain * COUNTER_WORDS;
    this.#extents = this.#maptrack + n * this.handles * MAPTRACK_WORDS;
    const words = this.#extents + limits.extents * EXTENT_WORDS;
    this.words = new Int32Array(buffer ?? new SharedArrayBuffer(words * 4), 0, words);
  }

  /** First word of a domain's row. */
  domain(domid: number): number {
    return domid * DOMAIN_WORDS;
  }
  /** First hint word of a domain. */
  hints(domid: number): number {
    return this.#hints + domid * this.hintWords;
  }
  /** Word of port 0 of a domain. */
  ports(domid: number): number {
    return this.#ports + domid * this.limits.portsPerDomain;
  }
  /** First counter word of a domain's port 0. */
  counters(domid: number): number {
    return this.#counters + domid * this.limits.portsPerDomain * COUNTER_WORDS;
  }
  /** First word of map-track entry 0 of a domain. */
  maptrack(domid: number): number {
    return this.#maptrack + domid * this.handles * MAPTRACK_WORDS;
  }
  /** First word of an extent's row. */
  extent(id: number): number {
    return this.#extents + id * EXTENT_WORDS;
  }

  /** The identity of the domain that lives under `domid` now, or 0 if none does. */
  liveIdentity(domid: number): Identity {
    if (domid < 0 || domid >= this.limits.domains) return 0;
    const row = domid * DOMAIN_WORDS;
    if (Atomics.load(this.words, row + DOMAIN_STATE_WORD) !== DOMAIN_STATE.live) return 0;
    return identity(domid, Atomics.load(this.words, row + DOMAIN_GENERATION_WORD));
  }

  /** Wake whoever waits on a domain's doorbell. Any thread may ring; a ring too many is harmless. */
  ring(domid: number): void {
    const doorbell = domid * DOMAIN_WORDS + DOMAIN_DOORBELL_WORD;
    Atomics.add(this.words, doorbell, 1);
    Atomics.notify(this.words, doorbell);
  }
}
