// Parses what a front end puts on its transmit ring: first slot, extra infos, fragments. Private copies only.
import {
  ETHERNET_HEADER_BYTES,
  NETTXF_csum_blank,
  NETTXF_data_validated,
  NETTXF_extra_info,
  NETTXF_more_data,
  netifExtraGso,
  netifExtraMcast,
  netifTxRequest,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE,
  XEN_NETIF_GSO_TYPE_NONE,
  XEN_NETIF_GSO_TYPE_TCPV6,
  XEN_NETIF_NR_SLOTS_MIN,
} from '@splitring/hypervisor/io';
import { type BackRing, ProtocolError } from 'sharedarraybuffer-ring';

/** Slots after the first at which a packet costs the whole connection: it cannot be honest any more. */
export const FATAL_SLOTS = 20;
const PAGE_BYTES = 4096;
const CHAIN_SLOTS = FATAL_SLOTS + 2;

/** What `parse` found. */
export const CHAIN = {
  /** A packet to forward. */
  packet: 0,
  /** A request about multicast addresses; it carries no packet. */
  multicast: 1,
  /** A packet that is answered with an error; the connection goes on. */
  refused: 2,
  /** The front end broke the protocol: `error` says how. */
  fatal: 3,
} as const;
/** One of the values of {@link CHAIN}. */
export type ChainResult = (typeof CHAIN)[keyof typeof CHAIN];

/**
 * One packet's slots, copied from the ring and judged. Reused for the next packet.
 *
 * Whatever the outcome, `slots` and `extras` say how many ring slots were taken and must be answered.
 */
export class TxChain {
  /** Data slots taken. */
  slots = 0;
  /** Extra infos taken; their responses follow the first slot's. */
  extras = 0;
  /** Id of each data slot, to be echoed. */
  readonly ids = new Int32Array(CHAIN_SLOTS);
  /** Grant of each data slot. */
  readonly grefs = new Uint32Array(CHAIN_SLOTS);
  /** First byte of each fragment in its page. */
  readonly offsets = new Int32Array(CHAIN_SLOTS);
  /** Bytes of each fragment; zero is possible and means nothing. */
  readonly sizes = new Int32Array(CHAIN_SLOTS);
  /** Bytes of the whole packet. */
  totalBytes = 0;
  /** The sender left the transport checksum to us. */
  isChecksumBlank = false;
  /** The sender vouches for the data. */
  isValidated = false;
  /** XEN_NETIF_GSO_TYPE_*. */
  gsoType: number = XEN_NETIF_GSO_TYPE_NONE;
  /** Segment size (MSS) in bytes, 0 without segmentation. */
  gsoSizeBytes = 0;
  /** Whether the multicast request joins (true) or leaves. */
  isMulticastJoin = false;
  /** Address of a multicast request. */
  multicast: Uint8Array | undefined = undefined;
  /** Why the connection is over. */
  error: ProtocolError | undefined = undefined;
  private readonly ring: BackRing;

  /** Read packets from `ring`. */
  constructor(ring: BackRing) {
    this.ring = ring;
  }

  /**
   * Take one packet whose first slot was read already: these are its fields.
   *
   * Shared words: reads every field of its further slots once [FRONT].
   */
  parse(flags: number, id: number, gref: number, offset: number, size: number): ChainResult {
    this.keepSlot(0, id, gref, offset, size);
    this.totalBytes = size;
    this.isChecksumBlank = (flags & NETTXF_csum_blank) !== 0;
    this.isValidated = (flags & (NETTXF_csum_blank | NETTXF_data_validated)) !== 0;
    this.gsoType = XEN_NETIF_GSO_TYPE_NONE;
    this.gsoSizeBytes = 0;
    this.multicast = undefined;
    this.extras = 0;
    this.slots = 1;
    if ((flags & (NETTXF_more_data | NETTXF_extra_info)) !== 0) return this.parseRest(flags);
    if (offset + size > PAGE_BYTES) return this.refuseCrossing(0);
    return size < ETHERNET_HEADER_BYTES ? CHAIN.refused : CHAIN.packet;
  }

  private keepSlot(index: number, id: number, gref: number, offset: number, size: number): void {
    this.ids[index] = id;
    this.grefs[index] = gref;
    this.offsets[index] = offset;
    this.sizes[index] = size;
  }

  private parseRest(firstFlags: number): ChainResult {
    if ((firstFlags & NETTXF_extra_info) !== 0 && !this.parseExtras()) return CHAIN.fatal;
    if (this.multicast !== undefined) return CHAIN.multicast;
    let isRefused = false;
    let rest = this.totalBytes;
    let flags = firstFlags;
    while ((flags & NETTXF_more_data) !== 0) {
      if (this.slots > FATAL_SLOTS) return this.fatal('slots', this.slots, FATAL_SLOTS);
      const at = this.ring.takeRequestInPlace();
      if (at < 0) return this.fatal('slots', this.slots + 1, this.slots);
      const index = this.slots;
      this.slots += 1;
      const { view } = this.ring;
      const size = netifTxRequest.get.size(view, at);
      const offset = netifTxRequest.get.offset(view, at);
      this.keepSlot(index, netifTxRequest.get.id(view, at), netifTxRequest.get.gref(view, at), offset, size);
      flags = netifTxRequest.get.flags(view, at);
      if (offset + size > PAGE_BYTES) return this.refuseCrossing(index);
      if (size > rest)
        isRefused = true; // old front ends with frames of 64 KiB do this: the frame is lost, no more
      else rest -= size;
    }
    // The first slot's size is the total: its own share is what the others leave.
    this.sizes[0] = isRefused ? 0 : rest;
    if (!isRefused && (this.offsets[0] as number) + rest > PAGE_BYTES) return this.refuseCrossing(0);
    if (this.slots - 1 > XEN_NETIF_NR_SLOTS_MIN) isRefused = true;
    return isRefused || this.totalBytes < ETHERNET_HEADER_BYTES ? CHAIN.refused : CHAIN.packet;
  }

  /** @returns false if the connection is over */
  private parseExtras(): boolean {
    for (;;) {
      if (this.extras + this.slots > FATAL_SLOTS) return this.fail('extras', this.extras, FATAL_SLOTS);
      if (!this.ring.takeRequest()) return this.fail('extras', this.extras + 1, this.extras);
      this.extras += 1;
      const { request } = this.ring;
      const type = netifExtraGso.get.type(request, 0);
      if (type === XEN_NETIF_EXTRA_TYPE.none || type >= XEN_NETIF_EXTRA_TYPE.max) {
        return this.fail('type', type, XEN_NETIF_EXTRA_TYPE.max - 1);
      }
      if (type === XEN_NETIF_EXTRA_TYPE.gso && !this.keepGso()) return false;
      if (type === XEN_NETIF_EXTRA_TYPE.mcastAdd || type === XEN_NETIF_EXTRA_TYPE.mcastDel) {
        this.isMulticastJoin = type === XEN_NETIF_EXTRA_TYPE.mcastAdd;
        this.multicast = netifExtraMcast.get.addr(request, 0);
      }
      if ((netifExtraGso.get.flags(request, 0) & XEN_NETIF_EXTRA_FLAG_MORE) === 0) return true;
    }
  }

  private keepGso(): boolean {
    const { request } = this.ring;
    const size = netifExtraGso.get.size(request, 0);
    const type = netifExtraGso.get.gsoType(request, 0);
    if (size === 0) return this.fail('gso size', size, 1);
    if (type === XEN_NETIF_GSO_TYPE_NONE || type > XEN_NETIF_GSO_TYPE_TCPV6) {
      return this.fail('gso type', type, XEN_NETIF_GSO_TYPE_TCPV6);
    }
    this.gsoSizeBytes = size;
    this.gsoType = type;
    return true;
  }

  private refuseCrossing(index: number): ChainResult {
    const end = (this.offsets[index] as number) + (index === 0 ? this.totalBytes : (this.sizes[index] as number));
    return this.fatal('offset + size', end, PAGE_BYTES);
  }

  private fail(field: string, value: number, limit: number): false {
    this.fatal(field, value, limit);
    return false;
  }

  private fatal(field: string, value: number, limit: number): ChainResult {
    const ring = this.ring.name;
    this.error = new ProtocolError(
      'NET_REQUEST_INVALID',
      `Cannot serve ${ring}: a packet has ${field} ${value}, limit ${limit}`,
      { ring, field, value, limit },
    );
    return CHAIN.fatal;
  }
}
