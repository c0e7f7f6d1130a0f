// hot path: bench/block
// Reads and writes that are decoded and translated, but whose data has not moved yet: one array per field.
//
// A controller decodes a burst, then moves it, then completes it. Each is a short loop that stays in the caches; around
// every single call of the operating system, all of the model's code would have to be fetched anew.
import type { Medium, MediumStatus } from '../media/medium.ts';
import type { PrpTransfer } from './prp-transfer.ts';

/** Commands fetched from one queue at a time: few, so that completions are passed on while the device works. */
export const BURST = 8;

/** What is staged belongs to one call of the controller: nothing that was translated outlives it. */
export class TransferBurst {
  private readonly media: Medium[] = [];
  private readonly positions = new Float64Array(BURST);
  private readonly lengths = new Int32Array(BURST);
  private readonly isWrite = new Uint8Array(BURST);
  /** Where the data of a transfer lies that is one run of memory … */
  private readonly extents: Uint8Array[] = [];
  private readonly offsets = new Int32Array(BURST);
  /** … and where that of the others does. */
  private readonly isScattered = new Uint8Array(BURST);
  private readonly views: Uint8Array[][] = Array.from({ length: BURST }, () => []);

  /** Keep what `transfer` has loaded, to be moved from or to byte `position` of the medium. */
  stage(slot: number, transfer: PrpTransfer, medium: Medium, position: number, isWrite: boolean): void {
    this.media[slot] = medium;
    this.positions[slot] = position;
    this.lengths[slot] = transfer.lengthBytes;
    this.isWrite[slot] = isWrite ? 1 : 0;
    if (transfer.isScattered) {
      this.isScattered[slot] = 1;
      transfer.gather(this.views[slot] as Uint8Array[]); // one for each slot
    } else {
      this.isScattered[slot] = 0;
      this.extents[slot] = transfer.extentBytes;
      this.offsets[slot] = transfer.extentOffset;
    }
  }

  /** Move the data of `slot`, which is staged. */
  move(slot: number): MediumStatus {
    const medium = this.media[slot] as Medium; // staged, as all below
    const position = this.positions[slot] as number;
    const isWrite = this.isWrite[slot] === 1;
    if (this.isScattered[slot] === 1) {
      const views = this.views[slot] as Uint8Array[];
      return isWrite ? medium.writeVector(position, views) : medium.readVector(position, views);
    }
    const extent = this.extents[slot] as Uint8Array;
    const offset = this.offsets[slot] as number;
    const length = this.lengths[slot] as number;
    return isWrite ? medium.write(position, extent, offset, length) : medium.read(position, extent, offset, length);
  }

  /** Make the write in `slot`, which has moved, durable; `done` as in Medium.persist(). */
  persist(slot: number, done: (status: MediumStatus) => void): void {
    const medium = this.media[slot] as Medium; // staged
    medium.persist(this.positions[slot] as number, this.lengths[slot] as number, done); // likewise
  }

  /** Whether `slot` is a write. */
  isWriteAt(slot: number): boolean {
    return this.isWrite[slot] === 1;
  }
}
