// The one's complement sum that IPv4, TCP, UDP and ICMP share. RFC 1071.

/**
 * Add the 16-bit big-endian words of `bytes[from … to)` to `sum`; an odd last byte counts as the high half of a word.
 *
 * @returns an unfolded sum: exact for up to 64 KiB on top of any folded one
 */
export function addChecksum(bytes: Uint8Array, from: number, to: number, sum: number): number {
  let total = sum;
  let i = from;
  for (; i + 1 < to; i += 2) total += ((bytes[i] as number) << 8) | (bytes[i + 1] as number); // in range
  if (i < to) total += (bytes[i] as number) << 8;
  return total;
}

/** Fold carries back into 16 bits. */
export function foldChecksum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}

/** The checksum of `bytes[from … to)` on top of `sum`, ready for its field. */
export function internetChecksum(bytes: Uint8Array, from: number, to: number, sum = 0): number {
  return ~foldChecksum(addChecksum(bytes, from, to, sum)) & 0xffff;
}
