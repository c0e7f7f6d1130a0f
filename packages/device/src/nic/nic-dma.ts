// A card's reads and writes of memory: every page through the IOMMU, descriptors published with one atomic store.
import { type BusMaster, PAGE_SHIFT, PAGE_SIZE } from '@splitring/hypervisor';

/** Byte offset within a page. */
const IN_PAGE = PAGE_SIZE - 1;

/** DMA of one function. Bus addresses are Numbers below 2^53. */
export class NicDma {
  /** Accesses that the IOMMU refused. */
  faults = 0;
  readonly #master: BusMaster;

  /** Access memory as `master`. */
  constructor(master: BusMaster) {
    this.#master = master;
  }

  /** Copy `length` bytes at bus address `address` to `target[at …)`. @returns false after a fault */
  read(address: number, target: Uint8Array, at: number, length: number): boolean {
    for (let done = 0; done < length; ) {
      const page = this.#page(address + done, false);
      if (page === undefined) return false;
      const from = (address + done) & IN_PAGE;
      const count = Math.min(length - done, PAGE_SIZE - from);
      target.set(page.subarray(from, from + count), at + done);
      done += count;
    }
    return true;
  }

  /** Copy `source` to bus address `address`. @returns false after a fault */
  write(address: number, source: Uint8Array): boolean {
    for (let done = 0; done < source.length; ) {
      const page = this.#page(address + done, true);
      if (page === undefined) return false;
      const to = (address + done) & IN_PAGE;
      const count = Math.min(source.length - done, PAGE_SIZE - to);
      page.set(source.subarray(done, done + count), to);
      done += count;
    }
    return true;
  }

  /** The descriptor at `address` (a multiple of 16) as four 32-bit words. @returns undefined after a fault */
  descriptor(address: number, isWrite: boolean): Int32Array | undefined {
    const page = this.#page(address, isWrite);
    return page && new Int32Array(page.buffer, page.byteOffset + (address & IN_PAGE), 4);
  }

  #page(address: number, isWrite: boolean): Uint8Array | undefined {
    const frame = this.#master.translate(Math.floor(address / 2 ** PAGE_SHIFT), isWrite);
    if (frame !== -1) return this.#master.pageBytes(frame);
    this.faults += 1;
    return undefined;
  }
}
