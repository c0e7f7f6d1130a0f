// What a sender may leave to others: finishing a checksum, cutting a large frame. xen/include/public/io/netif.h
import { XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6 } from '@splitring/hypervisor/io';

/** What the sender of one frame leaves for later to compute. */
export interface TxOffload {
  /** The transport checksum field holds only the pseudo-header sum. */
  readonly isChecksumBlank?: boolean;
  /** Segment size (MSS) of a large TCP frame, 1 to 65535 bytes of payload; implies a blank checksum, needs `gsoType`. */
  readonly gsoSizeBytes?: number;
  /** What that frame is: XEN_NETIF_GSO_TYPE_TCPV4 (1) or XEN_NETIF_GSO_TYPE_TCPV6 (2). */
  readonly gsoType?: number;
}

const MAX_U16 = 0xffff;

/** Check a large frame's fields: a back end ends the connection over wrong ones. @throws RangeError */
export function checkOffload({ gsoSizeBytes, gsoType }: TxOffload): void {
  if (gsoSizeBytes === undefined) return;
  if (!(Number.isInteger(gsoSizeBytes) && gsoSizeBytes >= 1 && gsoSizeBytes <= MAX_U16)) {
    throw new RangeError(`Cannot cut a frame into segments of ${gsoSizeBytes} bytes: not 1 to ${MAX_U16}`);
  }
  if (gsoType !== XEN_NETIF_GSO_TYPE_TCPV4 && gsoType !== XEN_NETIF_GSO_TYPE_TCPV6) {
    throw new RangeError(`Cannot cut a frame of gsoType ${gsoType}: not 1 (TCP over IPv4) or 2 (TCP over IPv6)`);
  }
}
