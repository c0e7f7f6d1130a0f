// hot path: bench/block
// Reads and writes that are decoded and translated, but whose data has not moved yet.
//
// A controller decodes a burst, then moves it, then completes it. Each is a short loop that stays in the caches; around
// every single call of the operating system, all of the model's code would have to be fetched anew.
import type { Medium, MediumStatus } from '../media/medium.ts';
import type { PrpTransfer } from './prp-transfer.ts';

/** Commands fetched from one queue at a time: few, so that completions are passed on while the device works. */
export const BURST = 8;

const NOTHING = new Uint8Array(0);

/** One of a burst. What is staged belongs to one call of the controller: nothing that was translated outlives it. */
export class StagedTransfer {
  isWrite = false;
  private medium: Medium | undefined = undefined;
  private position = 0;
  private lengthBytes = 0;
  /** Where the data lies that is one run of memory … */
  private extent: Uint8Array = NOTHING;
  private offset = 0;
  /** … and where it lies otherwise. */
  private isScattered = false;
  private readonly views: Uint8Array[] = [];

  /** Keep what `transfer` has loaded, to be moved from or to byte `position` of the medium. */
  stage(transfer: PrpTransfer, medium: Medium, position: number, isWrite: boolean): void {
    this.medium = medium;
    this.position = position;
    this.lengthBytes = transfer.lengthBytes;
    this.isWrite = isWrite;
    this.isScattered = transfer.isScattered;
    if (this.isScattered) {
      transfer.gather(this.views);
    } else {
      this.extent = transfer.extentBytes;
      this.offset = transfer.extentOffset;
    }
  }

  /** Move the data. */
  move(): MediumStatus {
    const { position, extent, offset, lengthBytes } = this;
    const medium = this.medium as Medium; // staged
    if (this.isScattered) {
      return this.isWrite ? medium.writeVector(position, this.views) : medium.readVector(position, this.views);
    }
    if (this.isWrite) return medium.write(position, extent, offset, lengthBytes);
    return medium.read(position, extent, offset, lengthBytes);
  }

  /** Make the write, which has moved, durable; `done` as in Medium.persist(). */
  persist(done: (status: MediumStatus) => void): void {
    this.medium?.persist(this.position, this.lengthBytes, done);
  }
}
