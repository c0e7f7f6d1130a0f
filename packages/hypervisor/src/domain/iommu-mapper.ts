// One domain's I/O page table, as memory and grants see it: rights in, invalidations posted, one wait for all.
import type { DomId, FrameNumber } from '../ids.ts';
import { IoInvalidator, type LocalUnit } from '../iommu/invalidation.ts';
import { IoPageTables } from '../iommu/io-page-tables.ts';
import { IO_READ, IO_WRITE, type IoSpace } from '../iommu/iommu-layout.ts';
import type { IoMapper, IoRights } from '../memory/io-mapper.ts';

/** Bus address = frame × 4096, in the domain's own I/O space. */
export class IommuMapper implements IoMapper {
  readonly #buffer: SharedArrayBuffer;
  readonly #tables: IoPageTables;
  readonly #space: IoSpace | -1;
  #invalidator: IoInvalidator;

  /** Keep the I/O page table of a domain that the hypervisor has given a space. */
  constructor(buffer: SharedArrayBuffer, domid: DomId, generation: number) {
    this.#buffer = buffer;
    this.#tables = new IoPageTables(buffer);
    this.#space = this.#tables.spaceOf(domid, generation);
    this.#invalidator = new IoInvalidator(buffer);
  }

  /** This thread steps devices behind `unit`: serve it in place instead of waiting for it. */
  useLocalUnit(unit: LocalUnit): void {
    this.#invalidator = new IoInvalidator(this.#buffer, unit);
  }

  setRights(first: FrameNumber, frames: number, rights: IoRights): boolean {
    if (this.#space === -1) return true;
    if (rights === 2) return this.#tables.map(this.#space, first, first, IO_READ | IO_WRITE, frames);
    if (rights === 1) {
      // From nothing or from writable: only the second leaves something stale, and saying so twice costs little.
      const isMapped = this.#tables.map(this.#space, first, first, IO_READ, frames);
      this.#invalidator.invalidate(this.#space, first, frames);
      return isMapped;
    }
    this.#tables.unmap(this.#space, first, frames);
    this.#invalidator.invalidate(this.#space, first, frames);
    return true;
  }

  flush(): boolean {
    return this.#invalidator.wait();
  }

  isFlushed(): boolean {
    return this.#invalidator.isServed();
  }
}
