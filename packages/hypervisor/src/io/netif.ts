// The network device's messages: transmit and receive slots, extra info, flags and limits. xen/include/public/io/netif.h
//
// TX and RX are named from the front end, on both sides: the back end receives on TX.
import { bytes, i16, i32, struct, u8, u16, u32 } from 'sharedarraybuffer-ring';

/** A fragment to transmit; `size` of a packet's first slot is the total. */
export const netifTxRequest = struct({ gref: u32, offset: u16, flags: u16, id: u16, size: u16 });
/** Answer to one transmit slot. */
export const netifTxResponse = struct({ id: u16, status: i16 });
/** A buffer of one page to receive into. */
export const netifRxRequest = struct({ id: u16, pad: u16, gref: u32 });
/** A received fragment: `status` is its byte count, or negative. It sits in the slot of the request it answers. */
export const netifRxResponse = struct({ id: u16, offset: u16, flags: u16, status: i16 });
// The same slots in whole words, for the path of frames: half the accesses. The field named first is the low half.
/** A fragment to transmit, as `netifTxRequest`. */
export const netifTxRequestWords = struct({ gref: u32, offsetFlags: i32, idSize: i32 });
/** Its answer, as `netifTxResponse`. */
export const netifTxResponseWords = struct({ idStatus: i32 });
/** A buffer to receive into, as `netifRxRequest`. */
export const netifRxRequestWords = struct({ idPad: i32, gref: u32 });
/** A received fragment, as `netifRxResponse`. */
export const netifRxResponseWords = struct({ idOffset: i32, flagsStatus: i32 });
/** Extra info, laid over a slot: segmentation offload. */
export const netifExtraGso = struct({ type: u8, flags: u8, size: u16, gsoType: u8, pad: u8, features: u16 });
/** Extra info, laid over a transmit slot: join or leave a multicast address. */
export const netifExtraMcast = struct({ type: u8, flags: u8, addr: bytes(6) });

/** Bytes of a transmit slot: the larger of request and response. */
export const NETIF_TX_SLOT_BYTES = 12;
/** Bytes of a receive slot. */
export const NETIF_RX_SLOT_BYTES = 8;

/** The transport checksum holds only the pseudo-header sum; the rest is to be computed by whoever needs it. */
export const NETTXF_csum_blank = 1;
/** The data need no verification: they never were on a wire. */
export const NETTXF_data_validated = 2;
/** Another fragment follows. */
export const NETTXF_more_data = 4;
/** Extra info follows the first slot. */
export const NETTXF_extra_info = 8;

/** The data need no verification. Note the swap: this is bit 0 here and bit 1 in a transmit slot. */
export const NETRXF_data_validated = 1;
/** The transport checksum holds only the pseudo-header sum. */
export const NETRXF_csum_blank = 2;
/** Another fragment follows. */
export const NETRXF_more_data = 4;
/** Extra info follows the first slot. */
export const NETRXF_extra_info = 8;

/** Extra info types. */
export const XEN_NETIF_EXTRA_TYPE = { none: 0, gso: 1, mcastAdd: 2, mcastDel: 3, hash: 4, xdp: 5, max: 6 } as const;
/** Another extra info follows this one. */
export const XEN_NETIF_EXTRA_FLAG_MORE = 1;
/** No segmentation offload. */
export const XEN_NETIF_GSO_TYPE_NONE = 0;
/** TCP over IPv4. */
export const XEN_NETIF_GSO_TYPE_TCPV4 = 1;
/** TCP over IPv6. */
export const XEN_NETIF_GSO_TYPE_TCPV6 = 2;

/** The packet was dropped for want of resources or by policy. */
export const NETIF_RSP_DROPPED = -2;
/** The packet was malformed or its pages could not be reached. */
export const NETIF_RSP_ERROR = -1;
/** The packet was taken. */
export const NETIF_RSP_OKAY = 0;
/** The slot carried no packet of its own (an extra info). */
export const NETIF_RSP_NULL = 1;

/** Slots that every back end must accept in one packet. */
export const XEN_NETIF_NR_SLOTS_MIN = 18;
/** Largest packet, in bytes: what a 16-bit total can say. */
export const XEN_NETIF_MAX_TX_SIZE = 65535;
/** Smallest packet, in bytes: an Ethernet header. */
export const ETHERNET_HEADER_BYTES = 14;
