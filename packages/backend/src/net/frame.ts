// hot path: bench net
// One frame on its way through the driver domain: where its bytes lie, and the header that was read once.
import { ETHERNET_HEADER_BYTES, XEN_NETIF_GSO_TYPE_NONE } from '@splitring/hypervisor/io';

/**
 * A whole buffer, with the views that copying needs. All pages of a buffer share them: views of their own would be several
 * cache lines for each page, and a ring has hundreds of pages.
 */
export class FrameMemory {
  /** The buffer. */
  readonly buffer: ArrayBufferLike;
  /** All its bytes. */
  readonly bytes: Uint8Array;
  /** The same, for headers at any alignment. */
  readonly view: DataView;
  /** The same in whole words, for short copies. */
  readonly words: Int32Array;
  /** The wasm memory that the buffer belongs to, for native copies; -1 without one. */
  readonly wasm: number;

  /** Make the views of `buffer`. */
  constructor(buffer: ArrayBufferLike, wasm = -1) {
    this.buffer = buffer;
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.words = new Int32Array(buffer, 0, buffer.byteLength >>> 2);
    this.wasm = wasm;
  }
}

/** Bytes of a frame somewhere in memory. */
export interface FramePage {
  /** The memory that it is part of. */
  readonly memory: FrameMemory;
  /** Where in that memory it begins, in bytes. */
  readonly address: number;
  /** Bytes `start … start + length` as a view. */
  slice(start: number, lengthBytes: number): Uint8Array;
}

/** EtherTypes as {@link Frame.rawType} has them. */
export const RAW_IPV4 = 0x0008;
/** IPv6. */
export const RAW_IPV6 = 0xdd86;
/** A VLAN tag follows. */
export const RAW_VLAN = 0x0081;

/** Most fragments in one frame: slots that a packet may have, and the first. */
export const MAX_FRAGMENTS = 21;

/**
 * A frame as a list of fragments, reused for the next. Its Ethernet header was read once, into `word0 … word2` and
 * `rawType`, and is written from there at the destination: the sender may rewrite its page meanwhile, and still reaches
 * nobody else and no other VLAN.
 */
export class Frame {
  /** Whole length in bytes. */
  lengthBytes = 0;
  /** Fragments in use. */
  fragments = 0;
  /** Memory of each fragment. */
  readonly pages: FramePage[] = [];
  /** Start of each fragment in its memory. */
  readonly offsets = new Int32Array(MAX_FRAGMENTS);
  /** Bytes of each fragment. */
  readonly lengths = new Int32Array(MAX_FRAGMENTS);
  /** Bytes 0–3: the destination's first four. */
  word0 = 0;
  /** Bytes 4–7: the destination's last two, the source's first two. */
  word1 = 0;
  /** Bytes 8–11: the source's last four. */
  word2 = 0;
  /** VLAN that the frame belongs to on its bridge; 0 without one. */
  vlan = 0;
  /** Bytes 12–13 as they lie in memory (little-endian read): EtherType or length. */
  rawType = 0;
  /** The transport checksum holds only the pseudo-header sum. */
  isChecksumBlank = false;
  /** Checksums need not be verified. */
  isValidated = false;
  /** XEN_NETIF_GSO_TYPE_*. */
  gsoType: number = XEN_NETIF_GSO_TYPE_NONE;
  /** Segment size (MSS) in bytes, 0 without segmentation. */
  gsoSizeBytes = 0;
  /** One piece of at most a page, to be delivered as it is: known of most frames, false says nothing. */
  isPlain = false;
  private readonly head = new Uint8Array(ETHERNET_HEADER_BYTES);
  private readonly headView = new DataView(this.head.buffer);

  /** Begin a new frame. */
  reset(): void {
    this.isPlain = false;
    this.lengthBytes = 0;
    this.fragments = 0;
    this.isChecksumBlank = false;
    this.isValidated = false;
    this.gsoType = XEN_NETIF_GSO_TYPE_NONE;
    this.gsoSizeBytes = 0;
  }

  /** Begin a new frame of one piece that is to be sent as it is, from an Ethernet header to a page; read its header. */
  setPlain(page: FramePage, offset: number, lengthBytes: number, isValidated: boolean): void {
    const { view } = page.memory;
    const at = page.address + offset;
    this.isPlain = true;
    this.lengthBytes = lengthBytes;
    this.fragments = 1;
    this.pages[0] = page;
    this.offsets[0] = offset;
    this.lengths[0] = lengthBytes;
    this.isChecksumBlank = false;
    this.isValidated = isValidated;
    this.gsoType = XEN_NETIF_GSO_TYPE_NONE;
    this.gsoSizeBytes = 0;
    this.word0 = view.getInt32(at, true);
    this.word1 = view.getInt32(at + 4, true);
    this.word2 = view.getInt32(at + 8, true);
    this.rawType = view.getUint16(at + 12, true);
  }

  /** Add a fragment of at least one byte; at most MAX_FRAGMENTS. */
  append(page: FramePage, offset: number, lengthBytes: number): void {
    const index = this.fragments;
    this.pages[index] = page;
    this.offsets[index] = offset;
    this.lengths[index] = lengthBytes;
    this.fragments = index + 1;
    this.lengthBytes += lengthBytes;
  }

  /** Whether the destination is a group (broadcast or multicast). */
  get isGroup(): boolean {
    return (this.word0 & 1) !== 0; // the first byte on the wire is the lowest
  }

  /** Read the Ethernet header, once, wherever its bytes lie. @returns false if the frame is shorter */
  readHeader(): boolean {
    if (this.lengthBytes < ETHERNET_HEADER_BYTES) return false;
    const first = this.lengths[0] as number; // a frame has a fragment
    let view: DataView;
    let at = 0;
    if (first >= ETHERNET_HEADER_BYTES) {
      const page = this.pages[0] as FramePage;
      view = page.memory.view;
      at = page.address + (this.offsets[0] as number);
    } else {
      this.gatherHead();
      view = this.headView;
    }
    this.word0 = view.getInt32(at, true);
    this.word1 = view.getInt32(at + 4, true);
    this.word2 = view.getInt32(at + 8, true);
    this.rawType = view.getUint16(at + 12, true);
    return true;
  }

  /** Write the Ethernet header to the start of `page` as it was read and judged, whatever the sender's page says by now. */
  writeHeader({ memory, address }: FramePage): void {
    memory.view.setInt32(address, this.word0, true);
    memory.view.setInt32(address + 4, this.word1, true);
    memory.view.setInt32(address + 8, this.word2, true);
    memory.view.setUint16(address + 12, this.rawType, true);
  }

  /** Copy the first bytes of a header that is spread over fragments into private memory (XSA-423). */
  private gatherHead(): void {
    let filled = 0;
    for (let i = 0; i < this.fragments && filled < ETHERNET_HEADER_BYTES; i += 1) {
      const wanted = Math.min(this.lengths[i] as number, ETHERNET_HEADER_BYTES - filled);
      const from = this.offsets[i] as number;
      this.head.set((this.pages[i] as FramePage).slice(from, wanted), filled);
      filled += wanted;
    }
  }
}
