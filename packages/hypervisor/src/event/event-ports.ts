// Making, binding and closing event-channel ports: EVTCHNOP_* of Xen, on the caller's thread.
//
// A binding is two words in the tables of two domains. Each step is one compare-exchange, and `binding` / `closing` say
// what was under way, so that after the fence of a killed domain closing all of its ports completes every half step.
import { HypercallError } from '../error.ts';
import { DOM0, DOMID_SELF, type DomId, type EvtchnPort } from '../ids.ts';
import type { DomainMemory } from '../memory/domain-memory.ts';
import { type Identity, identityDomid, type Tables } from '../memory/tables.ts';
import { PORT, portDomid, portKind, portRemote, portWord } from './port-word.ts';
import { isGlobalVirq, NR_VIRQS } from './virq.ts';

/**
 * Close one port in the shared tables: its other end, if any, becomes unbound.
 * @param reserveFor the domid for which the other end stays reserved
 */
export function closeInTables(tables: Tables, domid: number, port: number, reserveFor: number): void {
  const { words } = tables;
  const at = tables.ports(domid) + port;
  for (;;) {
    const seen = Atomics.load(words, at);
    const kind = portKind(seen);
    if (kind === PORT.closed) return;
    const isPaired = kind === PORT.interdomain || kind === PORT.binding || kind === PORT.closing;
    const closing = isPaired ? portWord(PORT.closing, portDomid(seen), portRemote(seen)) : 0;
    if (Atomics.compareExchange(words, at, seen, closing) !== seen) continue;
    if (isPaired) {
      const other = tables.ports(portDomid(seen)) + portRemote(seen);
      const unbound = portWord(PORT.unbound, reserveFor, 0);
      // It names us either way. In this order: the other end moves from binding to interdomain, never back.
      for (const from of [PORT.binding, PORT.interdomain]) {
        Atomics.compareExchange(words, other, portWord(from, domid, port), unbound);
      }
      Atomics.store(words, at, 0);
    }
    return;
  }
}

/** The first port of a domain that is bound as `word` says, or 0. */
export function findPort(tables: Tables, domid: number, word: number): EvtchnPort | 0 {
  const base = tables.ports(domid);
  for (let port = 1; port < tables.limits.portsPerDomain; port++) {
    if (Atomics.load(tables.words, base + port) === word) return port as EvtchnPort; // an index into its ports
  }
  return 0;
}

/** A port's binding. */
export interface PortStatus {
  /** One of PORT. */
  readonly kind: number;
  /** The other end's domain, for kinds that have one. */
  readonly domid: DomId;
  /** The other end's port, or the VIRQ. */
  readonly port: EvtchnPort;
}

/** The ports of one domain. */
export class EventPorts {
  readonly #tables: Tables;
  readonly #words: Int32Array;
  readonly #domid: number;
  readonly #base: number;
  readonly #memory: DomainMemory;
  #next = 1;
  /** Called when a port has been given out, before it can be raised: forget what a former use left behind. */
  onOpen: (port: number) => void = () => {};

  /** Manage the ports of `self`. */
  constructor(tables: Tables, self: Identity, memory: DomainMemory) {
    this.#tables = tables;
    this.#words = tables.words;
    this.#domid = identityDomid(self);
    this.#base = tables.ports(this.#domid);
    this.#memory = memory;
  }

  /** The binding of a port; 0 for one that is closed or out of range. */
  word(port: number): number {
    return this.isPort(port) ? Atomics.load(this.#words, this.#base + port) : 0;
  }

  /** Make a port for `remote` to bind to. @throws HypercallError ESRCH, ENOSPC */
  allocUnbound(remote: DomId): EvtchnPort {
    const peer = this.#peer(remote);
    return this.#open(portWord(PORT.unbound, identityDomid(peer), 0), peer);
  }

  /** Bind to `remotePort`, which `remote` has made for us. @throws HypercallError ESRCH, EINVAL, ENOSPC */
  bindInterdomain(remote: DomId, remotePort: EvtchnPort): EvtchnPort {
    const peer = this.#peer(remote);
    const domid = identityDomid(peer);
    const other = this.#tables.ports(domid) + remotePort;
    const wanted = portWord(PORT.unbound, this.#domid, 0);
    if (!this.isPort(remotePort) || Atomics.load(this.#words, other) !== wanted)
      throw this.#notForUs(domid, remotePort);
    const binding = portWord(PORT.binding, domid, remotePort);
    const port = this.#open(binding, peer);
    const mine = portWord(PORT.interdomain, this.#domid, port);
    if (Atomics.compareExchange(this.#words, other, wanted, mine) !== wanted) {
      this.#abandon(port);
      throw this.#notForUs(domid, remotePort);
    }
    // If the other end has closed meanwhile it has turned our word into `unbound`: then that is what we hold.
    const bound = portWord(PORT.interdomain, domid, remotePort);
    Atomics.compareExchange(this.#words, this.#base + port, binding, bound);
    return port;
  }

  /** Make a port that only this domain raises. @throws HypercallError ENOSPC */
  bindIpi(): EvtchnPort {
    const self = this.#tables.liveIdentity(this.#domid);
    return this.#open(portWord(PORT.ipi, this.#domid, 0), self);
  }

  /** Make a port for interrupts raised by the thread of `source`, which steps a device. @throws HypercallError ESRCH, ENOSPC */
  bindPirq(source: DomId): EvtchnPort {
    const peer = this.#peer(source);
    return this.#open(portWord(PORT.pirq, identityDomid(peer), 0), peer);
  }

  /**
   * Make a port for a VIRQ, which the hypervisor raises from the host thread.
   * @throws HypercallError EINVAL no such VIRQ, EPERM a global one outside dom0, EEXIST bound already, ENOSPC
   */
  bindVirq(virq: number): EvtchnPort {
    if (!Number.isInteger(virq) || virq < 0 || virq >= NR_VIRQS) {
      throw new HypercallError('EINVAL', `Cannot bind VIRQ ${virq}: must be 0 … ${NR_VIRQS - 1}`, { virq });
    }
    if (isGlobalVirq(virq) && this.#domid !== DOM0) {
      throw new HypercallError('EPERM', `Cannot bind VIRQ ${virq}: only dom0 may`, { virq });
    }
    const word = portWord(PORT.virq, DOM0, virq);
    if (findPort(this.#tables, this.#domid, word) !== 0) {
      throw new HypercallError('EEXIST', `Cannot bind VIRQ ${virq}: it is bound`, { virq });
    }
    return this.#open(word, this.#peer(DOM0));
  }

  /** What a port is bound to. @see PORT for the numbers; xen/include/public/event_channel.h, EVTCHNOP_status */
  status(port: EvtchnPort): PortStatus {
    const word = this.word(port);
    return { kind: portKind(word), domid: portDomid(word) as DomId, port: portRemote(word) as EvtchnPort }; // as bound
  }

  /** Whether this is the number of a port, open or not. */
  isPort(port: number): boolean {
    return port > 0 && port < this.#tables.limits.portsPerDomain;
  }

  /** Close a port; idempotent. The other end, if any, stays unbound and reserved for us. */
  close(port: EvtchnPort): void {
    if (this.word(port) !== 0) closeInTables(this.#tables, this.#domid, port, this.#domid);
  }

  #peer(remote: DomId): Identity {
    const domid = remote === DOMID_SELF ? this.#domid : remote;
    const peer = this.#tables.liveIdentity(domid);
    if (peer === 0) throw new HypercallError('ESRCH', `Cannot reach domain ${domid}: no such domain`, { domid });
    return peer;
  }

  /** Publish a free port with `word`, after everything else about it is in order (XSA-340). */
  #open(word: number, peer: Identity): EvtchnPort {
    const domid = identityDomid(peer);
    if (this.#memory.eventPage(domid) === undefined) this.#memory.request({ kind: 'share-event-page', peer });
    const count = this.#tables.limits.portsPerDomain;
    for (let tries = 1; tries < count; tries++) {
      const port = this.#next;
      this.#next = port + 1 < count ? port + 1 : 1;
      if (Atomics.load(this.#words, this.#base + port) !== 0) continue;
      this.onOpen(port);
      Atomics.store(this.#words, this.#base + port, word);
      // A peer whose end began meanwhile may have been swept before our store: look again (identity, not domid).
      if (this.#tables.liveIdentity(domid) === peer) return port as EvtchnPort; // an index into our ports is a port
      this.#abandon(port);
      throw new HypercallError('ESRCH', `Cannot reach domain ${domid}: it has ended`, { domid });
    }
    throw new HypercallError('ENOSPC', `Cannot open an event channel: all ${count - 1} ports are in use`, { count });
  }

  #abandon(port: number): void {
    Atomics.store(this.#words, this.#base + port, 0);
  }

  #notForUs(domid: number, port: number): HypercallError {
    return new HypercallError('EINVAL', `Cannot bind to port ${port} of domain ${domid}: not unbound and ours`, {
      domid,
      port,
    });
  }
}
