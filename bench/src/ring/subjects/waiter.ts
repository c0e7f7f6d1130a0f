// Round trip of one bare word per wait strategy: what waiting costs before any ring is involved.
import type { WaitStrategy } from 'sharedarraybuffer-ring';
import type { OpenSubject } from '../../harness/contract.ts';
import { openPair, type PairDefinition } from '../../harness/pair.ts';
import type { PipelinedParams } from '../params.ts';
import { timeAsyncRoundTrips, timeRoundTrips } from '../round-trips.ts';
import { isAsync, strategyOf } from '../waiting.ts';

const THERE = 0;
const BACK = 32; // a pair of cache lines further

function knock(words: Int32Array, index: number, value: number, strategy: WaitStrategy): void {
  Atomics.store(words, index, value);
  if (strategy.needsArming) strategy.wake(words, index);
}

function awaitChange(words: Int32Array, index: number, seen: number, strategy: WaitStrategy): void {
  while (!strategy.spin(words, index, seen) && Atomics.load(words, index) === seen) {
    strategy.wait(words, index, seen, Number.POSITIVE_INFINITY);
  }
}

async function awaitAsync(words: Int32Array, index: number, seen: number, strategy: WaitStrategy): Promise<void> {
  while (Atomics.load(words, index) === seen) {
    await strategy.waitAsync(words, index, seen, Number.POSITIVE_INFINITY);
  }
}

export const pair: PairDefinition<PipelinedParams, SharedArrayBuffer> = {
  share: () => new SharedArrayBuffer(256),

  front: (shared, { wait }, port) => {
    const words = new Int32Array(shared);
    const strategy = strategyOf(wait, port.doorbell);
    let turn = 0;
    const once = () => {
      const seen = turn;
      turn = (turn + 1) | 0;
      knock(words, THERE, turn, strategy);
      awaitChange(words, BACK, seen, strategy);
    };
    const onceAsync = () => {
      const seen = turn;
      turn = (turn + 1) | 0;
      knock(words, THERE, turn, strategy);
      return awaitAsync(words, BACK, seen, strategy);
    };
    return (operations) =>
      isAsync(wait) ? timeAsyncRoundTrips(operations, onceAsync) : timeRoundTrips(operations, once);
  },

  back: (shared, { wait }, port) => {
    const words = new Int32Array(shared);
    const strategy = strategyOf(wait, port.doorbell);
    let turn = 0;
    if (isAsync(wait)) {
      return async (operations) => {
        for (let i = 0; i < operations; i++) {
          await awaitAsync(words, THERE, turn, strategy);
          turn = (turn + 1) | 0;
          knock(words, BACK, turn, strategy);
        }
        return {};
      };
    }
    return (operations) => {
      for (let i = 0; i < operations; i++) {
        awaitChange(words, THERE, turn, strategy);
        turn = (turn + 1) | 0;
        knock(words, BACK, turn, strategy);
      }
      return {};
    };
  },
};

/** Open the subject. */
export function open(params: PipelinedParams): Promise<OpenSubject> {
  return openPair(import.meta.url, pair, params);
}
