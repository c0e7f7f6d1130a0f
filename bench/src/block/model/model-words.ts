// What the model benchmark and its guests share.

/** Words of the control buffer: number of the trial, its operations, trials done. */
export const MODEL = { start: 0, operations: 1, done: 2, words: 3 } as const;
