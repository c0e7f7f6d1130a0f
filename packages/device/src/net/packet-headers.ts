// Finds the network and transport headers of an Ethernet frame in private memory. RFC 791, 8200, 9293, 768.

/** EtherTypes that matter here. */
export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd } as const;
/** IP protocol numbers that matter here. */
export const IPPROTO = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;

/** Where the headers of one frame lie; filled by {@link parseHeaders}. */
export interface PacketHeaders {
  /** EtherType behind an optional VLAN tag. */
  etherType: number;
  /** VLAN id, or 0 without a tag. */
  vlanId: number;
  /** First byte of the network header. */
  networkAt: number;
  /** First byte of the transport header; 0 if there is none that is understood. */
  transportAt: number;
  /** IP protocol of the transport header. */
  protocol: number;
  /** First byte behind the IP packet: padding of the frame begins there. */
  endAt: number;
  /** Whether the packet is one of several IP fragments. */
  isFragment: boolean;
}

const ETHERNET_BYTES = 14;
const IPV4_MIN_BYTES = 20;
const IPV6_BYTES = 40;
const MAX_IPV6_EXTENSIONS = 8;

/** A fresh object to parse into. */
export function createPacketHeaders(): PacketHeaders {
  return { etherType: 0, vlanId: 0, networkAt: 0, transportAt: 0, protocol: 0, endAt: 0, isFragment: false };
}

/**
 * Find the headers of the frame in `frame[0 … lengthBytes)`. The memory must be private: it is read more than once.
 *
 * @returns whether it is IPv4 or IPv6 whose lengths make sense; `transportAt` may still be 0
 */
export function parseHeaders(frame: Uint8Array, lengthBytes: number, into: PacketHeaders): boolean {
  into.transportAt = 0;
  into.protocol = 0;
  into.vlanId = 0;
  into.isFragment = false;
  into.networkAt = ETHERNET_BYTES;
  into.endAt = lengthBytes;
  into.etherType = 0;
  if (lengthBytes < ETHERNET_BYTES) return false;
  into.etherType = read16(frame, 12);
  if (into.etherType === ETHERTYPE.vlan) {
    if (lengthBytes < ETHERNET_BYTES + 4) return false;
    into.vlanId = read16(frame, 14) & 0x0fff;
    into.etherType = read16(frame, 16);
    into.networkAt = ETHERNET_BYTES + 4;
  }
  if (into.etherType === ETHERTYPE.ipv4) return parseIpv4(frame, lengthBytes, into);
  return into.etherType === ETHERTYPE.ipv6 && parseIpv6(frame, lengthBytes, into);
}

/** Read a big-endian 16-bit number. */
export function read16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number); // callers stay in range
}

/** Write a big-endian 16-bit number. */
export function write16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** Read a big-endian 32-bit number, unsigned. */
export function read32(bytes: Uint8Array, at: number): number {
  return ((read16(bytes, at) << 16) | read16(bytes, at + 2)) >>> 0;
}

/** Write a big-endian 32-bit number. */
export function write32(bytes: Uint8Array, at: number, value: number): void {
  write16(bytes, at, value >>> 16);
  write16(bytes, at + 2, value & 0xffff);
}

function parseIpv4(frame: Uint8Array, lengthBytes: number, into: PacketHeaders): boolean {
  const at = into.networkAt;
  if (lengthBytes - at < IPV4_MIN_BYTES) return false;
  const first = frame[at] as number; // in range, as below
  const headerBytes = (first & 15) * 4;
  const totalBytes = read16(frame, at + 2);
  if (first >>> 4 !== 4 || headerBytes < IPV4_MIN_BYTES || totalBytes < headerBytes) return false;
  if (totalBytes > lengthBytes - at) return false;
  const fragment = read16(frame, at + 6);
  into.isFragment = (fragment & 0x3fff) !== 0; // offset, or "more fragments"
  into.endAt = at + totalBytes;
  into.protocol = frame[at + 9] as number;
  if (!into.isFragment) into.transportAt = at + headerBytes;
  return true;
}

function parseIpv6(frame: Uint8Array, lengthBytes: number, into: PacketHeaders): boolean {
  const at = into.networkAt;
  if (lengthBytes - at < IPV6_BYTES || (frame[at] as number) >>> 4 !== 6) return false;
  const payloadBytes = read16(frame, at + 4);
  if (payloadBytes > lengthBytes - at - IPV6_BYTES) return false;
  into.endAt = at + IPV6_BYTES + payloadBytes;
  let next = frame[at + 6] as number; // in range, as below
  let position = at + IPV6_BYTES;
  for (let count = 0; count < MAX_IPV6_EXTENSIONS; count += 1) {
    const isOptions = next === 0 || next === 43 || next === 60; // hop-by-hop, routing, destination
    if (next === 44) into.isFragment = true;
    if (!isOptions) break;
    if (into.endAt - position < 8) return true;
    next = frame[position] as number;
    position += ((frame[position + 1] as number) + 1) * 8;
    if (position > into.endAt) return true;
  }
  into.protocol = next;
  if (!into.isFragment) into.transportAt = position;
  return true;
}
