// Wire formats: the public contract that neither end owns. xen/include/public/io

export * from './blkif.ts';
export {
  ETHERNET_HEADER_BYTES,
  NETIF_RSP_DROPPED,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETIF_RX_SLOT_BYTES,
  NETIF_TX_SLOT_BYTES,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETRXF_extra_info,
  NETRXF_more_data,
  NETTXF_csum_blank,
  NETTXF_data_validated,
  NETTXF_extra_info,
  NETTXF_more_data,
  netifExtraGso,
  netifExtraMcast,
  netifRxRequest,
  netifRxResponse,
  netifTxRequest,
  netifTxResponse,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE,
  XEN_NETIF_GSO_TYPE_NONE,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6,
  XEN_NETIF_MAX_TX_SIZE,
  XEN_NETIF_NR_SLOTS_MIN,
} from './netif.ts';
export { vbdName, vbdNumber } from './vbd-name.ts';

export { XenbusState, type XenbusStateValue } from './xenbus-state.ts';
