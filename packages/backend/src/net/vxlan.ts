// VXLAN headers: Ethernet frames in UDP datagrams, told apart by network. RFC 7348.

/** Bytes before the frame. */
export const VXLAN_HEADER_BYTES = 8;
/** The port that IANA assigned. */
export const VXLAN_PORT = 4789;
/** Flag: the network identifier is valid. */
const FLAG_VNI = 0x08;
const MAX_VNI = 0xff_ffff;

/** Put a header for network `vni` before `frame`. @throws RangeError for a network that 24 bits cannot hold */
export function encapsulate(vni: number, frame: Uint8Array): Uint8Array<ArrayBuffer> {
  if (!Number.isInteger(vni) || vni < 0 || vni > MAX_VNI) throw new RangeError(`Cannot use VXLAN network ${vni}`);
  const datagram = new Uint8Array(VXLAN_HEADER_BYTES + frame.length);
  datagram[0] = FLAG_VNI;
  datagram[4] = vni >>> 16;
  datagram[5] = vni >>> 8;
  datagram[6] = vni;
  datagram.set(frame, VXLAN_HEADER_BYTES);
  return datagram;
}

/** Take the frame of network `vni` out of a datagram. @returns undefined if it is of another network, or none */
export function decapsulate(vni: number, datagram: Uint8Array): Uint8Array | undefined {
  if (datagram.length <= VXLAN_HEADER_BYTES || ((datagram[0] as number) & FLAG_VNI) === 0) return undefined;
  // In range: the length was checked.
  const found = ((datagram[4] as number) << 16) | ((datagram[5] as number) << 8) | (datagram[6] as number);
  return found === vni ? datagram.subarray(VXLAN_HEADER_BYTES) : undefined;
}
