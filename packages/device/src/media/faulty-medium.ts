// A medium as one faulty command sees it: torn, lost, misdirected or corrupt.
import type { Fault } from './fault-plan.ts';
import { MEDIUM_STATUS, type Medium, type MediumStatus } from './medium.ts';

const SECTOR_BYTES = 512;

/** Applies one fault to the data of one command; made per faulty command, never on the ordinary path. */
export class FaultyMedium implements Medium {
  private readonly medium: Medium;
  private readonly fault: Fault;

  /** Let `fault` happen to what is done with `medium`. */
  constructor(medium: Medium, fault: Fault) {
    this.medium = medium;
    this.fault = fault;
  }

  /** As the medium's. */
  get capacityBytes(): number {
    return this.medium.capacityBytes;
  }

  /** As the medium's. */
  get blockBytes(): number {
    return this.medium.blockBytes;
  }

  /** As the medium's. */
  get physicalBlockBytes(): number {
    return this.medium.physicalBlockBytes;
  }

  /** As the medium's. */
  get isReadOnly(): boolean {
    return this.medium.isReadOnly;
  }

  /** As the medium's. */
  get hasVolatileCache(): boolean {
    return this.medium.hasVolatileCache;
  }

  /** Read, from elsewhere or with a wrong bit. */
  read(positionBytes: number, bytes: Uint8Array, offset: number, lengthBytes: number): MediumStatus {
    return this.readVector(positionBytes, [bytes.subarray(offset, offset + lengthBytes)]);
  }

  /** Read, from elsewhere or with a wrong bit. */
  readVector(positionBytes: number, views: readonly Uint8Array[]): MediumStatus {
    const lengthBytes = total(views);
    const status = this.medium.readVector(this.place(positionBytes, lengthBytes), views);
    if (status !== MEDIUM_STATUS.okay || this.fault.rule.kind !== 'corrupt') return status;
    let at = this.fault.draw % lengthBytes;
    for (const view of views) {
      if (at < view.length) {
        view[at] = (view[at] as number) ^ (1 << (this.fault.draw >>> 29)); // at < length
        break;
      }
      at -= view.length;
    }
    return status;
  }

  /** Write part of it, nothing, elsewhere, or with a wrong bit. */
  write(positionBytes: number, bytes: Uint8Array, offset: number, lengthBytes: number): MediumStatus {
    const data = bytes.slice(offset, offset + lengthBytes);
    switch (this.fault.rule.kind) {
      case 'lost':
        return MEDIUM_STATUS.okay;
      case 'torn':
        return this.tear(positionBytes, data);
      case 'corrupt': {
        const at = this.fault.draw % lengthBytes;
        data[at] = (data[at] as number) ^ (1 << (this.fault.draw >>> 29)); // at < length
        break;
      }
      default:
    }
    return this.medium.write(this.place(positionBytes, lengthBytes), data, 0, lengthBytes);
  }

  /** As write(). */
  writeVector(positionBytes: number, views: readonly Uint8Array[]): MediumStatus {
    const data = new Uint8Array(total(views));
    let at = 0;
    for (const view of views) {
      data.set(view, at);
      at += view.length;
    }
    return this.write(positionBytes, data, 0, data.length);
  }

  /** Zero, or pretend to. */
  writeZeroes(positionBytes: number, lengthBytes: number): MediumStatus {
    return this.fault.rule.kind === 'lost' ? MEDIUM_STATUS.okay : this.medium.writeZeroes(positionBytes, lengthBytes);
  }

  /** Flush, or pretend to. */
  flush(done: (status: MediumStatus) => void): void {
    if (this.fault.rule.kind === 'lost') done(MEDIUM_STATUS.okay);
    else this.medium.flush(done);
  }

  /** As flush(): a lost write that was to be durable is not. */
  persist(positionBytes: number, lengthBytes: number, done: (status: MediumStatus) => void): void {
    if (this.fault.rule.kind === 'lost') done(MEDIUM_STATUS.okay);
    else this.medium.persist(positionBytes, lengthBytes, done);
  }

  /** As the medium's. */
  resample(): number {
    return this.medium.resample();
  }

  /** The medium is not ours to close. */
  close(): void {
    // one command's view
  }

  /** Where the access goes: another place of the same length, if misdirected and there is one. */
  private place(positionBytes: number, lengthBytes: number): number {
    if (this.fault.rule.kind !== 'misdirected') return positionBytes;
    const places = Math.floor((this.capacityBytes - lengthBytes) / this.blockBytes);
    if (places < 1) return positionBytes;
    const shift = 1 + (this.fault.draw % places);
    return ((positionBytes / this.blockBytes + shift) % (places + 1)) * this.blockBytes;
  }

  /** Only the first sectors reach the medium; the tear lies inside a logical block if the command has just one. */
  private tear(positionBytes: number, data: Uint8Array): MediumStatus {
    const unit = data.length > this.blockBytes ? this.blockBytes : Math.min(SECTOR_BYTES, this.blockBytes / 2);
    const units = data.length / unit;
    const kept = (this.fault.draw % units) * unit;
    const blocks = Math.ceil(kept / this.blockBytes) * this.blockBytes;
    if (blocks === 0) return MEDIUM_STATUS.okay;
    const old = new Uint8Array(blocks);
    const status = this.medium.read(positionBytes, old, 0, blocks);
    if (status !== MEDIUM_STATUS.okay) return status;
    old.set(data.subarray(0, kept));
    return this.medium.write(positionBytes, old, 0, blocks);
  }
}

function total(views: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const view of views) bytes += view.length;
  return bytes;
}
