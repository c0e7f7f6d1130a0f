// What a card without offload engines leaves to software: finishing checksums, cutting large TCP frames.
import { addChecksum, foldChecksum, internetChecksum } from './internet-checksum.ts';
import {
  createPacketHeaders,
  ETHERTYPE,
  IPPROTO,
  type PacketHeaders,
  parseHeaders,
  read16,
  read32,
  write16,
  write32,
} from './packet-headers.ts';

const TCP_MIN_BYTES = 20;
const UDP_BYTES = 8;
/** TCP flags that only the last segment keeps. */
const FIN_PSH = 0x09;
/** TCP flag that only the first segment keeps. */
const CWR = 0x80;

/**
 * Finish the transport checksum of a frame whose field holds only the pseudo-header sum.
 *
 * Works in place on private memory. @returns false if there is no TCP or UDP header to finish: the frame is malformed
 */
export function fillChecksum(frame: Uint8Array, lengthBytes: number): boolean {
  const headers = createPacketHeaders();
  if (!parseHeaders(frame, lengthBytes, headers) || headers.transportAt === 0) return false;
  const field = checksumField(headers);
  if (field === 0) return false;
  const sum = internetChecksum(frame, headers.transportAt, headers.endAt);
  write16(frame, field, sum === 0 && headers.protocol === IPPROTO.udp ? 0xffff : sum);
  return true;
}

/** The folded pseudo-header sum of a TCP or UDP packet of `transportBytes`, which goes into a blank checksum field. */
export function pseudoHeaderSum(frame: Uint8Array, headers: PacketHeaders, transportBytes: number): number {
  const at = headers.networkAt;
  const isV4 = headers.etherType === ETHERTYPE.ipv4;
  const addresses = isV4 ? addChecksum(frame, at + 12, at + 20, 0) : addChecksum(frame, at + 8, at + 40, 0);
  return foldChecksum(addresses + headers.protocol + transportBytes);
}

/**
 * Check the checksums of a frame: IPv4 header, and TCP or UDP if it is not a fragment.
 *
 * @returns false if one is wrong; frames of other kinds have none and pass
 */
export function hasGoodChecksums(frame: Uint8Array, lengthBytes: number): boolean {
  const headers = createPacketHeaders();
  if (!parseHeaders(frame, lengthBytes, headers)) return true;
  if (headers.etherType === ETHERTYPE.ipv4) {
    const at = headers.networkAt;
    if (internetChecksum(frame, at, at + ((frame[at] as number) & 15) * 4) !== 0) return false; // parsed: in range
  }
  const field = headers.transportAt === 0 ? 0 : checksumField(headers);
  if (field === 0) return true;
  if (headers.protocol === IPPROTO.udp && read16(frame, field) === 0) return true; // sent without
  const transportBytes = headers.endAt - headers.transportAt;
  return (
    internetChecksum(frame, headers.transportAt, headers.endAt, pseudoHeaderSum(frame, headers, transportBytes)) === 0
  );
}

/**
 * Cut a large TCP frame into segments of at most `segmentBytes` of payload, each complete with checksums.
 *
 * @param emit receives each segment in one reused buffer; answers false to stop
 * @returns the number of segments, or 0 if the frame is no TCP frame that can be cut
 */
export function segmentTcp(
  frame: Uint8Array,
  lengthBytes: number,
  segmentBytes: number,
  emit: (segment: Uint8Array) => boolean,
): number {
  const headers = createPacketHeaders();
  if (!parseHeaders(frame, lengthBytes, headers) || headers.transportAt === 0) return 0;
  if (headers.protocol !== IPPROTO.tcp || headers.endAt - headers.transportAt < TCP_MIN_BYTES) return 0;
  const tcp = headers.transportAt;
  const tcpBytes = ((frame[tcp + 12] as number) >>> 4) * 4; // in range: at least 20 bytes
  const payloadAt = tcp + tcpBytes;
  if (tcpBytes < TCP_MIN_BYTES || payloadAt > headers.endAt || segmentBytes < 1) return 0;
  const segment = new Uint8Array(payloadAt + segmentBytes);
  const sequence = read32(frame, tcp + 4);
  const flags = frame[tcp + 13] as number;
  let count = 0;
  for (let at = payloadAt; at < headers.endAt || count === 0; at += segmentBytes) {
    const payloadBytes = Math.min(segmentBytes, headers.endAt - at);
    const isLast = at + payloadBytes >= headers.endAt;
    segment.set(frame.subarray(0, payloadAt));
    segment.set(frame.subarray(at, at + payloadBytes), payloadAt);
    write32(segment, tcp + 4, (sequence + at - payloadAt) >>> 0);
    segment[tcp + 13] = flags & (isLast ? 0xff : ~FIN_PSH) & (count === 0 ? 0xff : ~CWR);
    finishSegment(segment, headers, payloadAt + payloadBytes, count);
    count += 1;
    if (!emit(segment.subarray(0, payloadAt + payloadBytes))) break;
  }
  return count;
}

/** Set lengths, IPv4 identification and checksums of segment `index`. */
function finishSegment(segment: Uint8Array, headers: PacketHeaders, endAt: number, index: number): void {
  const at = headers.networkAt;
  if (headers.etherType === ETHERTYPE.ipv4) {
    write16(segment, at + 2, endAt - at);
    write16(segment, at + 4, (read16(segment, at + 4) + index) & 0xffff);
    write16(segment, at + 10, 0);
    write16(segment, at + 10, internetChecksum(segment, at, at + ((segment[at] as number) & 15) * 4)); // parsed
  } else {
    write16(segment, at + 4, endAt - at - 40);
  }
  const tcp = headers.transportAt;
  write16(segment, tcp + 16, 0);
  write16(segment, tcp + 16, internetChecksum(segment, tcp, endAt, pseudoHeaderSum(segment, headers, endAt - tcp)));
}

/** Where the checksum field lies, 0 if the transport has none that we know or is cut short. */
function checksumField(headers: PacketHeaders): number {
  const room = headers.endAt - headers.transportAt;
  if (headers.protocol === IPPROTO.tcp && room >= TCP_MIN_BYTES) return headers.transportAt + 16;
  if (headers.protocol === IPPROTO.udp && room >= UDP_BYTES) return headers.transportAt + 6;
  return 0;
}
