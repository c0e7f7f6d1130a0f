// hot path: bench net, cases 1500-*, 64-*, gso-*
// One received frame as the program sees it: pieces of granted pages, valid until the handler returns.
import { XEN_NETIF_GSO_TYPE_NONE, XEN_NETIF_NR_SLOTS_MIN } from '@splitring/hypervisor/io';

/** Most fragments a frame may have; one more slot may carry extra info. */
export const MAX_RX_FRAGMENTS = XEN_NETIF_NR_SLOTS_MIN + 1;

/**
 * A frame in the receive buffers, reused for the next one: take what you need before the handler returns. The back end
 * can still write to these pages: look at a byte once, or copy.
 *
 * @example
 * nic.onFrame = (frame) => handle(frame.toBytes());
 */
export class RxFrame {
  /** Length of the whole frame in bytes. */
  lengthBytes = 0;
  /** Pieces that it consists of. */
  fragments = 0;
  /** The transport checksum is not filled in; the data never were on a wire. */
  isChecksumBlank = false;
  /** The checksums need not be verified. */
  isValidated = false;
  /** XEN_NETIF_GSO_TYPE_*: what kind of large frame this is. */
  gsoType: number = XEN_NETIF_GSO_TYPE_NONE;
  /** Segment size (MSS) in bytes of a large frame, otherwise 0. */
  gsoSizeBytes = 0;
  private readonly pool: Uint8Array;
  private readonly view: DataView;
  private readonly starts = new Int32Array(MAX_RX_FRAGMENTS);
  private readonly lengths = new Int32Array(MAX_RX_FRAGMENTS);

  /** `pool` is the memory of all receive pages. */
  constructor(pool: Uint8Array) {
    this.pool = pool;
    this.view = new DataView(pool.buffer, pool.byteOffset, pool.byteLength);
  }

  /** Begin a new frame, with what its first slot says of its checksum. */
  begin(isChecksumBlank: boolean, isValidated: boolean): void {
    this.lengthBytes = 0;
    this.fragments = 0;
    this.isChecksumBlank = isChecksumBlank;
    this.isValidated = isValidated;
    this.gsoType = XEN_NETIF_GSO_TYPE_NONE;
    this.gsoSizeBytes = 0;
  }

  /** Add a piece at byte `start` of the pool; a piece that follows the last one directly prolongs it. */
  append(start: number, lengthBytes: number): void {
    const last = this.fragments - 1;
    this.lengthBytes += lengthBytes;
    if (last >= 0 && (this.starts[last] as number) + (this.lengths[last] as number) === start) {
      this.lengths[last] = (this.lengths[last] as number) + lengthBytes; // in range: last < fragments
      return;
    }
    this.starts[this.fragments] = start;
    this.lengths[this.fragments] = lengthBytes;
    this.fragments += 1;
  }

  /** Read the big-endian 32-bit number at byte `offset` of the first piece. @throws RangeError outside of it */
  uint32At(offset: number): number {
    if (!(offset >= 0 && offset + 4 <= (this.fragments === 0 ? 0 : (this.lengths[0] as number)))) {
      throw new RangeError(`Cannot read 4 bytes at ${offset}: not in the first fragment`);
    }
    return this.view.getUint32((this.starts[0] as number) + offset); // there is a fragment
  }

  /** Piece `index` as a view of the receive buffer, without copying. */
  fragment(index: number): Uint8Array {
    if (!(index >= 0 && index < this.fragments)) throw new RangeError(`Cannot view fragment ${index}: there is none`);
    const start = this.starts[index] as number; // in range
    return this.pool.subarray(start, start + (this.lengths[index] as number));
  }

  /** Copy the frame into `target` at `atByte`. @returns its length @throws RangeError if it does not fit */
  copyTo(target: Uint8Array, atByte = 0): number {
    if (this.lengthBytes > target.length - atByte) {
      throw new RangeError(`Cannot copy a frame of ${this.lengthBytes} bytes: target has ${target.length - atByte}`);
    }
    let at = atByte;
    for (let i = 0; i < this.fragments; i += 1) {
      target.set(this.fragment(i), at);
      at += this.lengths[i] as number; // in range
    }
    return this.lengthBytes;
  }

  /** A private copy of the whole frame. */
  toBytes(): Uint8Array<ArrayBuffer> {
    const copy = new Uint8Array(this.lengthBytes);
    this.copyTo(copy);
    return copy;
  }
}
