// How a subject's loop is cut: in bursts, as programs send, and not in one loop of a hundred thousand turns.
//
// It matters. A function that is entered once and loops for ever is replaced while it runs (on-stack replacement); such
// code keeps what it found on the stack as untyped values and, by chance of the moment, runs at half the speed.

/** Messages in a burst. */
const BURST = 256;

/**
 * Make the loop that runs `burst(first, count)` over a number of operations and adds up what it returns.
 *
 * A closure for each burst, because the engine then knows what the burst has captured; one loop for all of them it would
 * compile for captured objects of any kind, or not, by chance of the moment (8 B messages: 4.7 or 7.7 ns).
 */
export function inBursts(burst: (first: number, count: number) => number): (operations: number) => number {
  return (operations) => {
    let sum = 0;
    for (let first = 0; first < operations; first += BURST) {
      sum = (sum + burst(first, Math.min(BURST, operations - first))) | 0;
    }
    return sum;
  };
}

/** First word plus last word of a message: what both ends add up. */
export function checksumOf(words: Int32Array, at: number, length: number): number {
  return ((words[at] as number) + (words[at + length - 1] as number)) | 0; // in range by construction
}

/** The same over `messages` messages in a row. */
export function checksumOfMany(words: Int32Array, at: number, length: number, messages: number): number {
  let sum = 0;
  for (let i = 0; i < messages; i++) sum = (sum + checksumOf(words, at + i * length, length)) | 0;
  return sum;
}
