// The slots of a ring as one end sees them: where slot i lies, and its copy-out into private memory.
// hot path: bench case pipelined-112
import { RING_HEADER_BYTES } from './ring-layout.ts';

/**
 * Typed views of a ring's slots, and the private scratch slot that consumed bytes are copied to.
 *
 * Copying before looking is what makes a peer that rewrites a slot harmless: it can change what we will see, never what
 * we have seen (XSA-155).
 */
export class RingSlots {
  /** The whole region, little-endian access by the caller; slot offsets count from its start. */
  readonly view: DataView;
  /** Private copy of the slot taken last. */
  readonly scratch: DataView;
  private readonly shared: Int32Array;
  private readonly copied: Int32Array;
  private readonly sharedBytes: Uint8Array;
  private readonly copiedBytes: Uint8Array;
  private readonly slotBytes: number;
  private readonly mask: number;
  private readonly isWordwise: boolean;

  /** Build the views once; `slots` is a power of two that fits the region. */
  constructor(region: Uint8Array, slotBytes: number, slots: number) {
    const scratch = new ArrayBuffer((slotBytes + 7) & ~7);
    this.view = new DataView(region.buffer, region.byteOffset, region.byteLength);
    this.scratch = new DataView(scratch, 0, slotBytes);
    this.shared = new Int32Array(region.buffer, region.byteOffset, region.byteLength >> 2);
    this.copied = new Int32Array(scratch);
    this.sharedBytes = new Uint8Array(region.buffer, region.byteOffset, region.byteLength);
    this.copiedBytes = new Uint8Array(scratch);
    this.slotBytes = slotBytes;
    this.mask = slots - 1;
    this.isWordwise = slotBytes % 4 === 0;
  }

  /** Byte offset of the slot of `index` in `view`. */
  offset(index: number): number {
    return RING_HEADER_BYTES + (index & this.mask) * this.slotBytes;
  }

  /** Copy the slot of `index` to `scratch`, each byte once. */
  copyOut(index: number): void {
    const from = this.offset(index);
    if (this.isWordwise) copyWords(this.shared, from >> 2, this.copied, this.slotBytes >> 2);
    else for (let i = 0; i < this.slotBytes; i += 1) this.copiedBytes[i] = this.sharedBytes[from + i] as number; // in range
  }
}

/** Copy `words` words to the start of `to`, four at a time: unrolled lanes are twice as fast as a plain loop. */
function copyWords(from: Int32Array, fromWord: number, to: Int32Array, words: number): void {
  let i = 0;
  // The casts: indices are in range by construction, which the compiler cannot know.
  for (; i + 4 <= words; i += 4) {
    to[i] = from[fromWord + i] as number;
    to[i + 1] = from[fromWord + i + 1] as number;
    to[i + 2] = from[fromWord + i + 2] as number;
    to[i + 3] = from[fromWord + i + 3] as number;
  }
  for (; i < words; i += 1) to[i] = from[fromWord + i] as number;
}
