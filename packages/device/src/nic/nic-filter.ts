// Which frames a card takes, and on which queue: address and VLAN filters, receive-side scaling.
import {
  createPacketHeaders,
  ETHERTYPE,
  IPPROTO,
  type PacketHeaders,
  parseHeaders,
  read16,
} from '../net/packet-headers.ts';
import { MRQC_FIELDS, MRQC_RSS, NIC_ADDRESSES, NIC_RCTL, RAH_VALID } from './nic-registers.ts';

/** The filter registers of one function. */
export class NicFilter {
  /** Exact addresses: RAL and RAH in turn. */
  readonly addresses = new Uint32Array(2 * NIC_ADDRESSES);
  /** Multicast hash table. */
  readonly multicast = new Uint32Array(128);
  /** VLAN filter table: one bit per VLAN. */
  readonly vlans = new Uint32Array(128);
  /** Queue by hash, four to a word. */
  readonly redirection = new Uint32Array(32);
  /** Toeplitz key. */
  readonly key = new Uint32Array(10);
  /** MRQC. */
  queueControl = 0;
  readonly #input = new Uint8Array(36);

  /** Whether a frame passes under `rctl`. */
  accepts(frame: Uint8Array, rctl: number): boolean {
    if (!this.#acceptsAddress(frame, rctl)) return false;
    if ((rctl & NIC_RCTL.vlanFilter) === 0 || frame.length < 18 || read16(frame, 12) !== ETHERTYPE.vlan) return true;
    const vlan = read16(frame, 14) & 0x0fff;
    return ((this.vlans[vlan >>> 5] as number) & (1 << (vlan & 31))) !== 0; // 12 bits index 128 words
  }

  /** The queue of a frame. */
  queue(frame: Uint8Array): number {
    if ((this.queueControl & 7) !== MRQC_RSS) return 0;
    const headers = createPacketHeaders();
    if (!parseHeaders(frame, frame.length, headers)) return 0;
    const lengthBytes = this.#hashInput(frame, headers);
    if (lengthBytes === 0) return 0;
    const hash = toeplitz(this.key, this.#input.subarray(0, lengthBytes)) & 127;
    return ((this.redirection[hash >>> 2] as number) >>> ((hash & 3) * 8)) & 7;
  }

  /** Gather what MRQC lets into the hash: addresses, and ports of the protocols that it names. @returns bytes, 0: none */
  #hashInput(frame: Uint8Array, headers: PacketHeaders): number {
    const isV4 = headers.etherType === ETHERTYPE.ipv4;
    const { tcpIpv4, ipv4, ipv6, tcpIpv6, udpIpv4, udpIpv6 } = MRQC_FIELDS;
    const { queueControl } = this;
    let withPorts = 0;
    if (headers.transportAt !== 0 && !headers.isFragment) {
      if (headers.protocol === IPPROTO.tcp) withPorts = isV4 ? tcpIpv4 : tcpIpv6;
      else if (headers.protocol === IPPROTO.udp) withPorts = isV4 ? udpIpv4 : udpIpv6;
    }
    const hasPorts = (queueControl & withPorts) !== 0;
    if (!hasPorts && (queueControl & (isV4 ? ipv4 : ipv6)) === 0) return 0;
    const from = headers.networkAt + (isV4 ? 12 : 8);
    const addressBytes = isV4 ? 8 : 32;
    this.#input.set(frame.subarray(from, from + addressBytes));
    if (!hasPorts) return addressBytes;
    this.#input.set(frame.subarray(headers.transportAt, headers.transportAt + 4), addressBytes);
    return addressBytes + 4;
  }

  /** Everything to its default; `mac` is what the card's memory holds. */
  reset(mac: Uint8Array): void {
    for (const table of [this.addresses, this.multicast, this.vlans, this.redirection, this.key]) table.fill(0);
    this.queueControl = 0;
    const view = new DataView(mac.buffer, mac.byteOffset, 6);
    this.addresses[0] = view.getUint32(0, true);
    this.addresses[1] = view.getUint16(4, true) | RAH_VALID;
  }

  #acceptsAddress(frame: Uint8Array, rctl: number): boolean {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const low = view.getUint32(0, true);
    const high = view.getUint16(4, true);
    if (low === 0xffff_ffff && high === 0xffff) return (rctl & NIC_RCTL.acceptBroadcast) !== 0;
    for (let i = 0; i < NIC_ADDRESSES; i += 1) {
      const stored = this.addresses[2 * i + 1] as number; // in range
      if (stored >= RAH_VALID && (stored & 0xffff) === high && this.addresses[2 * i] === low) return true;
    }
    if ((low & 1) === 0) return (rctl & NIC_RCTL.unicastPromiscuous) !== 0;
    if ((rctl & NIC_RCTL.multicastPromiscuous) !== 0) return true;
    // MO 0: bits 47 … 36 of the address choose the bit.
    const hash = (high >>> 4) & 0x0fff;
    return ((this.multicast[hash >>> 5] as number) & (1 << (hash & 31))) !== 0;
  }
}

/** The Toeplitz hash of `input`: for each set bit, most significant first, the key's 32-bit window at that bit. */
export function toeplitz(key: Uint32Array, input: Uint8Array): number {
  const keyBytes = new Uint8Array(key.buffer, key.byteOffset, key.byteLength);
  const bit = (index: number) => ((keyBytes[index >>> 3] ?? 0) >>> (7 - (index & 7))) & 1;
  let window = 0;
  for (let i = 0; i < 32; i += 1) window = (window << 1) | bit(i);
  let hash = 0;
  for (let i = 0; i < input.length * 8; i += 1) {
    if ((((input[i >>> 3] as number) >>> (7 - (i & 7))) & 1) !== 0) hash ^= window;
    window = (window << 1) | bit(i + 32);
  }
  return hash >>> 0;
}
