// VLAN tags in Ethernet frames. IEEE 802.1Q.
import { ETHERTYPE, write16 } from './packet-headers.ts';

/** A copy of `frame` with a tag for `vlan` behind its addresses. */
export function insertTag(frame: Uint8Array, vlan: number): Uint8Array<ArrayBuffer> {
  const tagged = new Uint8Array(frame.length + 4);
  tagged.set(frame.subarray(0, 12));
  write16(tagged, 12, ETHERTYPE.vlan);
  write16(tagged, 14, vlan);
  tagged.set(frame.subarray(12), 16);
  return tagged;
}

/** A copy of `frame`, which has a tag, without it. */
export function removeTag(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  const plain = new Uint8Array(frame.length - 4);
  plain.set(frame.subarray(0, 12));
  plain.set(frame.subarray(16), 12);
  return plain;
}
