// The slots of a ring as one end sees them: where slot i lies, and its copy-out into private memory.
// hot path: bench case pipelined-112
import { copyLanesOut, copyWords, prefersLanes } from './lanes.ts';
import { RING_HEADER_BYTES } from './ring-layout.ts';

const HEADER_LANES = RING_HEADER_BYTES >> 3;

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
  /** The same in words. */
  readonly scratchWords: Int32Array;
  /** The whole region in words, for callers that write whole words. */
  readonly words: Int32Array;
  private readonly shared: BigInt64Array;
  private readonly copied: BigInt64Array;
  private readonly sharedBytes: Uint8Array;
  private readonly copiedBytes: Uint8Array;
  private readonly slotBytes: number;
  private readonly copyBytes: number;
  private readonly mask: number;
  /** Slot size and length of a copy in lanes of eight bytes; 0 where lanes cannot be used. */
  private readonly slotLanes: number;
  private readonly copyLanes: number;

  /** Build the views once. `slots` is a power of two that fits the region; `copyBytes` of a slot are copied out. */
  constructor(region: Uint8Array, slotBytes: number, slots: number, copyBytes: number, scratchBytes = copyBytes) {
    const { buffer, byteOffset, byteLength } = region;
    const scratch = new ArrayBuffer((scratchBytes + 7) & ~7);
    const hasLanes = byteOffset % 8 === 0 && slotBytes % 8 === 0 && prefersLanes();
    this.view = new DataView(buffer, byteOffset, byteLength);
    this.scratch = new DataView(scratch, 0, scratchBytes);
    this.shared = new BigInt64Array(buffer, hasLanes ? byteOffset : 0, hasLanes ? byteLength >> 3 : 0);
    this.copied = new BigInt64Array(scratch);
    this.words = new Int32Array(buffer, byteOffset, byteLength >> 2);
    this.scratchWords = new Int32Array(scratch);
    this.sharedBytes = new Uint8Array(buffer, byteOffset, byteLength);
    this.copiedBytes = new Uint8Array(scratch);
    this.slotBytes = slotBytes;
    this.copyBytes = copyBytes;
    this.mask = slots - 1;
    this.slotLanes = hasLanes ? slotBytes >> 3 : 0;
    this.copyLanes = hasLanes ? (copyBytes + 7) >> 3 : 0; // whole lanes: slots are, too
  }

  /** Byte offset of the slot of `index` in `view`. */
  offset(index: number): number {
    return (RING_HEADER_BYTES + Math.imul(index & this.mask, this.slotBytes)) | 0;
  }

  /** Copy the slot of `index` to `scratch`, `copyBytes` of it, each byte once. */
  copyOut(index: number): void {
    const lanes = this.copyLanes;
    if (lanes === 0) this.copyOutWords(index);
    else {
      const from = HEADER_LANES + Math.imul(index & this.mask, this.slotLanes);
      copyLanesOut(this.shared, from, this.copied, lanes);
    }
  }

  /** Copy what follows the `copyBytes` of the slot of `index`, up to byte `endBytes`, each byte once; both in whole words. */
  copyRest(index: number, endBytes: number): void {
    const from = this.copyBytes >> 2;
    copyWords(this.words, (this.offset(index) >> 2) + from, this.scratchWords, from, (endBytes >> 2) - from);
  }

  /** As `copyOut`, where lanes cannot be used: slots of any size and alignment. */
  private copyOutWords(index: number): void {
    const from = this.offset(index);
    if (this.slotBytes % 4 === 0) {
      copyWords(this.words, from >> 2, this.scratchWords, 0, (this.copyBytes + 3) >> 2);
    } else {
      for (let i = 0; i < this.copyBytes; i += 1) this.copiedBytes[i] = this.sharedBytes[from + i] as number; // in range
    }
  }
}
