// The pages that a disk's data travels in, taken next-fit so that buffers follow one another in memory.
// hot path: bench/src/block
import { type FrameRun, PAGE_SHIFT } from '@splitring/hypervisor';

/**
 * Counts the uses of each page of one contiguous run. First-in, first-out use keeps neighbouring requests neighbours
 * in memory, so that the far end can do one large transfer instead of a scattered one.
 *
 * @example
 * const first = pool.take(2); // two adjoining pages, or -1
 * pool.giveBack(first, 2);
 */
export class PagePool {
  /** The memory itself. */
  readonly run: FrameRun;
  /** Pages without any use. */
  freePages: number;
  private readonly uses: Uint16Array;
  private cursor: number;

  /** Make all pages of `run` free. */
  constructor(run: FrameRun) {
    this.run = run;
    this.freePages = run.frames;
    this.uses = new Uint16Array(run.frames);
    this.cursor = 0;
  }

  /** Take `pages` adjoining free pages. @returns the first, or -1 if there is no such gap now */
  take(pages: number): number {
    const total = this.run.frames;
    if (pages > this.freePages) return -1;
    let found = 0;
    let at = this.cursor;
    for (let left = total + pages; left > 0; left -= 1) {
      if (at === total) {
        at = 0;
        found = 0;
      }
      found = this.uses[at] === 0 ? found + 1 : 0;
      at += 1;
      if (found === pages) {
        this.cursor = at;
        this.retain(at - pages, pages);
        return at - pages;
      }
    }
    return -1;
  }

  /** Add a use to pages that may already have one. */
  retain(first: number, pages: number): void {
    for (let page = first; page < first + pages; page += 1) {
      const uses = this.uses[page] as number; // in range: callers pass pages of this run
      if (uses === 0) this.freePages -= 1;
      this.uses[page] = uses + 1;
    }
  }

  /** Drop a use of each page; the last one makes it free. */
  giveBack(first: number, pages: number): void {
    for (let page = first; page < first + pages; page += 1) {
      const uses = (this.uses[page] as number) - 1; // in range, as above
      this.uses[page] = uses;
      if (uses === 0) this.freePages += 1;
    }
  }

  /** As `giveBack`, for memory that a program wrote to: what becomes free is zeroed, no later grant shows it (XSA-403). */
  giveBackZeroed(first: number, pages: number): void {
    this.giveBack(first, pages);
    for (let page = first; page < first + pages; page += 1) {
      if (this.uses[page] === 0) this.run.bytes.fill(0, page << PAGE_SHIFT, (page + 1) << PAGE_SHIFT);
    }
  }

  /** Hand out no page any more. @returns whether every page is free, so that the memory can be given back */
  retire(): boolean {
    const isUnused = this.freePages === this.run.frames;
    this.freePages = Number.NEGATIVE_INFINITY; // whatever comes back, there is never enough
    return isUnused;
  }

  /** Tell the byte offset of `bytes` in the pool's memory, or -1 if it lies elsewhere. */
  offsetOf(bytes: Uint8Array): number {
    const memory = this.run.bytes;
    const offset = bytes.byteOffset - memory.byteOffset;
    const isInside = bytes.buffer === memory.buffer && offset >= 0 && offset + bytes.byteLength <= memory.byteLength;
    return isInside ? offset : -1;
  }

  /** Whether every page of `bytes`, which lies at `offset`, has a use: memory that somebody took. */
  isTaken(offset: number, lengthBytes: number): boolean {
    const last = (offset + lengthBytes - 1) >> PAGE_SHIFT;
    for (let page = offset >> PAGE_SHIFT; page <= last; page += 1) {
      if (this.uses[page] === 0) return false;
    }
    return true;
  }
}
