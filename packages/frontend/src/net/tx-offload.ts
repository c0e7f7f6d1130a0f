// What a sender may leave to others: finishing a checksum, cutting a large frame. xen/include/public/io/netif.h
import { XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6 } from '@splitring/hypervisor/io';
import { SplitringError } from 'sharedarraybuffer-ring';

/** What the sender of one frame leaves for later to compute. */
export interface TxOffload {
  /** The transport checksum field holds only the pseudo-header sum. */
  readonly isChecksumBlank?: boolean;
  /** Segment size (MSS) of a large TCP frame, 1 to 65535 bytes of payload; implies a blank checksum, needs `gsoType`. */
  readonly gsoSizeBytes?: number;
  /** What that frame is: XEN_NETIF_GSO_TYPE_TCPV4 (1) or XEN_NETIF_GSO_TYPE_TCPV6 (2). */
  readonly gsoType?: number;
}

/** What a back end takes, as its xenstore keys say. */
export interface TxFeatures {
  /** `feature-sg`: frames of more than one slot; the others are of no use without. */
  readonly canScatter: boolean;
  /** `feature-gso-tcpv4`. */
  readonly canGsoV4: boolean;
  /** `feature-gso-tcpv6`. */
  readonly canGsoV6: boolean;
  /** Not `feature-no-csum-offload`. */
  readonly canBlankV4: boolean;
  /** `feature-ipv6-csum-offload`. */
  readonly canBlankV6: boolean;
}

/** The keys that `parseTxFeatures` reads. */
export const TX_FEATURE_KEYS = [
  'feature-sg',
  'feature-gso-tcpv4',
  'feature-gso-tcpv6',
  'feature-no-csum-offload',
  'feature-ipv6-csum-offload',
] as const;

/** What a back end takes. A key that is absent is a feature that it lacks, but for `feature-no-csum-offload`. */
export function parseTxFeatures(back: Readonly<Record<string, string | undefined>>): TxFeatures {
  const canScatter = back['feature-sg'] === '1';
  return {
    canScatter,
    canGsoV4: canScatter && back['feature-gso-tcpv4'] === '1',
    canGsoV6: canScatter && back['feature-gso-tcpv6'] === '1',
    canBlankV4: back['feature-no-csum-offload'] !== '1',
    canBlankV6: back['feature-ipv6-csum-offload'] === '1',
  };
}

const MAX_U16 = 0xffff;
/** Where an untagged frame's EtherType lies, and the one of IPv6, high byte first. */
const ETHER_TYPE = 12;
const IPV6_HIGH = 0x86;
const IPV6_LOW = 0xdd;

/**
 * Check what is left to a back end: it ends the connection over wrong fields, and sends wrong frames without the feature.
 * @throws RangeError for fields that no back end takes; SplitringError NET_NOT_OFFERED for what this one does not offer
 */
export function checkOffload(frame: Uint8Array, offload: TxOffload, features: TxFeatures): void {
  const { gsoSizeBytes, gsoType } = offload;
  if (gsoSizeBytes === undefined) {
    if (offload.isChecksumBlank !== true) return;
    const isIpv6 = frame[ETHER_TYPE] === IPV6_HIGH && frame[ETHER_TYPE + 1] === IPV6_LOW;
    if (!(isIpv6 ? features.canBlankV6 : features.canBlankV4)) refuse(`finish checksums over IPv${isIpv6 ? 6 : 4}`);
    return;
  }
  if (!(Number.isInteger(gsoSizeBytes) && gsoSizeBytes >= 1 && gsoSizeBytes <= MAX_U16)) {
    throw new RangeError(`Cannot cut a frame into segments of ${gsoSizeBytes} bytes: not 1 to ${MAX_U16}`);
  }
  if (gsoType !== XEN_NETIF_GSO_TYPE_TCPV4 && gsoType !== XEN_NETIF_GSO_TYPE_TCPV6) {
    throw new RangeError(`Cannot cut a frame of gsoType ${gsoType}: not 1 (TCP over IPv4) or 2 (TCP over IPv6)`);
  }
  const isV4 = gsoType === XEN_NETIF_GSO_TYPE_TCPV4;
  if (!(isV4 ? features.canGsoV4 : features.canGsoV6)) refuse(`cut TCP frames over IPv${isV4 ? 4 : 6}`);
}

/** A frame that the back end takes in one slot only. @throws SplitringError NET_NOT_OFFERED */
export function refuseLarge(lengthBytes: number): never {
  return refuse(`take frames of more than a page, such as of ${lengthBytes} bytes`);
}

function refuse(what: string): never {
  throw new SplitringError('NET_NOT_OFFERED', `Cannot send the frame as it is: the back end does not ${what}`);
}
