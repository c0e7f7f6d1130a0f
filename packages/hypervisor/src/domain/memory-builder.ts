// Makes the memory that two domains share: extents and event pages. Runs on the host thread only.
import { HypercallError } from '../error.ts';
import { EXTENT_SHIFT, PAGE_SIZE } from '../ids.ts';
import { EVENT_PAGE_BYTES, type EventPageGrant } from '../memory/event-page.ts';
import type { ExtentGrant } from '../memory/extent.ts';
import { isUnused } from '../memory/frame-allocator.ts';
import { DOMAIN_LIMIT_WORD, DOMAIN_USED_WORD, type Identity, identityDomid, type Tables } from '../memory/tables.ts';
import type { DomainRecord } from './domain-record.ts';
import { countHolds } from './reclaim.ts';

/** Where the memory of extents comes from. */
export interface MemorySource {
  /** Zeroed memory of a whole number of pages. @throws RangeError if there is none */
  allocate(lengthBytes: number): Pick<ExtentGrant, 'buffer' | 'byteOffset' | 'wasm'>;
  /** Memory that nobody can reach any more. */
  release(buffer: SharedArrayBuffer, byteOffset: number, lengthBytes: number): void;
}

/** Every extent a buffer of its own: what was never handed over is out of reach. */
export const separateBuffers: MemorySource = {
  allocate: (lengthBytes) => ({ buffer: new SharedArrayBuffer(lengthBytes), byteOffset: 0 }),
  release: () => {},
};

const LEAST_FRAMES = 64;
const MOST_FRAMES = 1 << EXTENT_SHIFT;

/** The builder of one machine. */
export class MemoryBuilder {
  readonly #tables: Tables;
  readonly #source: MemorySource;
  readonly #recordOf: (identity: Identity) => DomainRecord | undefined;
  readonly #extents = new Map<number, ExtentGrant>();
  readonly #pages = new Map<string, EventPageGrant>();
  readonly #limbo: ExtentGrant[] = [];
  #nextExtent = 0;

  /** Build over `tables`; `recordOf` finds the domains to hand memory to. */
  constructor(tables: Tables, source: MemorySource, recordOf: (identity: Identity) => DomainRecord | undefined) {
    this.#tables = tables;
    this.#source = source;
    this.#recordOf = recordOf;
  }

  /** Extents that exist now. */
  get extents(): ReadonlyMap<number, ExtentGrant> {
    return this.#extents;
  }

  /**
   * Make an extent of at least `frames` frames and hand it to both ends.
   * @throws HypercallError ENOMEM over the owner's limit, ENOSPC when all extents are in use
   */
  allocateExtent(owner: DomainRecord, peer: DomainRecord, frames: number): void {
    const row = this.#tables.domain(owner.domid);
    const { words } = this.#tables;
    const leftOf = () => (words[row + DOMAIN_LIMIT_WORD] ?? 0) - (words[row + DOMAIN_USED_WORD] ?? 0);
    if (frames > leftOf()) this.#retireUnused(owner.identity);
    const left = leftOf();
    if (frames > left) {
      throw new HypercallError('ENOMEM', `Cannot give domain ${owner.domid} ${frames} frames: ${left} are left`, {
        domid: owner.domid,
        frames,
        left,
      });
    }
    const size = Math.min(left, this.#sizeFor(owner.identity, peer.identity, frames));
    const id = this.#freeId();
    const memory = this.#allocate(owner, size * PAGE_SIZE);
    const at = this.#tables.extent(id);
    const generation = ((words[at + 3] ?? 0) + 1) | 0;
    const grant: ExtentGrant = {
      kind: 'extent',
      id,
      generation,
      owner: owner.identity,
      peer: peer.identity,
      frames: size,
      states: new SharedArrayBuffer(size * 4),
      ...memory,
    };
    this.#extents.set(id, grant);
    words[row + DOMAIN_USED_WORD] = (words[row + DOMAIN_USED_WORD] ?? 0) + size;
    words[at] = owner.identity;
    words[at + 1] = peer.identity;
    words[at + 2] = size;
    Atomics.store(words, at + 3, generation); // last: from here on the number is valid
    owner.post(grant);
    if (peer !== owner) peer.post(grant);
  }

  /** Make the event page of two domains, if they have none, and hand it to both. */
  shareEventPage(first: DomainRecord, second: DomainRecord): void {
    const [low, high] = first.domid <= second.domid ? [first, second] : [second, first];
    const key = `${low.identity} ${high.identity}`;
    if (this.#pages.has(key)) return;
    const page: EventPageGrant = {
      kind: 'event-page',
      first: low.identity,
      second: high.identity,
      buffer: new SharedArrayBuffer(EVENT_PAGE_BYTES),
    };
    this.#pages.set(key, page);
    low.post(page);
    if (high !== low) high.post(page);
  }

  /** Drop the event pages of a dead domain. */
  dropEventPages(dead: Identity): void {
    for (const [key, page] of this.#pages) if (page.first === dead || page.second === dead) this.#pages.delete(key);
  }

  /** Retire what was shared with a domain that `isGone`, once none of it is in use. */
  retireLeftovers(isGone: (identity: Identity) => boolean): void {
    for (const extent of [...this.#extents.values()]) {
      if (isGone(extent.peer) && isUnused(new Int32Array(extent.states))) this.retire(extent);
    }
  }

  /**
   * Hand what was shared with a dead domain to its successor: the owner keeps its frames and may grant them anew.
   * The number of the extent stays, its generation does not, so that both ends look again.
   */
  handOver(from: Identity, to: DomainRecord): void {
    for (const old of [...this.#extents.values()]) {
      if (old.peer !== from || old.owner === from) continue;
      const at = this.#tables.extent(old.id);
      const extent: ExtentGrant = { ...old, peer: to.identity, generation: (old.generation + 1) | 0 };
      this.#extents.set(extent.id, extent);
      this.#tables.words[at + 1] = to.identity;
      this.#recordOf(extent.owner)?.post(extent);
      to.post(extent);
      Atomics.store(this.#tables.words, at + 3, extent.generation);
    }
  }

  /** The owner waits for memory meanwhile, so nothing of it can be taken into use under us. */
  #retireUnused(owner: Identity): void {
    for (const extent of [...this.#extents.values()]) {
      if (extent.owner === owner && isUnused(new Int32Array(extent.states))) this.retire(extent);
    }
  }

  /** Take an extent back from everybody and release its memory. */
  retire(extent: ExtentGrant): void {
    const at = this.#tables.extent(extent.id);
    const { words } = this.#tables;
    this.#extents.delete(extent.id);
    Atomics.store(words, at + 3, (extent.generation + 1) | 0);
    words[at] = 0;
    words[at + 1] = 0;
    words[at + 2] = 0;
    const row = this.#tables.domain(identityDomid(extent.owner));
    words[row + DOMAIN_USED_WORD] = (words[row + DOMAIN_USED_WORD] ?? 0) - extent.frames;
    for (const holder of new Set([extent.owner, extent.peer])) {
      this.#recordOf(holder)?.post({ kind: 'retire-extent', id: extent.id, generation: extent.generation });
    }
    this.#limbo.push(extent);
    this.releaseUnheld();
  }

  /**
   * Release memory that was taken back. A guest that says a frame is free while a peer maps it keeps it in limbo. The
   * extent's generation has changed before we look: a mapper that is not seen here sees that, and refuses.
   */
  releaseUnheld(): void {
    for (const extent of this.#limbo.splice(0)) {
      if (countHolds(this.#tables, extent.owner, extent.id) > 0) this.#limbo.push(extent);
      else this.#source.release(extent.buffer, extent.byteOffset, extent.frames * PAGE_SIZE);
    }
  }

  #allocate(owner: DomainRecord, lengthBytes: number): ReturnType<MemorySource['allocate']> {
    try {
      return this.#source.allocate(lengthBytes);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const { domid } = owner;
      throw new HypercallError('ENOMEM', `Cannot give domain ${domid} memory: the machine has none`, { domid }, error);
    }
  }

  /** Twice what the pair got last, so that a busy pair needs few extents. */
  #sizeFor(owner: Identity, peer: Identity, frames: number): number {
    let size = LEAST_FRAMES;
    for (const extent of this.#extents.values()) {
      if (extent.owner === owner && extent.peer === peer) size = Math.max(size, extent.frames * 2);
    }
    while (size < frames) size *= 2;
    return Math.min(size, MOST_FRAMES);
  }

  #freeId(): number {
    const { extents } = this.#tables.limits;
    if (this.#extents.size >= extents) {
      throw new HypercallError('ENOSPC', `Cannot make an extent: all ${extents} are in use`, { extents });
    }
    while (this.#extents.has(this.#nextExtent)) this.#nextExtent = (this.#nextExtent + 1) % extents;
    const id = this.#nextExtent;
    this.#nextExtent = (id + 1) % extents;
    return id;
  }
}
