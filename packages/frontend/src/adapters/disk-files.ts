// A few named files on a raw disk: what a database engine needs of a file system, and nothing else.
//
//   block 0           superblock
//   blocks 1 … n      one entry for each file: name and size, in one 512-byte sector, so that it is written whole or not
//   the rest          n regions of equal length, file i in region i
//
// Sizes and names are durable after `sync`, as data is; a delete is durable after `syncDirectory`. An entry goes to the
// disk only when the bytes that it covers are durable, and a region is used again only when the entry that it had is
// durably gone: a power cut never shows a file with bytes of another one.
import { SplitringError, struct, u32, u64 } from 'sharedarraybuffer-ring';
import type { Disk } from '../block/disk.ts';

const MAGIC = 0x46_52_50_53; // "SPRF"
const VERSION = 1;
const SECTOR = 512;
const DEFAULT_FILES = 4;

const superblock = struct({ magic: u32, version: u32, files: u32, checksum: u32, regionBytes: u64, startBytes: u64 });
const entry = struct({ magic: u32, checksum: u32, sizeBytes: u64, nameBytes: u32, generation: u32 });
const MAX_NAME = SECTOR - entry.sizeof;

/** One file. */
export interface DiskFile {
  readonly name: string;
  /** Bytes that can be read. */
  readonly sizeBytes: number;
}

interface Slot extends DiskFile {
  readonly index: number;
  sizeBytes: number;
  generation: number;
  /** The entry on the disk tells another size. */
  isDirty: boolean;
}

/**
 * The files of one disk, used synchronously by one program.
 *
 * @example
 * const files = DiskFiles.open(disk); // formats a disk that is all zeros
 * const file = files.open('app.db', true);
 * files.write(file, 0, bytes);
 * files.sync(file);
 */
export class DiskFiles {
  private readonly disk: Disk;
  private readonly blockBytes: number;
  private readonly regionBytes: number;
  private readonly startBytes: number;
  private readonly slots: (Slot | undefined)[];
  private readonly block: Uint8Array;
  /** Regions of removed files whose removal no flush has made durable yet. */
  private readonly undurable = new Set<number>();

  private constructor(disk: Disk, layout: { files: number; regionBytes: number; startBytes: number }) {
    this.disk = disk;
    this.blockBytes = disk.blockBytes;
    this.regionBytes = layout.regionBytes;
    this.startBytes = layout.startBytes;
    this.block = new Uint8Array(this.blockBytes);
    this.slots = Array.from({ length: layout.files }, (_, index) => this.readEntry(index));
  }

  /**
   * Open the files of a disk; a disk whose first block is zero is formatted.
   * @throws SplitringError `DISK_FILES_FOREIGN` when something else lies on it, `DISK_FILES_SMALL`; BlockError
   */
  static open(disk: Disk, files: number = DEFAULT_FILES): DiskFiles {
    const block = new Uint8Array(disk.blockBytes);
    disk.readSync(0, block);
    if (block.every((byte) => byte === 0)) return DiskFiles.format(disk, files);
    const view = new DataView(block.buffer);
    const found = superblock.read(view, 0, superblock.create());
    const end = found.startBytes + found.files * found.regionBytes;
    const isOurs = found.magic === MAGIC && found.version === VERSION && found.checksum === sum(block, 12);
    if (!isOurs || !(end <= disk.capacityBytes)) {
      throw new SplitringError('DISK_FILES_FOREIGN', `Cannot open files on ${disk.name}: something else lies on it`, {
        disk: disk.name,
      });
    }
    return new DiskFiles(disk, found);
  }

  /** Make a disk empty. Everything on it is lost. */
  static format(disk: Disk, files: number = DEFAULT_FILES): DiskFiles {
    const { blockBytes } = disk;
    const startBytes = (1 + files) * blockBytes;
    const regionBytes = Math.floor((disk.capacityBytes - startBytes) / files / blockBytes) * blockBytes;
    if (!(regionBytes >= blockBytes)) {
      throw new SplitringError('DISK_FILES_SMALL', `Cannot put ${files} files on ${disk.name}: it is too small`, {
        disk: disk.name,
      });
    }
    for (let index = 1; index <= files; index += 1) disk.writeSync(index * blockBytes, new Uint8Array(blockBytes));
    const block = new Uint8Array(blockBytes);
    const view = new DataView(block.buffer);
    superblock.write(view, 0, { magic: MAGIC, version: VERSION, files, checksum: 0, regionBytes, startBytes });
    superblock.set.checksum(view, 0, sum(block, 12));
    disk.writeSync(0, block);
    if (disk.hasFlush) disk.flushSync();
    return new DiskFiles(disk, { files, regionBytes, startBytes });
  }

  /** Bytes that the medium writes as one: a torn write may damage all of them. */
  get sectorBytes(): number {
    return Math.max(this.disk.physicalBlockBytes, this.blockBytes);
  }

  /** Find a file, or make it empty if `mayCreate`. @returns undefined if there is none, or no room for one */
  open(name: string, mayCreate: boolean): DiskFile | undefined {
    const found = this.slots.find((slot) => slot?.name === name);
    if (found !== undefined || !mayCreate) return found;
    const free = [...this.slots.keys()].filter((slot) => this.slots[slot] === undefined);
    const index = free.find((slot) => !this.undurable.has(slot)) ?? free[0];
    if (index === undefined || new TextEncoder().encode(name).byteLength > MAX_NAME) return undefined;
    // After a power cut the former file may be back: it must not have the bytes of this one.
    if (this.undurable.has(index)) this.syncDirectory();
    const slot: Slot = { name, index, sizeBytes: 0, generation: 0, isDirty: true };
    this.slots[index] = slot;
    return slot;
  }

  /** Whether there is a file of this name. */
  has(name: string): boolean {
    return this.slots.some((slot) => slot?.name === name);
  }

  /** Read into `into`. @returns the bytes that there were; the rest of `into` is zero */
  read(file: DiskFile, offset: number, into: Uint8Array): number {
    const bytes = Math.max(0, Math.min(into.byteLength, file.sizeBytes - offset));
    if (bytes > 0) {
      const span = this.span(file, offset, bytes);
      if (span.isWhole) this.disk.readSync(span.at, into.subarray(0, bytes));
      else {
        const blocks = new Uint8Array(span.lengthBytes);
        this.disk.readSync(span.at, blocks);
        into.set(blocks.subarray(span.skip, span.skip + bytes));
      }
    }
    into.fill(0, bytes);
    return bytes;
  }

  /** Write at `offset`; a gap before it reads as zeros. @throws RangeError when the file's region is full */
  write(file: DiskFile, offset: number, from: Uint8Array): void {
    const slot = this.slotOf(file);
    if (offset > this.regionBytes - from.byteLength) {
      throw new RangeError(`Cannot write ${from.byteLength} bytes at ${offset} of ${file.name}: its region is full`);
    }
    if (offset > slot.sizeBytes) this.put(slot, slot.sizeBytes, new Uint8Array(offset - slot.sizeBytes));
    this.put(slot, offset, from);
    if (offset + from.byteLength > slot.sizeBytes) {
      slot.sizeBytes = offset + from.byteLength;
      slot.isDirty = true;
    }
  }

  /** Cut a file, or extend it with zeros. */
  truncate(file: DiskFile, sizeBytes: number): void {
    const slot = this.slotOf(file);
    if (sizeBytes > slot.sizeBytes) this.write(file, slot.sizeBytes, new Uint8Array(sizeBytes - slot.sizeBytes));
    else if (sizeBytes < slot.sizeBytes) {
      slot.sizeBytes = sizeBytes;
      slot.isDirty = true;
    }
  }

  /** Make data and size durable. */
  sync(file: DiskFile): void {
    const slot = this.slotOf(file);
    this.syncDirectory();
    if (!slot.isDirty) return;
    this.writeEntry(slot.index, slot, true);
    slot.isDirty = false;
  }

  /** Forget a file; durable after `syncDirectory`. */
  remove(name: string): void {
    const index = this.slots.findIndex((slot) => slot?.name === name);
    if (index < 0) return;
    this.slots[index] = undefined;
    this.undurable.add(index);
    this.writeEntry(index, undefined, false);
  }

  /** Make deletions durable. */
  syncDirectory(): void {
    this.disk.flushSync();
    this.undurable.clear();
  }

  /** Write bytes, reading first what shares a block with them. */
  private put(slot: Slot, offset: number, from: Uint8Array): void {
    if (from.byteLength === 0) return;
    const span = this.span(slot, offset, from.byteLength);
    if (span.isWhole) {
      this.disk.writeSync(span.at, from);
      return;
    }
    const blocks = new Uint8Array(span.lengthBytes);
    const last = span.lengthBytes - this.blockBytes;
    this.disk.readSync(span.at, blocks.subarray(0, this.blockBytes));
    if (last > 0) this.disk.readSync(span.at + last, blocks.subarray(last));
    blocks.set(from, span.skip);
    this.disk.writeSync(span.at, blocks);
  }

  /** The whole blocks that a range of a file touches: where on the disk, how long, how far in the range begins. */
  private span(file: DiskFile, offset: number, bytes: number) {
    const { blockBytes } = this;
    const skip = offset % blockBytes;
    const lengthBytes = Math.ceil((skip + bytes) / blockBytes) * blockBytes;
    const at = this.startBytes + this.slotOf(file).index * this.regionBytes + offset - skip;
    return { at, lengthBytes, skip, isWhole: lengthBytes === bytes };
  }

  private readEntry(index: number): Slot | undefined {
    const { block } = this;
    this.disk.readSync((1 + index) * this.blockBytes, block);
    const view = new DataView(block.buffer);
    const { magic, checksum, sizeBytes, nameBytes, generation } = entry.read(view, 0, entry.create());
    if (magic !== MAGIC || nameBytes > MAX_NAME || checksum !== sum(block.subarray(0, SECTOR), 4)) return undefined;
    if (!(sizeBytes <= this.regionBytes)) return undefined;
    const name = new TextDecoder().decode(block.slice(entry.sizeof, entry.sizeof + nameBytes));
    return { name, index, sizeBytes, generation, isDirty: false };
  }

  private writeEntry(index: number, slot: Slot | undefined, isDurable: boolean): void {
    const { block } = this;
    block.fill(0);
    if (slot !== undefined) {
      const name = new TextEncoder().encode(slot.name);
      slot.generation += 1;
      const view = new DataView(block.buffer);
      const { sizeBytes, generation } = slot;
      entry.write(view, 0, { magic: MAGIC, checksum: 0, sizeBytes, nameBytes: name.byteLength, generation });
      block.set(name, entry.sizeof);
      entry.set.checksum(view, 0, sum(block.subarray(0, SECTOR), 4));
    }
    this.disk.writeSync((1 + index) * this.blockBytes, block, { isDurable });
  }

  private slotOf(file: DiskFile): Slot {
    const slot = this.slots.find((each) => each === file);
    if (slot === undefined) throw new TypeError(`Cannot use ${file.name}: it was removed`);
    return slot;
  }
}

/** FNV-1a over a block, its four bytes at `skip` left out. */
function sum(bytes: Uint8Array, skip: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.byteLength; i += 1) {
    const isCounted = i < skip || i >= skip + 4;
    hash = Math.imul(hash ^ (isCounted ? (bytes[i] as number) : 0), 0x01000193); // in range
  }
  return hash >>> 0;
}
