// The bytes that demo guests write: every 4 KiB block tells whose it is, where it belongs and in which round it was
// written, and the rest of it follows from that. So a lost, misplaced, torn or foreign block shows.

/** Bytes in one pattern block. */
export const BLOCK_BYTES = 4096;
const MAGIC = 0x53504c52; // "SPLR"
const HEADER_WORDS = 4;

/** What a block says of itself. */
export interface BlockLabel {
  /** The guest's seed, a u32. */
  readonly seed: number;
  /** Block number in the guest's slice. */
  readonly block: number;
  /** Round of writing, from 1. */
  readonly round: number;
}

/** xorshift32: fast, full period, enough to make every block differ. */
function scramble(state: number): number {
  let x = state;
  x ^= x << 13;
  x ^= x >>> 17;
  return x ^ (x << 5);
}

const firstState = ({ seed, block, round }: BlockLabel): number =>
  (Math.imul(seed, 0x9e3779b1) ^ Math.imul(block + 1, 0x85ebca6b) ^ Math.imul(round, 0xc2b2ae35)) | 1;

/** Fill one block (1024 words) with its pattern. */
export function fillBlock(words: Uint32Array, label: BlockLabel): void {
  words[0] = MAGIC;
  words[1] = label.seed;
  words[2] = label.block;
  words[3] = label.round;
  let state = firstState(label);
  for (let at = HEADER_WORDS; at < words.length; at += 1) {
    state = scramble(state);
    words[at] = state;
  }
}

/**
 * Read a block's label and check every word that follows from it.
 * @returns the label, or undefined if the block is not whole
 */
export function readBlock(words: Uint32Array): BlockLabel | undefined {
  const label = { seed: words[1] ?? 0, block: words[2] ?? 0, round: words[3] ?? 0 };
  if (words[0] !== MAGIC) return undefined;
  let state = firstState(label);
  for (let at = HEADER_WORDS; at < words.length; at += 1) {
    state = scramble(state);
    if (words[at] !== state >>> 0) return undefined;
  }
  return label;
}
