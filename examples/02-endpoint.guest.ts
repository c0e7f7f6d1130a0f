// A guest that standard tools can talk to: it answers ARP, ICMP echo (ping) and UDP echo. Read next: 02-vxlan.ts
import {
  createPacketHeaders,
  ETHERTYPE,
  fillChecksum,
  IPPROTO,
  internetChecksum,
  parseHeaders,
  pseudoHeaderSum,
  read16,
  write16,
} from '@splitring/device';
import { defineGuest } from 'splitring/guest';

const ARP_REQUEST = 1;
const ARP_REPLY = 2;
const ECHO_REQUEST = 8;
const UDP_ECHO_PORT = 7;

/** Exchange `length` bytes at two places. */
function swap(frame: Uint8Array, a: number, b: number, length: number): void {
  const first = frame.slice(a, a + length);
  frame.copyWithin(a, b, b + length);
  frame.set(first, b);
}

const isAt = (frame: Uint8Array, at: number, bytes: Uint8Array) => bytes.every((byte, i) => frame[at + i] === byte);

/** Turn a frame for us into its answer, in place. @returns false if there is none */
function answer(frame: Uint8Array, mac: Uint8Array, ip: Uint8Array): boolean {
  if (frame.length >= 42 && read16(frame, 12) === ETHERTYPE.arp) {
    if (read16(frame, 20) !== ARP_REQUEST || !isAt(frame, 38, ip)) return false;
    write16(frame, 20, ARP_REPLY);
    swap(frame, 22, 32, 10); // sender and target change places …
    frame.set(mac, 22); // … and the sender is known now
  } else {
    const headers = createPacketHeaders();
    if (!parseHeaders(frame, frame.length, headers) || headers.etherType !== ETHERTYPE.ipv4) return false;
    const { networkAt, transportAt, endAt } = headers;
    if (transportAt === 0 || endAt - transportAt < 8 || !isAt(frame, networkAt + 16, ip)) return false;
    if (headers.protocol === IPPROTO.icmp && frame[transportAt] === ECHO_REQUEST) {
      frame[transportAt] = 0;
      write16(frame, transportAt + 2, 0);
      write16(frame, transportAt + 2, internetChecksum(frame, transportAt, endAt));
    } else if (headers.protocol === IPPROTO.udp && read16(frame, transportAt + 2) === UDP_ECHO_PORT) {
      swap(frame, transportAt, transportAt + 2, 2);
      // The sender may have left the sum to a card that its frame never met.
      write16(frame, transportAt + 6, pseudoHeaderSum(frame, headers, endAt - transportAt));
      if (!fillChecksum(frame, frame.length)) return false;
    } else return false;
    swap(frame, networkAt + 12, networkAt + 16, 4); // sums do not change when their parts change places
  }
  frame.copyWithin(0, 6, 12);
  frame.set(mac, 6);
  return true;
}

export default defineGuest<{ ip: string }>(async (guest) => {
  const nic = guest.nic(0);
  const ip = Uint8Array.from(guest.args.ip.split('.'), Number);
  let answered = 0;
  nic.onFrame = (received) => {
    const frame = received.toBytes();
    if (answer(frame, nic.macAddress, ip) && nic.send(frame)) answered += 1; // no room: the asker asks again
  };
  guest.print(`answering at ${guest.args.ip}`);
  while (!guest.signal.aborted) await guest.sleep(1000);
  return answered;
});
