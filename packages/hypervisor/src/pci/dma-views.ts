// hot path: views of the memory that devices move data to and from, made once per page and kept.
import { InvariantError } from 'sharedarraybuffer-ring';
import { EXTENT_SHIFT, type FrameNumber, PAGE_SHIFT, PAGE_SIZE } from '../ids.ts';

/** The memory of the machine as the thread that steps devices holds it. */
export interface DmaMemory {
  /** A whole extent, or undefined if this thread does not hold it. */
  extentBytes(extent: number): Uint8Array | undefined;
}

interface ExtentViews {
  readonly bytes: Uint8Array;
  readonly pages: (Uint8Array | undefined)[];
}

const FRAME_MASK = (1 << EXTENT_SHIFT) - 1;

/** Byte offset of a frame inside its extent. */
export function extentOffset(frame: FrameNumber): number {
  return (frame & FRAME_MASK) << PAGE_SHIFT;
}

/** Cached views over DmaMemory. Only frames that the IOMMU returned may be asked for. */
export class DmaViews {
  /** Counts forget(): views from before it may be of another life of an extent number. */
  epoch = 0;
  private readonly memory: DmaMemory;
  private readonly extents = new Map<number, ExtentViews>();
  private lastExtent = -1;
  private last: ExtentViews | undefined;

  /** Look into `memory`. */
  constructor(memory: DmaMemory) {
    this.memory = memory;
  }

  /** The extent of a frame. @throws InvariantError if this thread does not hold it: a map was not announced here */
  extent(frame: FrameNumber): Uint8Array {
    return this.viewsOf(frame).bytes;
  }

  /** One page, 4096 bytes. */
  page(frame: FrameNumber): Uint8Array {
    const views = this.viewsOf(frame);
    const index = frame & FRAME_MASK;
    const known = views.pages[index];
    if (known !== undefined) return known;
    const offset = index << PAGE_SHIFT;
    const page = views.bytes.subarray(offset, offset + PAGE_SIZE);
    views.pages[index] = page;
    return page;
  }

  /** Drop the views of an extent that was retired. */
  forget(extent: number): void {
    this.epoch++;
    this.extents.delete(extent);
    this.lastExtent = -1;
    this.last = undefined;
  }

  private viewsOf(frame: FrameNumber): ExtentViews {
    const extent = frame >>> EXTENT_SHIFT;
    if (extent === this.lastExtent && this.last !== undefined) return this.last;
    let views = this.extents.get(extent);
    if (views === undefined) {
      const bytes = this.memory.extentBytes(extent);
      if (bytes === undefined) {
        throw new InvariantError('DMA_EXTENT', `Cannot do DMA to frame ${frame}: extent ${extent} is not held here`);
      }
      views = { bytes, pages: [] };
      this.extents.set(extent, views);
    }
    this.lastExtent = extent;
    this.last = views;
    return views;
  }
}
