// What the test of weights and its guests share: words of a buffer, and the size of a read.

/** `phase`: 0 begin, 1 count, 2 stop. Reads are large, so that the disk is what there is too little of. */
export const WEIGHTED = { phase: 0, ready: 1, words: 2, readBytes: 128 << 10 } as const;
