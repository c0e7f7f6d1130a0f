// A volatile write cache that can lose power: an undo journal in memory that the platform owns.
//
// Writes go through to the medium at once; the journal keeps what they replaced until a flush covers them. A power cut
// puts the old contents back. The death of a domain loses nothing: the medium has the writes, and the journal, which is
// shared memory, waits for the successor. An entry is committed by one word before the medium changes, and a flush
// forgets its entries by one store, so a thread killed anywhere leaves a journal that can be played.
import { InvariantError } from 'sharedarraybuffer-ring';
import { MEDIUM_STATUS, type Medium, type MediumStatus } from './medium.ts';

const MAGIC = 0x554e_444f; // "UNDO"
const HEADER = { magic: 0, blockBytes: 1, slots: 2, epoch: 3, durable: 4, evicted: 5, words: 16 } as const;
const SLOT = { epoch: 0, blockLow: 1, blockHigh: 2, sequence: 3, words: 4 } as const;

/** A replaced version of a block. */
interface Version {
  readonly slot: number;
  readonly block: number;
  readonly sequence: number;
  readonly epoch: number;
}

/**
 * Create the journal of a write cache: plain data, kept by the platform across domains.
 * @param slots blocks it can hold before it evicts, oldest first, as a cache that is full writes back
 */
export function createWriteCache(blockBytes: 512 | 4096, slots: number): SharedArrayBuffer {
  if (!Number.isInteger(slots) || slots < 1) throw new RangeError(`Cannot create a write cache of ${slots} blocks`);
  const buffer = new SharedArrayBuffer((HEADER.words + slots * SLOT.words) * 4 + slots * blockBytes);
  const words = new Int32Array(buffer, 0, HEADER.words);
  words.set([MAGIC, blockBytes, slots, 1]);
  return buffer;
}

/**
 * Puts a volatile write cache before a medium.
 *
 * @example
 * const journal = createWriteCache(512, 65_536);                   // platform
 * const disk = new WriteCache(new ImageFile({ path }), journal);   // driver domain, and its successor
 * new WriteCache(image, journal).powerCut();                       // platform, nobody stepping the controller
 */
export class WriteCache implements Medium {
  /** As the medium's. */
  readonly blockBytes: number;
  /** As the medium's. */
  readonly physicalBlockBytes: number;
  /** As the medium's. */
  readonly isReadOnly: boolean;
  /** That is the point. */
  readonly hasVolatileCache = true;
  private readonly medium: Medium;
  private readonly words: Int32Array;
  private readonly data: Uint8Array;
  private readonly slots: number;
  /** Slot of each block that was written since the last flush began. */
  private current = new Map<number, number>();
  private free: number[] = [];
  /** Live versions, oldest first; those that a durable write released stay until they come to the front. */
  private order: Version[] = [];
  private sequence = 0;
  private scratch: Uint8Array;

  /** Use a journal made for the medium's block size. @throws InvariantError for any other buffer */
  constructor(medium: Medium, journal: SharedArrayBuffer) {
    const header = new Int32Array(journal, 0, HEADER.words);
    if (header[HEADER.magic] !== MAGIC || header[HEADER.blockBytes] !== medium.blockBytes) {
      throw new InvariantError('WRITE_CACHE', 'Cannot use a write cache: the journal was not made for this medium');
    }
    this.medium = medium;
    this.blockBytes = medium.blockBytes;
    this.physicalBlockBytes = medium.physicalBlockBytes;
    this.isReadOnly = medium.isReadOnly;
    this.slots = header[HEADER.slots] ?? 0;
    const words = HEADER.words + this.slots * SLOT.words;
    this.words = new Int32Array(journal, 0, words);
    this.data = new Uint8Array(journal, words * 4);
    this.scratch = new Uint8Array(medium.blockBytes);
    this.recover();
  }

  /** As the medium's. */
  get capacityBytes(): number {
    return this.medium.capacityBytes;
  }

  /** Blocks whose contents a power cut would lose. */
  get dirtyBlocks(): number {
    return new Set(this.versions().map(({ block }) => block)).size;
  }

  /** Blocks that became durable early because the journal was full. */
  get evictedBlocks(): number {
    return Atomics.load(this.words, HEADER.evicted);
  }

  /** Straight from the medium. */
  read(positionBytes: number, bytes: Uint8Array, offset: number, lengthBytes: number): MediumStatus {
    return this.medium.read(positionBytes, bytes, offset, lengthBytes);
  }

  /** Straight from the medium. */
  readVector(positionBytes: number, views: readonly Uint8Array[]): MediumStatus {
    return this.medium.readVector(positionBytes, views);
  }

  /** Journal, then write through. */
  write(positionBytes: number, bytes: Uint8Array, offset: number, lengthBytes: number): MediumStatus {
    const status = this.journal(positionBytes, lengthBytes);
    return status === MEDIUM_STATUS.okay ? this.medium.write(positionBytes, bytes, offset, lengthBytes) : status;
  }

  /** Journal, then write through. */
  writeVector(positionBytes: number, views: readonly Uint8Array[]): MediumStatus {
    let lengthBytes = 0;
    for (const view of views) lengthBytes += view.length;
    const status = this.journal(positionBytes, lengthBytes);
    return status === MEDIUM_STATUS.okay ? this.medium.writeVector(positionBytes, views) : status;
  }

  /** Journal, then zero. */
  writeZeroes(positionBytes: number, lengthBytes: number): MediumStatus {
    const status = this.journal(positionBytes, lengthBytes);
    return status === MEDIUM_STATUS.okay ? this.medium.writeZeroes(positionBytes, lengthBytes) : status;
  }

  /** What was written before is durable once the medium has flushed. */
  flush(done: (status: MediumStatus) => void): void {
    const covered = Atomics.load(this.words, HEADER.epoch);
    Atomics.store(this.words, HEADER.epoch, covered + 1);
    this.current = new Map();
    this.medium.flush((status) => {
      if (status === MEDIUM_STATUS.okay) this.forget(covered);
      done(status);
    });
  }

  /** The blocks of one write are durable once the medium says so; nothing else is. */
  persist(positionBytes: number, lengthBytes: number, done: (status: MediumStatus) => void): void {
    const first = positionBytes / this.blockBytes;
    const last = first + lengthBytes / this.blockBytes;
    const covered = this.versions().filter(({ block }) => block >= first && block < last);
    for (let block = first; block < last; block++) this.current.delete(block); // a later write starts a new version
    this.medium.persist(positionBytes, lengthBytes, (status) => {
      if (status === MEDIUM_STATUS.okay) for (const version of covered) this.release(version);
      done(status);
    });
  }

  /**
   * Cut the power: contents that no flush covered are gone. Nobody may be stepping the controller.
   * @param lost how many of a block's unflushed versions are lost (0 … versions); default all, a real cache may have
   *   written some of them
   */
  powerCut(lost: (versions: number) => number = (versions) => versions): void {
    const byBlock = new Map<number, Version[]>();
    for (const version of this.versions()) {
      const versions = byBlock.get(version.block);
      if (versions === undefined) byBlock.set(version.block, [version]);
      else versions.push(version);
    }
    for (const [block, versions] of byBlock) {
      versions.sort((a, b) => b.sequence - a.sequence);
      const oldest = versions[Math.min(lost(versions.length), versions.length) - 1];
      if (oldest === undefined) continue;
      this.scratch.set(this.bytesOf(oldest.slot));
      const status = this.medium.write(block * this.blockBytes, this.scratch, 0, this.blockBytes);
      if (status !== MEDIUM_STATUS.okay) {
        throw new InvariantError('POWER_CUT', `Cannot undo block ${block}: the medium refuses`, { block, status });
      }
    }
    this.forget(Atomics.load(this.words, HEADER.epoch));
    Atomics.add(this.words, HEADER.epoch, 1);
    this.current.clear();
  }

  /** As the medium's. */
  resample(): number {
    return this.medium.resample();
  }

  /** Close the medium; the journal stays. */
  close(): void {
    this.medium.close();
  }

  /** Keep the old contents of every block in the range that has none yet since the last flush began. */
  private journal(positionBytes: number, lengthBytes: number): MediumStatus {
    if (this.isReadOnly) return MEDIUM_STATUS.readOnly;
    const first = positionBytes / this.blockBytes;
    const blocks = lengthBytes / this.blockBytes;
    let isKnown = true;
    for (let i = 0; i < blocks && isKnown; i++) isKnown = this.current.has(first + i);
    if (isKnown) return MEDIUM_STATUS.okay;
    if (this.scratch.length < lengthBytes) this.scratch = new Uint8Array(lengthBytes);
    const status = this.medium.read(positionBytes, this.scratch, 0, lengthBytes);
    if (status !== MEDIUM_STATUS.okay) return status;
    for (let i = 0; i < blocks; i++) {
      if (!this.current.has(first + i)) this.keep(first + i, i * this.blockBytes);
    }
    return MEDIUM_STATUS.okay;
  }

  private keep(block: number, scratchOffset: number): void {
    const slot = this.free.pop() ?? this.evict();
    const at = this.rowOf(slot);
    const sequence = ++this.sequence;
    this.bytesOf(slot).set(this.scratch.subarray(scratchOffset, scratchOffset + this.blockBytes));
    this.words[at + SLOT.blockLow] = block;
    this.words[at + SLOT.blockHigh] = Math.floor(block / 2 ** 32);
    this.words[at + SLOT.sequence] = sequence;
    const epoch = Atomics.load(this.words, HEADER.epoch);
    Atomics.store(this.words, at + SLOT.epoch, epoch); // commit
    this.current.set(block, slot);
    this.order.push({ slot, block, sequence, epoch });
  }

  /** Give up the oldest version: its block becomes durable before anyone flushed. */
  private evict(): number {
    for (let oldest = this.order.shift(); oldest !== undefined; oldest = this.order.shift()) {
      if (!this.isLive(oldest)) continue;
      Atomics.add(this.words, HEADER.evicted, 1);
      if (this.current.get(oldest.block) === oldest.slot) this.current.delete(oldest.block);
      Atomics.store(this.words, this.rowOf(oldest.slot) + SLOT.epoch, 0);
      return oldest.slot;
    }
    throw new InvariantError('WRITE_CACHE', 'Cannot evict: the journal is empty');
  }

  /** Versions up to an epoch are durable: one store, then their slots, which are the oldest, are free again. */
  private forget(epoch: number): void {
    if (epoch <= Atomics.load(this.words, HEADER.durable)) return;
    const covered = this.order.findIndex((version) => version.epoch > epoch);
    const gone = this.order.splice(0, covered < 0 ? this.order.length : covered);
    const freed = gone.filter((version) => this.isLive(version));
    Atomics.store(this.words, HEADER.durable, epoch); // commit
    for (const { slot } of freed) this.free.push(slot);
  }

  private release(version: Version): void {
    if (!this.isLive(version)) return; // a flush was faster
    Atomics.store(this.words, this.rowOf(version.slot) + SLOT.epoch, 0);
    this.free.push(version.slot);
  }

  /** Take over the journal of a predecessor: its entries stay, later writes go into a new epoch. */
  private recover(): void {
    Atomics.add(this.words, HEADER.epoch, 1);
    for (let slot = 0; slot < this.slots; slot++) {
      const at = this.rowOf(slot);
      const low = (this.words[at + SLOT.blockLow] ?? 0) >>> 0;
      const block = low + (this.words[at + SLOT.blockHigh] ?? 0) * 2 ** 32;
      const epoch = Atomics.load(this.words, at + SLOT.epoch);
      const version = { slot, block, sequence: this.words[at + SLOT.sequence] ?? 0, epoch };
      if (this.isLive(version)) this.order.push(version);
      else this.free.push(slot);
    }
    this.order.sort((a, b) => a.sequence - b.sequence);
    this.sequence = this.order.at(-1)?.sequence ?? 0;
  }

  private versions(): Version[] {
    return this.order.filter((version) => this.isLive(version));
  }

  /** Whether the slot still holds this version and no flush has covered it. */
  private isLive({ slot, sequence }: Version): boolean {
    const at = this.rowOf(slot);
    const epoch = Atomics.load(this.words, at + SLOT.epoch); // 0 once released
    return this.words[at + SLOT.sequence] === sequence && epoch > Atomics.load(this.words, HEADER.durable);
  }

  private rowOf(slot: number): number {
    return HEADER.words + slot * SLOT.words;
  }

  private bytesOf(slot: number): Uint8Array {
    return this.data.subarray(slot * this.blockBytes, (slot + 1) * this.blockBytes);
  }
}
