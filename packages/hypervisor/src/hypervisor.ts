// The composition root: one machine. Lives on the host thread; a driver never gets it.

import { DomainRecord } from './domain/domain-record.ts';
import { MemoryBuilder, type MemorySource, separateBuffers } from './domain/memory-builder.ts';
import { clearRows, clearTouched, closePorts, countHolds, undoMappings } from './domain/reclaim.ts';
import { type Domain, type DomainSpec, makeStartRings, openStartRing } from './domain/start-rings.ts';
import { type DomainUsage, usageOf } from './domain/usage.ts';
import { DomainHypercalls } from './domain-hypercalls.ts';
import { HypercallError } from './error.ts';
import { findPort } from './event/event-ports.ts';
import { PORT, portWord } from './event/port-word.ts';
import { VIRQ } from './event/virq.ts';
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE } from './grant/grant-entry.ts';
import { GNTMAP_host_map, GNTST, SHUTDOWN, type ShutdownReason } from './hypercalls.ts';
import { DOM0, type DomId, PAGE_SIZE } from './ids.ts';
import { IoPageTables } from './iommu/io-page-tables.ts';
import { createIommuTables } from './iommu/iommu-layout.ts';
import type { DomainBoot, StartInfo } from './memory/boot.ts';
import type { ControlMessage, ControlPort, ControlSink } from './memory/control-port.ts';
import { completeLimits, type Limits } from './memory/limits.ts';
import {
  DOMAIN_GENERATION_WORD,
  DOMAIN_LIMIT_WORD,
  DOMAIN_PAUSE_WORD,
  DOMAIN_REPLY_WORD,
  DOMAIN_SHUTDOWN_WORD,
  DOMAIN_STATE,
  DOMAIN_STATE_WORD,
  DOMAIN_WORDS,
  type Identity,
  identity,
  identityDomid,
  Tables,
} from './memory/tables.ts';

import { createPciTable, PciPlatform } from './pci/pci-platform.ts';

/** How a machine is made. */
export interface HypervisorOptions {
  /** Capacities that differ from the defaults. */
  readonly limits?: Partial<Limits>;
  /** Where extents come from; by default every one is a buffer of its own. */
  readonly memory?: MemorySource;
}

/**
 * One machine: domains, memory, grants and events.
 *
 * @example
 * const hypervisor = new Hypervisor();
 * const guest = hypervisor.createDomain({ name: 'guest' });
 * const hypercalls = hypervisor.attachInThread(guest); // or hand `guest.boot` to a worker and `attach` there
 */
export class Hypervisor {
  /** The hypercalls of dom0, for the toolstack on this thread. */
  readonly dom0: DomainHypercalls;
  /** The machine's PCI functions: add, assign, take away. */
  readonly pci: PciPlatform;
  readonly #iommu: SharedArrayBuffer;
  readonly #pciTable: SharedArrayBuffer;
  readonly #spaces: IoPageTables;
  readonly #tables: Tables;
  readonly #buffer: SharedArrayBuffer;
  readonly #grantBuffers: SharedArrayBuffer[];
  readonly #grantTables: Int32Array[];
  readonly #builder: MemoryBuilder;
  readonly #records = new Map<DomId, DomainRecord>();
  #nextDomid = 1;
  /** Called when a domain announces its shutdown. */
  onShutdown: (domid: DomId, generation: number, reason: ShutdownReason) => void = () => {};

  /** Make a machine with only dom0 in it. */
  constructor(options: HypervisorOptions = {}) {
    const limits = completeLimits(options.limits);
    this.#tables = new Tables(limits);
    this.#buffer = this.#tables.words.buffer as SharedArrayBuffer; // made by Tables as such
    const bytes = limits.grantFrames * PAGE_SIZE;
    this.#grantBuffers = Array.from({ length: limits.domains }, () => new SharedArrayBuffer(bytes));
    this.#grantTables = this.#grantBuffers.map((buffer) => new Int32Array(buffer));
    this.#builder = new MemoryBuilder(this.#tables, options.memory ?? separateBuffers, (id) => this.#find(id));
    this.#iommu = createIommuTables({ spaces: limits.domains + 1, tablePages: 2048 + 4 * limits.extents });
    this.#pciTable = createPciTable();
    this.#spaces = new IoPageTables(this.#iommu);
    this.pci = new PciPlatform({ table: this.#pciTable, iommu: this.#iommu });
    const record = this.#makeRecord(DOM0, 'dom0', limits.memoryBytes);
    this.dom0 = new DomainHypercalls(this.#bootOf(record, undefined), this.#localPort(record));
  }

  /**
   * Build a domain: its row, its first two rings shared with dom0, its memory limit. Its thread is somebody else's to start.
   * @throws HypercallError ENOSPC when all domids are in use
   */
  createDomain(spec: DomainSpec): Domain {
    this.reap();
    const record = this.#makeRecord(this.#freeDomid(), spec.name, spec.memoryBytes ?? this.#tables.limits.memoryBytes);
    try {
      return this.#build(record);
    } catch (error) {
      this.domainDied(record.domid); // no thread has run yet: what was built so far goes back at once
      throw error;
    }
  }

  /** The hypercalls of a domain that runs on this very thread. */
  attachInThread(domain: Domain): DomainHypercalls {
    return new DomainHypercalls(domain.boot, this.#localPort(this.#live(domain.domid)));
  }

  /**
   * Open the host's end of a domain's control channel: what its thread must know goes to `sink`.
   * @returns what to call with every message that arrives from there; harmless once the domain is gone
   */
  connect(domid: DomId, sink: ControlSink): (request: unknown) => void {
    const record = this.#live(domid);
    record.connect(sink);
    return (request) => this.#serve(record, request);
  }

  /** Raise a VIRQ of a domain; one that it has not bound is swallowed. @throws HypercallError ESRCH */
  raiseVirq(domid: DomId, virq: number): void {
    this.#live(domid);
    const port = findPort(this.#tables, domid, portWord(PORT.virq, DOM0, virq));
    if (port !== 0) this.dom0.raise(domid, port);
  }

  /** Deliver no more events to a domain until as many `unpause` calls. */
  pause(domid: DomId): void {
    this.#live(domid);
    Atomics.add(this.#tables.words, this.#tables.domain(domid) + DOMAIN_PAUSE_WORD, 1);
  }

  /** Undo one `pause`. @throws HypercallError EINVAL if it is not paused */
  unpause(domid: DomId): void {
    this.#live(domid);
    const word = this.#tables.domain(domid) + DOMAIN_PAUSE_WORD;
    if (Atomics.load(this.#tables.words, word) === 0) {
      throw new HypercallError('EINVAL', `Cannot unpause domain ${domid}: it is not paused`, { domid });
    }
    Atomics.sub(this.#tables.words, word, 1);
    this.#tables.ring(domid);
  }

  /** Begin a domain's end: nothing new may refer to it. Its thread still runs; the caller ends it and waits for the fence. */
  destroy(domid: DomId): void {
    this.#live(domid);
    Atomics.store(this.#tables.words, this.#tables.domain(domid) + DOMAIN_STATE_WORD, DOMAIN_STATE.dying);
  }

  /** Take back all that a domain held. Call only after the fence: when nothing of it runs any more. Idempotent. */
  domainDied(domid: DomId): void {
    const record = this.#records.get(domid);
    if (record === undefined || domid === DOM0) return;
    const { words } = this.#tables;
    Atomics.store(words, this.#tables.domain(domid) + DOMAIN_STATE_WORD, DOMAIN_STATE.dying);
    this.#closeStartRings(record);
    closePorts(this.#tables, record.identity);
    this.pci.afterFence(domid, record.generation);
    undoMappings(this.#tables, record.identity, this.#grantTables);
    this.#builder.dropEventPages(record.identity);
    record.disconnect();
    Atomics.store(words, this.#tables.domain(domid) + DOMAIN_STATE_WORD, DOMAIN_STATE.zombie);
    this.reap();
    this.raiseVirq(DOM0, VIRQ.DOM_EXC);
    // A sender may have been killed between setting an event pending and ringing: let everybody look.
    for (const other of this.#records.keys()) this.#kick(domid, other);
  }

  /**
   * Hand the memory that guests share with a dead domain to the one that takes its place: they keep their frames and may
   * grant them to `to`. Call after `domainDied(from.domid)`.
   */
  handOver(from: { readonly domid: DomId; readonly generation: number }, to: DomId): void {
    const dead = identity(from.domid, from.generation);
    if (this.#tables.liveIdentity(from.domid) === dead) {
      throw new HypercallError('EBUSY', `Cannot hand over from domain ${from.domid}: it lives`, { domid: from.domid });
    }
    this.#builder.handOver(dead, this.#live(to));
  }

  /** What every domain holds now. */
  inspect(): readonly DomainUsage[] {
    return [...this.#records.values()].map((record) => usageOf(this.#tables, record, this.#builder.extents.values()));
  }

  /** Release what dead domains leave behind, as soon as no peer holds it any more. */
  reap(): void {
    this.#builder.releaseUnheld();
    this.#builder.retireLeftovers((peer) => this.#tables.liveIdentity(identityDomid(peer)) !== peer);
    for (const record of this.#records.values()) {
      const row = this.#tables.domain(record.domid);
      if (Atomics.load(this.#tables.words, row + DOMAIN_STATE_WORD) !== DOMAIN_STATE.zombie) continue;
      if (countHolds(this.#tables, record.identity) > 0) continue;
      for (const extent of [...this.#builder.extents.values()]) {
        if (extent.owner === record.identity) this.#builder.retire(extent);
      }
      clearRows(this.#tables, record.domid);
      const table = this.#grantTables[record.domid];
      if (table !== undefined) clearTouched(table, 0, table.length);
      const generation = this.#tables.words[row + DOMAIN_GENERATION_WORD] ?? 0;
      this.#tables.words.fill(0, row, row + DOMAIN_WORDS);
      this.#tables.words[row + DOMAIN_GENERATION_WORD] = generation;
      this.#records.delete(record.domid);
    }
  }

  /** Act as the new domain for a moment; all that is made this way lies in the shared tables. */
  #build(record: DomainRecord): Domain {
    const { domid, generation, name } = record;
    const memory: ControlMessage[] = [];
    const port = this.#localPort(record);
    const receive = () => {
      const message = port.receive();
      if (message !== undefined && message.kind !== 'reply') memory.push(message);
      return message;
    };
    const builder = new DomainHypercalls(this.#bootOf(record, undefined), { post: port.post, receive });
    const start = makeStartRings(builder, this.#grantTables[domid] ?? new Int32Array(0));
    const boot = { ...this.#bootOf(record, start), memory };
    const store = openStartRing(this.dom0, record, GNTTAB_RESERVED_XENSTORE, start.storePort);
    const console = openStartRing(this.dom0, record, GNTTAB_RESERVED_CONSOLE, start.consolePort);
    return { domid, generation, name, boot, store, console };
  }

  /** Serve a request of a domain's thread. It comes from a guest: anything may be in it. */
  #serve(record: DomainRecord, request: unknown): void {
    if (this.#records.get(record.domid) !== record || typeof request !== 'object' || request === null) return;
    const { kind, sequence, peer, frames, reason } = request as Record<string, unknown>; // each is checked where it is used
    let error: string | undefined;
    try {
      if (kind === 'allocate-extent') this.#allocateExtent(record, peer, frames);
      else if (kind === 'share-event-page') this.#builder.shareEventPage(record, this.#peer(peer));
      else if (kind === 'shutdown') this.#announce(record, reason);
      else if (kind === 'released') this.reap();
      else error = 'ENOSYS';
    } catch (problem) {
      // Only refusals go to the guest by name; anything else is our own mistake.
      if (!(problem instanceof HypercallError)) throw problem;
      error = problem.code;
    }
    if (typeof sequence !== 'number' || sequence === 0) return;
    record.post({ kind: 'reply', sequence, error });
    const word = this.#tables.domain(record.domid) + DOMAIN_REPLY_WORD;
    Atomics.add(this.#tables.words, word, 1);
    Atomics.notify(this.#tables.words, word);
  }

  #makeRecord(domid: DomId, name: string, memoryBytes: number): DomainRecord {
    const row = this.#tables.domain(domid);
    const { words } = this.#tables;
    const generation = ((words[row + DOMAIN_GENERATION_WORD] ?? 0) % 0xffff) + 1;
    const record = new DomainRecord(domid, generation, identity(domid, generation), name);
    words[row + DOMAIN_GENERATION_WORD] = generation;
    words[row + DOMAIN_LIMIT_WORD] = Math.floor(memoryBytes / PAGE_SIZE);
    Atomics.store(words, row + DOMAIN_STATE_WORD, DOMAIN_STATE.live);
    this.#records.set(domid, record);
    this.#spaces.createSpace(domid, generation);
    return record;
  }

  #bootOf(record: DomainRecord, start: StartInfo | undefined): DomainBoot {
    return {
      domid: record.domid,
      generation: record.generation,
      limits: this.#tables.limits,
      tables: this.#buffer,
      grantTables: this.#grantBuffers,
      iommu: this.#iommu,
      pci: this.#pciTable,
      memory: [],
      start,
    };
  }

  #localPort(record: DomainRecord): ControlPort {
    return record.localPort((request) => this.#serve(record, request));
  }

  #freeDomid(): DomId {
    const { domains } = this.#tables.limits;
    for (let tries = 1; tries < domains; tries++) {
      const domid = this.#nextDomid as DomId; // 1 … domains − 1
      this.#nextDomid = domid + 1 < domains ? domid + 1 : 1;
      if (!this.#records.has(domid)) return domid;
    }
    throw new HypercallError('ENOSPC', `Cannot create a domain: all ${domains - 1} domids are in use`, { domains });
  }

  /** dom0 lets go of its ends of a dead domain's first rings. */
  #closeStartRings(record: DomainRecord): void {
    for (const port of record.startPorts.splice(0)) this.dom0.closePort(port);
    for (const handle of record.startHandles.splice(0)) {
      this.dom0.unmapGrants([{ handle, flags: GNTMAP_host_map, status: GNTST.okay }]);
    }
  }

  #allocateExtent(record: DomainRecord, peer: unknown, frames: unknown): void {
    if (typeof frames !== 'number' || !Number.isInteger(frames) || frames < 1 || frames > 4096) {
      throw new HypercallError('EINVAL', `Cannot allocate ${frames} frames: must be 1 … 4096`);
    }
    this.#builder.allocateExtent(record, this.#peer(peer), frames);
  }

  #announce(record: DomainRecord, reason: unknown): void {
    const known = Object.values(SHUTDOWN).find((one) => one === reason) ?? SHUTDOWN.crash;
    const word = this.#tables.domain(record.domid) + DOMAIN_SHUTDOWN_WORD;
    Atomics.store(this.#tables.words, word, known + 1);
    this.raiseVirq(DOM0, VIRQ.DOM_EXC);
    this.onShutdown(record.domid, record.generation, known);
  }

  /** The live domain that a guest names by identity. @throws HypercallError ESRCH */
  #peer(peer: unknown): DomainRecord {
    const record = typeof peer === 'number' ? this.#find(peer) : undefined;
    if (record !== undefined && this.#tables.liveIdentity(record.domid) === peer) return record;
    throw new HypercallError('ESRCH', 'Cannot share memory: no such domain');
  }

  #find(id: Identity): DomainRecord | undefined {
    const record = this.#records.get(identityDomid(id) as DomId); // a key like any other
    return record?.identity === id ? record : undefined;
  }

  #live(domid: DomId): DomainRecord {
    const record = this.#records.get(domid);
    if (record !== undefined && this.#tables.liveIdentity(domid) !== 0) return record;
    throw new HypercallError('ESRCH', `Cannot use domain ${domid}: no such domain`, { domid });
  }

  #kick(from: DomId, to: DomId): void {
    if (to === from) return;
    Atomics.or(this.#tables.words, this.#tables.hints(to) + (from >> 5), 1 << (from & 31));
    this.#tables.ring(to);
  }
}

/** Rebuild the hypercalls of a domain on its own thread, from its boot data. */
export function attach(boot: DomainBoot, control: ControlPort): DomainHypercalls {
  return new DomainHypercalls(boot, control);
}
