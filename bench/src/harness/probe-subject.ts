// The probe in JavaScript, for machines without a compiler: one word bounced between two spinning threads.
import type { OpenSubject, Params } from './contract.ts';
import { openPair, type PairDefinition } from './pair.ts';
import { median } from './statistics.ts';

const THERE = 0;
const BACK = 32; // a pair of cache lines further

function bounce(words: Int32Array, index: number, seen: number): void {
  while (Atomics.load(words, index) === seen);
}

export const pair: PairDefinition<Params, SharedArrayBuffer> = {
  share: () => new SharedArrayBuffer(256),
  front: (shared) => {
    const words = new Int32Array(shared);
    return (operations) => {
      const times: number[] = [];
      for (let i = 0; i < operations; i++) {
        const from = performance.now();
        const seen = Atomics.load(words, BACK);
        Atomics.add(words, THERE, 1);
        bounce(words, BACK, seen);
        times.push(performance.now() - from);
      }
      return { value: (median(times) ?? 0) * 1e6 };
    };
  },
  back: (shared) => {
    const words = new Int32Array(shared);
    let seen = 0;
    return (operations) => {
      for (let i = 0; i < operations; i++) {
        bounce(words, THERE, seen);
        seen = (seen + 1) | 0;
        Atomics.add(words, BACK, 1);
      }
      return {};
    };
  },
};

/** Open the probe. */
export function open(params: Params): Promise<OpenSubject> {
  return openPair(import.meta.url, pair, params);
}
