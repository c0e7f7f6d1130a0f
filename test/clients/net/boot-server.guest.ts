// A guest from which a PC boots over the network: it answers ARP, DHCP and TFTP with one file. RFC 826, 2131, 1350, 2348.
import {
  createPacketHeaders,
  ETHERTYPE,
  fillChecksum,
  internetChecksum,
  parseHeaders,
  pseudoHeaderSum,
  read16,
  write16,
  write32,
} from '@splitring/device';
import { defineGuest } from 'splitring/guest';

const SERVER = Uint8Array.of(10, 9, 0, 1);
const CLIENT = Uint8Array.of(10, 9, 0, 2);
const BROADCAST = new Uint8Array(6).fill(255);
const DHCP_COOKIE = 0x63825363;
const [PORT_DHCP_SERVER, PORT_DHCP_CLIENT, PORT_TFTP, PORT_DATA] = [67, 68, 69, 3069];
const text = new TextEncoder();

/** What happened, for the test. */
export interface BootReport {
  offers: number;
  acknowledged: number;
  arps: number;
  blocks: number;
  isComplete: boolean;
}

/** A UDP packet in an Ethernet frame, checksums and all. */
function udp(
  from: Uint8Array,
  to: Uint8Array,
  ip: Uint8Array,
  ports: [number, number],
  payload: Uint8Array,
): Uint8Array {
  const frame = new Uint8Array(42 + payload.length);
  frame.set(to, 0);
  frame.set(from, 6);
  write16(frame, 12, ETHERTYPE.ipv4);
  frame[14] = 0x45;
  write16(frame, 16, 28 + payload.length);
  frame[22] = 64;
  frame[23] = 17;
  frame.set(SERVER, 26);
  frame.set(ip, 30);
  write16(frame, 24, internetChecksum(frame, 14, 34));
  write16(frame, 34, ports[0]);
  write16(frame, 36, ports[1]);
  write16(frame, 38, 8 + payload.length);
  frame.set(payload, 42);
  const headers = createPacketHeaders();
  parseHeaders(frame, frame.length, headers);
  write16(frame, 40, pseudoHeaderSum(frame, headers, 8 + payload.length));
  fillChecksum(frame, frame.length);
  return frame;
}

/** The DHCP answer to `request`: OFFER (2) to DISCOVER (1), ACK (5) to REQUEST (3). */
function dhcpAnswer(request: Uint8Array, fileName: string): { payload: Uint8Array; type: number } | undefined {
  let type = 0;
  for (let at = 240; at + 2 < request.length && request[at] !== 255; at += 2 + (request[at + 1] ?? 0)) {
    if (request[at] === 53) type = request[at + 2] ?? 0;
  }
  const answer = type === 1 ? 2 : type === 3 ? 5 : 0;
  if (answer === 0) return undefined;
  const payload = new Uint8Array(400);
  payload.set(request.subarray(0, 44), 0); // transaction, flags and hardware address are echoed
  payload[0] = 2;
  payload.set(CLIENT, 16);
  payload.set(SERVER, 20);
  payload.set(text.encode(fileName), 108);
  write32(payload, 236, DHCP_COOKIE);
  const options = [53, 1, answer, 54, 4, ...SERVER, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0, 66, 8];
  payload.set([...options, ...text.encode('10.9.0.1'), 67, fileName.length, ...text.encode(fileName), 255], 240);
  return { payload, type: answer };
}

export default defineGuest<{ fileBytes: number }>(async (guest) => {
  const nic = guest.nic(0);
  const file = new Uint8Array(guest.args.fileBytes).fill(0x0a);
  file.set(text.encode('#!ipxe\n'), 0);
  const report: BootReport = { offers: 0, acknowledged: 0, arps: 0, blocks: 0, isComplete: false };
  let blockBytes = 512;
  const own = () => nic.macAddress;
  const sendBlock = (to: Uint8Array, port: number, block: number) => {
    const part = file.subarray((block - 1) * blockBytes, block * blockBytes);
    nic.send(udp(own(), to, CLIENT, [PORT_DATA, port], Uint8Array.of(0, 3, block >> 8, block & 255, ...part)));
  };
  const tftp = (from: Uint8Array, port: number, payload: Uint8Array) => {
    const operation = read16(payload, 0);
    if (operation === 1) {
      const words = new TextDecoder().decode(payload.subarray(2)).split('\0');
      const asked = Number(words[words.indexOf('blksize') + 1]);
      blockBytes = words.includes('blksize') && asked >= 8 ? Math.min(asked, 1428) : 512;
      const options = `blksize\0${blockBytes}\0${words.includes('tsize') ? `tsize\0${file.length}\0` : ''}`;
      nic.send(udp(own(), from, CLIENT, [PORT_DATA, port], Uint8Array.of(0, 6, ...text.encode(options))));
    } else if (operation === 4) {
      const acknowledged = read16(payload, 2);
      report.blocks = Math.max(report.blocks, acknowledged);
      if (acknowledged * blockBytes > file.length) report.isComplete = true;
      else sendBlock(from, port, acknowledged + 1);
    }
  };
  nic.onFrame = (received) => {
    const frame = received.toBytes();
    const from = frame.slice(6, 12);
    if (read16(frame, 12) === ETHERTYPE.arp && frame.length >= 42 && frame[21] === 1 && frame[41] === 1) {
      report.arps += 1;
      const reply = frame.slice(0, 42);
      reply.set([...from, ...own()], 0);
      reply[21] = 2;
      reply.set([...own(), ...SERVER, ...from, ...frame.subarray(28, 32)], 22);
      nic.send(reply);
      return;
    }
    if (read16(frame, 12) !== ETHERTYPE.ipv4 || frame[23] !== 17 || frame.length < 46) return;
    const payload = frame.subarray(42, 34 + read16(frame, 38));
    const port = read16(frame, 36);
    if (port === PORT_DHCP_SERVER) {
      const answer = dhcpAnswer(payload, 'boot.ipxe');
      if (answer === undefined) return;
      if (answer.type === 2) report.offers += 1;
      else report.acknowledged += 1;
      const everyone = Uint8Array.of(255, 255, 255, 255);
      nic.send(udp(own(), BROADCAST, everyone, [PORT_DHCP_SERVER, PORT_DHCP_CLIENT], answer.payload));
    } else if (port === PORT_TFTP || port === PORT_DATA) tftp(from, read16(frame, 34), payload);
  };
  guest.print('serving');
  while (!guest.signal.aborted && !report.isComplete) await guest.sleep(50);
  return report;
});
