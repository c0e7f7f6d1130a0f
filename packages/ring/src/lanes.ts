// Copies of small fixed sizes, lane by lane: for 8 to 256 bytes several times faster than `Uint8Array.set`.
// hot path: bench cases oneway-8 to oneway-112
//
// Words (i32) are good on every engine. Lanes (BigInt64) are nearly twice as fast on V8, which moves them from element to
// element without making a BigInt; JavaScriptCore allocates one each. Never Float64: it may rewrite NaN payloads.
// The casts: indices are in range by construction, which the compiler cannot know.

/** Copy `words` words, four at a time. */
export function copyWords(from: Int32Array, fromWord: number, to: Int32Array, toWord: number, words: number): void {
  let left = words;
  let f = fromWord;
  let t = toWord;
  for (; left >= 4; left -= 4, f += 4, t += 4) {
    to[t] = from[f] as number;
    to[t + 1] = from[f + 1] as number;
    to[t + 2] = from[f + 2] as number;
    to[t + 3] = from[f + 3] as number;
  }
  for (; left > 0; left -= 1, f += 1, t += 1) to[t] = from[f] as number;
}

/**
 * Copy `lanes` lanes of eight bytes, four at a time.
 *
 * Short, because a channel's send is long: with eight at a time it is more than V8 inlines into a loop that was compiled after
 * it (64 B: a third of the processes at half speed, instead of a tenth).
 */
export function copyLanes(
  from: BigInt64Array,
  fromLane: number,
  to: BigInt64Array,
  toLane: number,
  lanes: number,
): void {
  let f = fromLane;
  let t = toLane;
  for (let left = lanes >> 2; left > 0; left -= 1, f += 4, t += 4) {
    to[t] = from[f] as bigint;
    to[t + 1] = from[f + 1] as bigint;
    to[t + 2] = from[f + 2] as bigint;
    to[t + 3] = from[f + 3] as bigint;
  }
  if ((lanes & 2) !== 0) {
    to[t] = from[f] as bigint;
    to[t + 1] = from[f + 1] as bigint;
    f += 2;
    t += 2;
  }
  if ((lanes & 1) !== 0) to[t] = from[f] as bigint;
}

/**
 * The same, straight-line as far as possible: a tenth faster for slots of 112 B. The end is written out, because a call of
 * `copyLanes` for it is inlined or not, by chance.
 */
export function copySlotLanes(
  from: BigInt64Array,
  fromLane: number,
  to: BigInt64Array,
  toLane: number,
  lanes: number,
): void {
  let f = fromLane;
  let t = toLane;
  for (let left = lanes >> 3; left > 0; left -= 1, f += 8, t += 8) {
    to[t] = from[f] as bigint;
    to[t + 1] = from[f + 1] as bigint;
    to[t + 2] = from[f + 2] as bigint;
    to[t + 3] = from[f + 3] as bigint;
    to[t + 4] = from[f + 4] as bigint;
    to[t + 5] = from[f + 5] as bigint;
    to[t + 6] = from[f + 6] as bigint;
    to[t + 7] = from[f + 7] as bigint;
  }
  if ((lanes & 4) !== 0) {
    to[t] = from[f] as bigint;
    to[t + 1] = from[f + 1] as bigint;
    to[t + 2] = from[f + 2] as bigint;
    to[t + 3] = from[f + 3] as bigint;
    f += 4;
    t += 4;
  }
  if ((lanes & 2) !== 0) {
    to[t] = from[f] as bigint;
    to[t + 1] = from[f + 1] as bigint;
    f += 2;
    t += 2;
  }
  if ((lanes & 1) !== 0) to[t] = from[f] as bigint;
}

/** Lanes that `copyLanesOut` copies straight-line. */
const STRAIGHT_LANES = 16;

/**
 * Copy `lanes` lanes, at least one, to the beginning of `to`.
 *
 * Straight-line as far as slots usually are long, because a constant place costs V8 one comparison and a computed one an
 * addition, a sign extension and the comparison. The `| 0` spares the check for overflow.
 */
export function copyLanesOut(from: BigInt64Array, fromLane: number, to: BigInt64Array, lanes: number): void {
  const f = fromLane;
  if ((lanes & 1) !== 0) to[lanes - 1] = from[(f + lanes - 1) | 0] as bigint; // the odd one; pairs follow
  if (lanes < 2) return;
  to[0] = from[f] as bigint;
  to[1] = from[(f + 1) | 0] as bigint;
  if (lanes < 4) return;
  to[2] = from[(f + 2) | 0] as bigint;
  to[3] = from[(f + 3) | 0] as bigint;
  if (lanes < 6) return;
  to[4] = from[(f + 4) | 0] as bigint;
  to[5] = from[(f + 5) | 0] as bigint;
  if (lanes < 8) return;
  to[6] = from[(f + 6) | 0] as bigint;
  to[7] = from[(f + 7) | 0] as bigint;
  if (lanes < 10) return;
  to[8] = from[(f + 8) | 0] as bigint;
  to[9] = from[(f + 9) | 0] as bigint;
  if (lanes < 12) return;
  to[10] = from[(f + 10) | 0] as bigint;
  to[11] = from[(f + 11) | 0] as bigint;
  if (lanes < 14) return;
  to[12] = from[(f + 12) | 0] as bigint;
  to[13] = from[(f + 13) | 0] as bigint;
  if (lanes < 16) return;
  to[14] = from[(f + 14) | 0] as bigint;
  to[15] = from[(f + 15) | 0] as bigint;
  if (lanes > STRAIGHT_LANES) copyLanes(from, f + STRAIGHT_LANES, to, STRAIGHT_LANES, (lanes & ~1) - STRAIGHT_LANES);
}

let isV8: boolean | undefined;

/** Tell whether eight-byte lanes are the faster choice here: the engine writes stacks as V8 does. Looks once. */
export function prefersLanes(): boolean {
  isV8 ??= /^Error\n {4}at /.test(new Error().stack ?? '');
  return isV8;
}
