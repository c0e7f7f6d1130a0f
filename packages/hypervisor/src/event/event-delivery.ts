// hot path, guarded by bench/src/hypervisor: raising events and collecting one's own.
//
// Raise: pending bit in the page shared with the receiver → its selector bit → our hint bit with the receiver → its
// doorbell, each step only if it was the first to set its bit. Collect, in the same order backwards: hints, selectors,
// pending words, each exchanged with 0, into a two-level view that nobody else can reach; masks live only there. The
// bits of masked ports stay in the shared page: whoever raises such a port again finds it pending and wakes nobody.
import type { EvtchnPort } from '../ids.ts';
import type { DomainMemory } from '../memory/domain-memory.ts';
import { type EventPage, PENDING_WORDS, SELECTOR_WORDS } from '../memory/event-page.ts';
import { COUNTER_WORDS, DOMAIN_PAUSE_WORD, type Identity, identityDomid, type Tables } from '../memory/tables.ts';
import { PORT, portDomid, portKind, portRemote } from './port-word.ts';

const RAISED = 0;
const COALESCED = 1;
const DELIVERED = 2;
const SPURIOUS = 3;

/** Counters of one port, each modulo 2^32. */
export interface PortCounters {
  /** Events raised through this port. */
  readonly raised: number;
  /** Of those, swallowed because one was pending already. */
  readonly coalesced: number;
  /** Events handed to this port's handler. */
  readonly delivered: number;
  /** Events set by a domain that this port is not bound to, or told to have brought no work. */
  readonly spurious: number;
}

/** Event delivery of one domain. */
export class EventDelivery {
  private readonly tables: Tables;
  private readonly words: Int32Array;
  private readonly domid: number;
  private readonly ports: number;
  private readonly counters: number;
  private readonly hints: number;
  private readonly memory: DomainMemory;
  /** The private view: pending and masked ports, and which words have any pending. */
  private readonly pending: Int32Array;
  private readonly masked: Int32Array;
  private readonly selected: Int32Array;

  /** Deliver to `self`. */
  constructor(tables: Tables, self: Identity, memory: DomainMemory) {
    this.tables = tables;
    this.words = tables.words;
    this.domid = identityDomid(self);
    this.ports = tables.ports(this.domid);
    this.counters = tables.counters(this.domid);
    this.hints = tables.hints(this.domid);
    this.memory = memory;
    this.pending = new Int32Array(PENDING_WORDS);
    this.masked = new Int32Array(PENDING_WORDS);
    this.selected = new Int32Array(SELECTOR_WORDS);
  }

  /** Raise the event at the other end of `port`. Closed, unbound and foreign ports swallow it. */
  notify(port: EvtchnPort): void {
    if (port <= 0 || port >= this.tables.limits.portsPerDomain) return;
    const word = Atomics.load(this.words, this.ports + port);
    const kind = portKind(word);
    if (kind === PORT.interdomain) this.raise(portDomid(word), portRemote(word), port);
    else if (kind === PORT.ipi) this.raise(this.domid, port, port);
  }

  /**
   * Set `port` of domain `domid` pending on behalf of our port `counted`.
   *
   * Shared words: pending and selector of the event page [its two ends], hint and doorbell of the receiver [anybody].
   */
  raise(domid: number, port: number, counted: number): void {
    const page = this.memory.eventPage(domid);
    if (page === undefined) return;
    this.count(counted, RAISED);
    const step = page.raise(port);
    if (step === 0) this.count(counted, COALESCED);
    if (step < 2) return;
    const bit = 1 << (this.domid & 31);
    const hint = this.tables.hints(domid) + (this.domid >> 5);
    if ((Atomics.or(this.words, hint, bit) & bit) === 0) this.tables.ring(domid);
  }

  /** Hold events of a port back, or let them through; one that is pending then fires at the next poll. */
  setMask(port: EvtchnPort, isMasked: boolean): void {
    const word = port >> 5;
    const bit = 1 << (port & 31);
    const masked = this.masked[word] ?? 0;
    this.masked[word] = isMasked ? masked | bit : masked & ~bit;
    if (isMasked || (masked & bit) === 0) return;
    if (this.takeHeld(port) || (this.pending[word] ?? 0) & bit) this.setPending(port);
  }

  /**
   * Take over what the other end has raised while the port was masked. A raise that sets its bit after this look finds
   * the port unmasked: its selector, hint and doorbell follow.
   */
  private takeHeld(port: number): boolean {
    const binding = Atomics.load(this.words, this.ports + port);
    const page = isBound(portKind(binding)) ? this.memory.eventPage(portDomid(binding)) : undefined;
    return page?.takeInbound(port) === true;
  }

  /** Make one of our own ports pending, as bind_interdomain does and unmasking a pending port. */
  setPending(port: number): void {
    this.pending[port >> 5] = (this.pending[port >> 5] ?? 0) | (1 << (port & 31));
    this.selected[port >> 10] = (this.selected[port >> 10] ?? 0) | (1 << ((port >> 5) & 31));
    this.tables.ring(this.domid); // whoever is about to sleep on the doorbell must look again
  }

  /** Forget everything about a port's former use, what has arrived but was not collected included. */
  reset(port: number): void {
    this.collect();
    this.forget(port);
    const at = this.counters + port * COUNTER_WORDS;
    this.words.fill(0, at, at + COUNTER_WORDS);
  }

  /** A port has been closed: what is pending on it never fires. */
  forget(port: number): void {
    const word = port >> 5;
    const keep = ~(1 << (port & 31));
    this.pending[word] = (this.pending[word] ?? 0) & keep;
    this.masked[word] = (this.masked[word] ?? 0) & keep;
  }

  /** Counters of a port since it was opened. */
  countersOf(port: number): PortCounters {
    const at = this.counters + port * COUNTER_WORDS;
    const read = (which: number): number => (this.words[at + which] ?? 0) >>> 0;
    return {
      raised: read(RAISED),
      coalesced: read(COALESCED),
      delivered: read(DELIVERED),
      spurious: read(SPURIOUS),
    };
  }

  /** An event brought no work. */
  countSpurious(port: number): void {
    this.count(port, SPURIOUS);
  }

  /** Hand every pending, unmasked port to `dispatch`, each at most once, clearing it first. @returns how many */
  poll(dispatch: (port: EvtchnPort) => void): number {
    // Plain looks first, here and at the hints: this runs on every turn. Whoever sleeps has loaded the doorbell, which is
    // rung after either word was written, atomically before.
    const pause = this.tables.domain(this.domid) + DOMAIN_PAUSE_WORD;
    if (this.words[pause] !== 0 && Atomics.load(this.words, pause) !== 0) return 0;
    this.collect();
    let dispatched = 0;
    for (let s = 0; s < SELECTOR_WORDS; s++) {
      if (this.selected[s] !== 0) dispatched += this.dispatchSelector(s, dispatch);
    }
    return dispatched;
  }

  private dispatchSelector(s: number, dispatch: (port: EvtchnPort) => void): number {
    let words = this.selected[s] ?? 0;
    let dispatched = 0;
    while (words !== 0) {
      const w = 31 - Math.clz32(words & -words);
      words &= words - 1;
      const word = (s << 5) | w;
      let bits = this.ready(word);
      while (bits !== 0) {
        const bit = bits & -bits;
        bits &= bits - 1;
        if ((this.ready(word) & bit) === 0) continue; // a handler before it has masked or closed this port
        const port = (word << 5) | (31 - Math.clz32(bit));
        this.pending[word] = (this.pending[word] ?? 0) & ~bit;
        this.count(port, DELIVERED);
        dispatched += 1;
        dispatch(port as EvtchnPort); // a bit of our own pending view is a port
      }
      // Only now: a handler that throws leaves the rest to the next poll, and a handler may have set new bits.
      if (this.ready(word) === 0) this.selected[s] = (this.selected[s] ?? 0) & ~(1 << w);
    }
    return dispatched;
  }

  private ready(word: number): number {
    return (this.pending[word] ?? 0) & ~(this.masked[word] ?? 0);
  }

  /** Take over what peers have raised into the private view. */
  private collect(): void {
    for (let h = 0; h < this.tables.hintWords; h++) {
      if (this.words[this.hints + h] === 0) continue;
      let peers = Atomics.exchange(this.words, this.hints + h, 0);
      while (peers !== 0) {
        const p = 31 - Math.clz32(peers & -peers);
        peers &= peers - 1;
        const page = this.memory.eventPage((h << 5) | p);
        if (page !== undefined) this.collectPage(page);
      }
    }
  }

  private collectPage(page: EventPage): void {
    for (let s = 0; s < SELECTOR_WORDS; s++) {
      const selector = page.inbound + PENDING_WORDS + s;
      if (Atomics.load(page.words, selector) === 0) continue;
      let words = Atomics.exchange(page.words, selector, 0);
      while (words !== 0) {
        const w = 31 - Math.clz32(words & -words);
        words &= words - 1;
        const word = (s << 5) | w;
        const held = this.masked[word] ?? 0;
        const bits = Atomics.and(page.words, page.inbound + word, held) & ~held;
        if (bits !== 0) this.accept(page, word, bits);
      }
    }
  }

  /** Keep the bits of ports that are bound to the domain behind `page`; its owner may have written anything there. */
  private accept(page: EventPage, word: number, bits: number): void {
    const peer = identityDomid(page.peer);
    let accepted = 0;
    let rest = bits;
    while (rest !== 0) {
      const b = 31 - Math.clz32(rest & -rest);
      rest &= rest - 1;
      const port = (word << 5) | b;
      if (port >= this.tables.limits.portsPerDomain) continue;
      const binding = Atomics.load(this.words, this.ports + port);
      if (isBound(portKind(binding)) && portDomid(binding) === peer) accepted |= 1 << b;
      else this.count(port, SPURIOUS);
    }
    if (accepted === 0) return;
    this.pending[word] = (this.pending[word] ?? 0) | accepted;
    this.selected[word >> 5] = (this.selected[word >> 5] ?? 0) | (1 << (word & 31));
  }

  private count(port: number, which: number): void {
    const at = this.counters + port * COUNTER_WORDS + which;
    this.words[at] = ((this.words[at] ?? 0) + 1) | 0;
  }
}

/** Whether a port of this kind can have been raised by its other end; `unbound` too: one that raises and closes has. */
function isBound(kind: number): boolean {
  return kind >= PORT.unbound && kind <= PORT.binding;
}
