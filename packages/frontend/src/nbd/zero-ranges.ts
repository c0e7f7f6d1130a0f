// Which bytes of a disk are known to be zero: those that were from the beginning, or that clients zeroed and nobody wrote since.

/** Bytes from `start` to before `end`. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** A zeroing under way: what of its range nobody has written since it was called. */
export interface Zeroing {
  ranges: readonly Range[];
}

/** Bytes that are all known to be zero, or are not. */
export interface Extent {
  readonly lengthBytes: number;
  readonly isZero: boolean;
}

/** Ranges remembered at most; what does not fit is data, which is never wrong. */
const MAX_RANGES = 4096;

/**
 * What the clients of one export have zeroed and written. A disk orders overlapping requests by their calls, so a write
 * counts from its call on, and a zeroing, from its answer on, for what no later write has touched.
 *
 * @example
 * const zeroing = zeroes.begin(offset, length);
 * await disk.writeZeroes(offset, length);
 * zeroes.commit(zeroing);
 */
export class ZeroRanges {
  /** In order, apart from each other. */
  private ranges: readonly Range[];
  private readonly underWay = new Set<Zeroing>();

  /** `zeroBytes`: how much from the start of the disk is zero now; all of a disk that was just created. */
  constructor(zeroBytes = 0) {
    this.ranges = zeroBytes > 0 ? [{ start: 0, end: zeroBytes }] : [];
  }

  /** Bytes are about to change to something unknown. */
  touch(offset: number, lengthBytes: number): void {
    this.ranges = without(this.ranges, offset, offset + lengthBytes);
    for (const zeroing of this.underWay) zeroing.ranges = without(zeroing.ranges, offset, offset + lengthBytes);
  }

  /** Bytes are about to be zeroed. */
  begin(offset: number, lengthBytes: number): Zeroing {
    const zeroing: Zeroing = { ranges: [{ start: offset, end: offset + lengthBytes }] };
    this.underWay.add(zeroing);
    return zeroing;
  }

  /** A zeroing has failed: nothing is known of its bytes. */
  abandon(zeroing: Zeroing): void {
    this.underWay.delete(zeroing);
    for (const { start, end } of zeroing.ranges) this.ranges = without(this.ranges, start, end);
  }

  /** A zeroing is done. */
  commit(zeroing: Zeroing): void {
    this.underWay.delete(zeroing);
    for (const { start, end } of zeroing.ranges) this.add(start, end);
  }

  /** What is known of a range: at most `most` extents, the first of which begins at `offset`. */
  extents(offset: number, lengthBytes: number, most: number): Extent[] {
    const found: Extent[] = [];
    const end = offset + lengthBytes;
    let at = offset;
    for (const range of this.ranges) {
      if (range.end <= at) continue;
      if (range.start >= end || found.length >= most) break;
      if (range.start > at) found.push({ lengthBytes: range.start - at, isZero: false });
      const from = Math.max(at, range.start);
      at = Math.min(end, range.end);
      found.push({ lengthBytes: at - from, isZero: true });
    }
    if (at < end) found.push({ lengthBytes: end - at, isZero: false });
    return found.slice(0, most);
  }

  private add(start: number, end: number): void {
    // Those that touch it become one with it.
    const near = this.ranges.filter((range) => range.start <= end && start <= range.end);
    const joined = {
      start: Math.min(start, ...near.map((range) => range.start)),
      end: Math.max(end, ...near.map((range) => range.end)),
    };
    const others = this.ranges.filter((range) => !near.includes(range));
    if (others.length >= MAX_RANGES) return;
    const before = others.filter((range) => range.end < joined.start);
    this.ranges = [...before, joined, ...others.slice(before.length)];
  }
}

function without(ranges: readonly Range[], start: number, end: number): readonly Range[] {
  if (start >= end || !ranges.some((range) => range.start < end && start < range.end)) return ranges;
  return ranges.flatMap((range) => {
    if (range.end <= start || end <= range.start) return [range];
    const left = { start: range.start, end: start };
    const right = { start: end, end: range.end };
    return [left, right].filter((part) => part.start < part.end);
  });
}
