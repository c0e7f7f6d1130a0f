// The I/O page tables of all domains: what a device may reach. Changed by hypercalls on any thread, walked by the units.
//
// No locks. A table page is claimed by one compare-exchange that names its space, and linked by another; a thread that is
// killed in between leaves a claimed, unlinked page that destroySpace() returns. An entry is one word.
import { HypercallError } from '../error.ts';
import type { DomId } from '../ids.ts';
import {
  BUS_PAGES,
  IO_READ,
  IO_WRITE,
  type IommuRegions,
  type IoSpace,
  openIommuTables,
  QUARANTINE_SPACE,
  SPACE,
  TABLE_BITS,
  TABLE_ENTRIES,
} from './iommu-layout.ts';

const INDEX_MASK = TABLE_ENTRIES - 1;

/**
 * Maps bus pages of a domain's space to frames, with rights.
 *
 * Nothing is counted here: the grant tables derive the rights of a frame from their pin counts and the last call wins.
 * Taking rights away reaches a device only after an invalidation (IoInvalidator).
 *
 * @example
 * const tables = new IoPageTables(createIommuTables());
 * const space = tables.createSpace(domid, 1);
 * tables.map(space, frame, frame, IO_READ | IO_WRITE);
 */
export class IoPageTables {
  private readonly regions: IommuRegions;
  private readonly words: Int32Array;
  private claimHint = 0;

  /** Attach to the shared tables; any thread, any number of times. */
  constructor(buffer: SharedArrayBuffer) {
    this.regions = openIommuTables(buffer);
    this.words = this.regions.words;
  }

  /**
   * Give a domain an empty space. Host thread only, before the domain runs.
   * @throws HypercallError ENOSPC when all spaces are in use, EEXIST when the domain has one
   */
  createSpace(domid: DomId, generation: number): IoSpace {
    if (this.spaceOf(domid, generation) !== -1) {
      throw new HypercallError('EEXIST', `Cannot create an I/O space for domain ${domid}: it has one`, { domid });
    }
    for (let space = 1; space < this.regions.spaces; space++) {
      const row = this.rowOf(space);
      if (Atomics.load(this.words, row + SPACE.owner) !== 0) continue;
      Atomics.store(this.words, row + SPACE.root, 0);
      Atomics.store(this.words, row + SPACE.generation, generation | 0);
      Atomics.store(this.words, row + SPACE.owner, domid + 1); // commit
      return space as IoSpace; // the brand has no run-time part
    }
    throw new HypercallError('ENOSPC', `Cannot create an I/O space for domain ${domid}: all are in use`, { domid });
  }

  /** The space of a domain, or −1 if it has none. */
  spaceOf(domid: DomId, generation: number): IoSpace | -1 {
    for (let space = 1; space < this.regions.spaces; space++) {
      const row = this.rowOf(space);
      if (Atomics.load(this.words, row + SPACE.owner) !== domid + 1) continue;
      if (Atomics.load(this.words, row + SPACE.generation) === (generation | 0)) return space as IoSpace; // as above
    }
    return -1;
  }

  /**
   * Take a space and all its table pages back. Host thread only, after the domain's fence, in this order: functions to
   * quarantine, IoInvalidator.invalidateSpace, destroySpace. The unit mask stays: units serve the posted invalidation
   * before they can load a context that names the space's next life.
   */
  destroySpace(space: IoSpace): void {
    if (space === QUARANTINE_SPACE) return;
    const row = this.rowOf(space);
    Atomics.store(this.words, row + SPACE.root, 0);
    for (let page = 0; page < this.regions.tablePages; page++) {
      Atomics.compareExchange(this.words, this.regions.owners + page, space + 1, 0);
    }
    Atomics.store(this.words, row + SPACE.owner, 0);
  }

  /**
   * Let devices of a space reach `frames` consecutive frames at consecutive bus pages. Replaces what was there.
   * @param rights IO_READ, IO_WRITE or both
   * @returns false when table pages ran out or a number is out of range: then nothing beyond a prefix is mapped, and
   *   unmap of the whole range undoes it
   */
  map(space: IoSpace, busPage: number, frame: number, rights: number, frames = 1): boolean {
    if (space <= 0 || space >= this.regions.spaces || !inRange(busPage, frames) || !inRange(frame, frames))
      return false;
    const bits = rights & (IO_READ | IO_WRITE);
    for (let done = 0; done < frames; ) {
      const leaf = this.leafFor(space, busPage + done);
      if (leaf < 0) return false;
      const first = (busPage + done) & INDEX_MASK;
      const count = Math.min(frames - done, TABLE_ENTRIES - first);
      for (let i = 0; i < count; i++) Atomics.store(this.words, leaf + first + i, ((frame + done + i) << 2) | bits);
      done += count;
    }
    return true;
  }

  /** Remove mappings; pages that are not mapped are left alone. Stale IOTLB entries live on until invalidated. */
  unmap(space: IoSpace, busPage: number, frames = 1): void {
    if (space <= 0 || space >= this.regions.spaces || !inRange(busPage, frames)) return;
    for (let done = 0; done < frames; ) {
      const first = (busPage + done) & INDEX_MASK;
      const count = Math.min(frames - done, TABLE_ENTRIES - first);
      const leaf = this.findLeaf(space, busPage + done);
      if (leaf >= 0) for (let i = 0; i < count; i++) Atomics.store(this.words, leaf + first + i, 0);
      done += count;
    }
  }

  /** Walk the tables: `frame << 2 | rights`, or 0 where nothing is mapped. Costs three loads; the IOTLB saves them. */
  lookup(space: IoSpace, busPage: number): number {
    if (!inRange(busPage, 1)) return 0;
    const leaf = this.findLeaf(space, busPage);
    return leaf < 0 ? 0 : Atomics.load(this.words, leaf + (busPage & INDEX_MASK));
  }

  /** Table pages that nobody has claimed. */
  get freeTablePages(): number {
    let free = 0;
    for (let page = 0; page < this.regions.tablePages; page++) {
      if (Atomics.load(this.words, this.regions.owners + page) === 0) free++;
    }
    return free;
  }

  private rowOf(space: number): number {
    return this.regions.spaceRows + space * SPACE.words;
  }

  private pageWord(entry: number): number {
    return this.regions.tables + (entry >>> 2) * TABLE_ENTRIES;
  }

  private findLeaf(space: number, busPage: number): number {
    const root = Atomics.load(this.words, this.rowOf(space) + SPACE.root);
    if (root === 0) return -1;
    const upper = Atomics.load(this.words, this.pageWord(root) + (busPage >>> (2 * TABLE_BITS)));
    if (upper === 0) return -1;
    const lower = Atomics.load(this.words, this.pageWord(upper) + ((busPage >>> TABLE_BITS) & INDEX_MASK));
    return lower === 0 ? -1 : this.pageWord(lower);
  }

  private leafFor(space: number, busPage: number): number {
    const root = this.linked(space, this.rowOf(space) + SPACE.root);
    if (root === 0) return -1;
    const upper = this.linked(space, this.pageWord(root) + (busPage >>> (2 * TABLE_BITS)));
    if (upper === 0) return -1;
    const lower = this.linked(space, this.pageWord(upper) + ((busPage >>> TABLE_BITS) & INDEX_MASK));
    return lower === 0 ? -1 : this.pageWord(lower);
  }

  /** The entry at `word`, after linking a fresh table page there if it was empty; 0 when there is none left. */
  private linked(space: number, word: number): number {
    const present = Atomics.load(this.words, word);
    if (present !== 0) return present;
    const page = this.claimPage(space);
    if (page < 0) return 0;
    const entry = (page << 2) | IO_READ | IO_WRITE;
    const raced = Atomics.compareExchange(this.words, word, 0, entry); // commit
    if (raced === 0) return entry;
    Atomics.store(this.words, this.regions.owners + page, 0);
    return raced;
  }

  private claimPage(space: number): number {
    const { owners, tablePages, tables } = this.regions;
    for (let tried = 0; tried < tablePages; tried++) {
      const page = (this.claimHint + tried) % tablePages;
      if (Atomics.compareExchange(this.words, owners + page, 0, space + 1) !== 0) continue;
      this.claimHint = page + 1;
      const start = tables + page * TABLE_ENTRIES;
      this.words.fill(0, start, start + TABLE_ENTRIES); // published by the compare-exchange that links it
      return page;
    }
    return -1;
  }
}

function inRange(first: number, count: number): boolean {
  return Number.isInteger(first) && first >= 0 && count >= 1 && first < BUS_PAGES && count <= BUS_PAGES - first;
}
