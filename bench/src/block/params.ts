// Parameters of a block case, the words that bench and guest share, and the positions that every subject visits alike.

/** One load. */
export interface BlockParams extends Readonly<Record<string, string | number | boolean>> {
  /** Bytes of one request. */
  readonly bytes: number;
  /** Requests in flight. */
  readonly depth: number;
  /** `random` or `sequential`. */
  readonly pattern: string;
  /** `read` or `write`. */
  readonly op: string;
}

/** Size of the image: it stays in the page cache. */
export const IMAGE_BYTES = 256 << 20;

/** Words of the control buffer. */
export const CONTROL = { start: 0, done: 1, operations: 2, thread: 3, words: 4 } as const;
/** Doubles of the result buffer. */
export const RESULT = {
  splitNs: 0,
  ownNs: 1,
  busyNs: 2,
  cpuNs: 3,
  requests: 4,
  notifications: 5,
  doubles: 6,
} as const;

/** Positions of a load, drawn from a seed: the same for every subject, and never the same page twice in a row. */
export class Positions {
  private readonly blocks: number;
  private readonly bytes: number;
  private readonly isRandom: boolean;
  private at: number;

  constructor(params: BlockParams, seed: number) {
    this.bytes = params.bytes;
    this.blocks = Math.floor(IMAGE_BYTES / params.bytes);
    this.isRandom = params.pattern === 'random';
    this.at = seed % this.blocks;
  }

  /** Byte offset of the next request. */
  next(): number {
    // A full-period step through a power of two of blocks: every block once, in no order that read-ahead could follow.
    this.at = this.isRandom
      ? (Math.imul(this.at, 1_664_525) + 1_013_904_223) & (this.blocks - 1)
      : (this.at + 1) % this.blocks;
    return this.at * this.bytes;
  }
}
