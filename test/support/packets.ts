// IPv4 and IPv6 packets with TCP or UDP inside, for tests of offload and of the example endpoint.
import {
  createPacketHeaders,
  internetChecksum,
  parseHeaders,
  pseudoHeaderSum,
  write16,
  write32,
} from '@splitring/device';

/** What a test packet is made of. */
export interface PacketSpec {
  readonly to: Uint8Array;
  readonly from: Uint8Array;
  readonly version?: 4 | 6;
  readonly protocol: 'tcp' | 'udp';
  readonly payload: Uint8Array;
  readonly sequence?: number;
  readonly flags?: number;
  /** `blank`: the field holds only the pseudo-header sum. */
  readonly checksum: 'full' | 'blank';
  readonly vlan?: number;
}

/** Build a frame. */
export function packet(spec: PacketSpec): Uint8Array {
  const isV6 = spec.version === 6;
  const l2 = spec.vlan === undefined ? 14 : 18;
  const l3 = isV6 ? 40 : 20;
  const l4 = spec.protocol === 'tcp' ? 20 : 8;
  const frame = new Uint8Array(l2 + l3 + l4 + spec.payload.length);
  frame.set(spec.to, 0);
  frame.set(spec.from, 6);
  if (spec.vlan !== undefined) {
    write16(frame, 12, 0x8100);
    write16(frame, 14, spec.vlan);
  }
  write16(frame, l2 - 2, isV6 ? 0x86dd : 0x0800);
  const length = l4 + spec.payload.length;
  const protocol = spec.protocol === 'tcp' ? 6 : 17;
  if (isV6) {
    frame[l2] = 0x60;
    write16(frame, l2 + 4, length);
    frame[l2 + 6] = protocol;
    frame[l2 + 7] = 64;
    frame.set([0xfd, 0, 0, 1], l2 + 8);
    frame.set([0xfd, 0, 0, 2], l2 + 24);
  } else {
    frame[l2] = 0x45;
    write16(frame, l2 + 2, l3 + length);
    write16(frame, l2 + 4, 0x1234);
    frame[l2 + 8] = 64;
    frame[l2 + 9] = protocol;
    frame.set([10, 0, 0, 1], l2 + 12);
    frame.set([10, 0, 0, 2], l2 + 16);
    write16(frame, l2 + 10, internetChecksum(frame, l2, l2 + l3));
  }
  const at = l2 + l3;
  write16(frame, at, 4000);
  write16(frame, at + 2, 80);
  if (spec.protocol === 'tcp') {
    write32(frame, at + 4, spec.sequence ?? 1000);
    frame[at + 12] = 0x50;
    frame[at + 13] = spec.flags ?? 0x18;
  } else {
    write16(frame, at + 4, length);
  }
  frame.set(spec.payload, at + l4);
  const headers = createPacketHeaders();
  parseHeaders(frame, frame.length, headers);
  const pseudo = pseudoHeaderSum(frame, headers, length);
  const field = spec.protocol === 'tcp' ? at + 16 : at + 6;
  if (spec.checksum === 'blank') write16(frame, field, pseudo);
  else write16(frame, field, internetChecksum(frame, at, frame.length, pseudo));
  return frame;
}
