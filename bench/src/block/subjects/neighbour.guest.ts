// Two roles beside each other: a guest that reads and notes how long each read took, and one that writes and flushes.
import { defineGuest } from 'splitring/guest';
import { type BlockParams, Positions } from '../params.ts';

/** What the bench hands to a guest. */
export interface NeighbourArguments {
  readonly shared: SharedArrayBuffer;
  /** One double: the reader's 99th percentile in nanoseconds. */
  readonly result: SharedArrayBuffer;
  readonly role: 'reader' | 'flusher';
}

/** Words that bench and guests share: number of the trial (−1: end), its reads, the answer, whether to flush. */
export const NEIGHBOUR = { trial: 0, operations: 1, answered: 2, isFlushing: 3, flushes: 4, words: 5 } as const;

const BYTES = 4096;
const PARAMS: BlockParams = { bytes: BYTES, depth: 1, pattern: 'random', op: 'read' };

export default defineGuest<NeighbourArguments, number>(async (guest) => {
  const { shared, result, role } = guest.args;
  const words = new Int32Array(shared);
  const disk = guest.disk('xvda');
  const buffer = disk.allocate(BYTES) ?? new Uint8Array(BYTES);
  const positions = new Positions(PARAMS, role === 'reader' ? 7 : 11);
  if (role === 'flusher') {
    while (Atomics.load(words, NEIGHBOUR.trial) >= 0) {
      if (Atomics.load(words, NEIGHBOUR.isFlushing) === 0) {
        Atomics.wait(words, NEIGHBOUR.isFlushing, 0);
        continue;
      }
      await disk.write(positions.next(), buffer);
      await disk.flush();
      Atomics.add(words, NEIGHBOUR.flushes, 1);
    }
    return words[NEIGHBOUR.flushes] as number; // the buffer has all words
  }
  for (let trial = 0; ; ) {
    Atomics.wait(words, NEIGHBOUR.trial, trial);
    trial = Atomics.load(words, NEIGHBOUR.trial);
    if (trial < 0) return 0;
    const times = new Float64Array(words[NEIGHBOUR.operations] as number); // as above
    for (let i = 0; i < times.length; i += 1) {
      const from = performance.now();
      disk.readSync(positions.next(), buffer);
      times[i] = performance.now() - from;
    }
    times.sort();
    new Float64Array(result)[0] = (times[Math.floor(times.length * 0.99)] ?? 0) * 1e6;
    Atomics.store(words, NEIGHBOUR.answered, trial);
    Atomics.notify(words, NEIGHBOUR.answered);
  }
});
