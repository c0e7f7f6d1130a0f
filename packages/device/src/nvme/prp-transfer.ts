// hot path: bench/block
// The pages of one command: PRP entries translated by the IOMMU and gathered into runs of consecutive frames.
// NVM Express base specification §4.3, "Physical Region Page Entry and List".
import { type BusMaster, EXTENT_SHIFT, extentOffset, type FrameNumber, PAGE_SIZE } from '@splitring/hypervisor';
import { STATUS } from './nvme-registers.ts';

/** Most bytes one command moves: MDTS 8, 256 pages. */
export const MAX_TRANSFER_BYTES = 256 * PAGE_SIZE;

const MAX_PAGES = 257; // an unaligned first page adds one
const OFFSET_MASK = PAGE_SIZE - 1;
const VIEW_SLOTS = 256;

/** Scratch for the command at hand; one per controller. */
export class PrpTransfer {
  private readonly master: BusMaster;
  private readonly runFrame = new Int32Array(MAX_PAGES);
  private readonly runPages = new Int32Array(MAX_PAGES);
  /** Pages of a list: bus pages, then the frames they translate to. */
  private readonly listed = new Int32Array(MAX_PAGES);
  private readonly frames = new Int32Array(MAX_PAGES);
  private runs = 0;
  private firstFrame = 0 as FrameNumber; // set by load()
  private firstOffset = 0;
  private length = 0;
  private readonly views: Uint8Array[] = [];
  private readonly viewKeys = new Int32Array(VIEW_SLOTS).fill(-1);
  private readonly viewPages = new Int32Array(VIEW_SLOTS);
  private readonly viewCache: Uint8Array[] = [];
  private listWords: Int32Array | undefined;
  private listFrame = -1;
  private epoch = 0;

  /** Translate through `master`. */
  constructor(master: BusMaster) {
    this.master = master;
  }

  /**
   * Translate the data pages of the entry at `words[at]`.
   * @param isDeviceWrite the device writes memory (a read command)
   * @returns STATUS.success or what is wrong; nothing was moved then
   */
  load(words: Int32Array, at: number, lengthBytes: number, isDeviceWrite: boolean): number {
    const low = words[at + 6] as number; // at + 15 lies inside the page: entries are aligned
    const high = words[at + 7] as number; // as above
    this.length = lengthBytes;
    this.firstOffset = low & OFFSET_MASK;
    if ((low & 3) !== 0) return STATUS.invalidPrpOffset;
    const frame = this.master.translate(busPageOf(low, high), isDeviceWrite);
    if (frame === -1) return STATUS.dataTransferError;
    this.firstFrame = frame;
    this.runs = 1;
    const left = lengthBytes - (PAGE_SIZE - this.firstOffset);
    if (left <= 0) return STATUS.success;
    const low2 = words[at + 8] as number; // as above
    const high2 = words[at + 9] as number; // as above
    if (left > PAGE_SIZE) return this.loadList(low2, high2, Math.ceil(left / PAGE_SIZE), isDeviceWrite);
    if ((low2 & OFFSET_MASK) !== 0) return STATUS.invalidPrpOffset;
    return this.add(low2, high2, isDeviceWrite) ? STATUS.success : STATUS.dataTransferError;
  }

  /** Whether the bytes lie in several runs of frames: `gather` them. Otherwise they lie in one extent. */
  get isScattered(): boolean {
    return this.runs > 1;
  }

  /** Bytes of the command. */
  get lengthBytes(): number {
    return this.length;
  }

  /** The extent in which the bytes lie that are not scattered. */
  get extentBytes(): Uint8Array {
    return this.master.extentBytes(this.firstFrame);
  }

  /** Where they start in it. */
  get extentOffset(): number {
    return extentOffset(this.firstFrame) + this.firstOffset;
  }

  /** Copy `source` to memory (identify data, log pages). */
  copyOut(source: Uint8Array): void {
    let done = 0;
    for (const view of this.gather(this.views)) {
      view.set(source.subarray(done, done + view.length));
      done += view.length;
    }
  }

  /** Copy memory to `target` (dataset management ranges). */
  copyIn(target: Uint8Array): void {
    let done = 0;
    for (const view of this.gather(this.views)) {
      target.set(view, done);
      done += view.length;
    }
  }

  /** Fill `views` with the bytes of the command, in order. */
  gather(views: Uint8Array[]): readonly Uint8Array[] {
    views.length = this.runs;
    if (this.runs === 1) {
      views[0] = this.part(this.firstFrame, this.firstOffset, this.length);
      return views;
    }
    this.forgetOldViews();
    let left = this.length;
    for (let run = 0; run < this.runs; run++) {
      const frame = this.runFrame[run] as FrameNumber; // run < runs
      const pages = this.runPages[run] as number; // as above
      const start = run === 0 ? this.firstOffset : 0;
      const length = Math.min(pages * PAGE_SIZE - start, left);
      views[run] =
        start === 0 && length === pages * PAGE_SIZE ? this.whole(frame, pages) : this.part(frame, start, length);
      left -= length;
    }
    return views;
  }

  private forgetOldViews(): void {
    if (this.epoch === this.master.viewEpoch) return;
    this.epoch = this.master.viewEpoch;
    this.viewKeys.fill(-1);
    this.listFrame = -1;
  }

  private whole(frame: FrameNumber, pages: number): Uint8Array {
    if (pages === 1) return this.master.pageBytes(frame);
    const slot = (frame ^ (pages << 4)) & (VIEW_SLOTS - 1);
    const cached = this.viewCache[slot];
    if (cached !== undefined && this.viewKeys[slot] === frame && this.viewPages[slot] === pages) return cached;
    const view = this.part(frame, 0, pages * PAGE_SIZE);
    this.viewCache[slot] = view;
    this.viewKeys[slot] = frame;
    this.viewPages[slot] = pages;
    return view;
  }

  private part(frame: FrameNumber, start: number, lengthBytes: number): Uint8Array {
    const at = extentOffset(frame) + start;
    return this.master.extentBytes(frame).subarray(at, at + lengthBytes);
  }

  private add(low: number, high: number, isDeviceWrite: boolean): boolean {
    this.listed[0] = busPageOf(low, high);
    return this.translateListed(1, isDeviceWrite);
  }

  /** Translate the first `count` listed pages, which follow the first page, and find the runs. @returns false after a fault */
  private translateListed(count: number, isDeviceWrite: boolean): boolean {
    const { frames, runFrame, runPages } = this;
    if (this.master.translateAll(this.listed, count, isDeviceWrite, frames) < count) return false;
    let run = 0;
    let first: number = this.firstFrame;
    let pages = 1;
    runFrame[0] = first;
    for (let i = 0; i < count; i++) {
      const frame = frames[i] as number; // translated
      if (frame === first + pages && frame >>> EXTENT_SHIFT === first >>> EXTENT_SHIFT) {
        pages++;
        continue;
      }
      runPages[run] = pages;
      first = frame;
      pages = 1;
      runFrame[++run] = frame;
    }
    runPages[run] = pages;
    this.runs = run + 1;
    return true;
  }

  /** A list of `pages` entries; the last entry of a list page leads to the next one if more remain. */
  private loadList(low: number, high: number, pages: number, isDeviceWrite: boolean): number {
    if ((low & 7) !== 0) return STATUS.invalidPrpOffset;
    this.forgetOldViews();
    const { listed } = this;
    let list = this.listPage(low, high);
    let at = (low & OFFSET_MASK) >>> 2;
    for (let i = 0; i < pages; ) {
      if (list === undefined) return STATUS.dataTransferError;
      const entryLow = list[at] as number; // at < 1024: entries are 8-byte aligned
      const entryHigh = list[at + 1] as number; // as above
      if ((entryLow & OFFSET_MASK) !== 0) return STATUS.invalidPrpOffset;
      if (at === 1022 && i < pages - 1) {
        // A chain of lists without data would go on for ever: a page of list always holds at least one data entry.
        list = this.listPage(entryLow, entryHigh);
        at = 0;
        continue;
      }
      listed[i] = busPageOf(entryLow, entryHigh);
      at += 2;
      i++;
    }
    return this.translateListed(pages, isDeviceWrite) ? STATUS.success : STATUS.dataTransferError;
  }

  private listPage(low: number, high: number): Int32Array | undefined {
    const frame = this.master.translate(busPageOf(low, high), false);
    if (frame === -1) return undefined;
    if (frame !== this.listFrame || this.listWords === undefined) {
      const bytes = this.master.pageBytes(frame);
      this.listWords = new Int32Array(bytes.buffer, bytes.byteOffset, PAGE_SIZE / 4);
      this.listFrame = frame;
    }
    return this.listWords;
  }
}

/** Past 42 bits of address nothing can be mapped: the IOMMU records the fault. */
function busPageOf(low: number, high: number): number {
  return high >>> 10 === 0 ? (high << 20) | (low >>> 12) : 0x4000_0000;
}
