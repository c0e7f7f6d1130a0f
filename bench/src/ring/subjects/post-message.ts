// Baseline: one-way messages over postMessage: cloned, transferred, or put together into batches by the caller.
//
// Node has no backpressure here: the queue holds a whole trial. Clone and transfer make a new buffer for each message,
// because that is what they cost.
import type { OpenSubject } from '../../harness/contract.ts';
import { openPair, type PairDefinition } from '../../harness/pair.ts';
import { type OnewayParams, preparedCount, preparedMessages } from '../params.ts';

const BATCH = 32;

function wordsOf(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
}

export const pair: PairDefinition<OnewayParams, null> = {
  share: () => null,

  front: (_shared, { bytes, variant }, port) => {
    const prepared = preparedMessages(bytes, new ArrayBuffer(preparedCount(bytes) * bytes));
    const mask = preparedCount(bytes) - 1;
    const messages = Array.from({ length: mask + 1 }, (_, i) => prepared.slice(i * bytes, (i + 1) * bytes));
    const sums = messages.map((message) => {
      const words = wordsOf(message);
      return ((words[0] ?? 0) + (words[words.length - 1] ?? 0)) | 0;
    });
    const at = <T>(items: readonly T[], i: number): T => items[i & mask] as T; // the mask keeps it in range
    let finished: (() => void) | undefined;
    port.listen(() => finished?.());
    return async (operations) => {
      const done = new Promise<void>((resolve) => {
        finished = resolve;
      });
      let checksum = 0;
      for (let i = 0; i < operations; i++) checksum = (checksum + at(sums, i)) | 0;
      if (variant === 'batched') {
        for (let i = 0; i < operations; i += BATCH) {
          const count = Math.min(BATCH, operations - i);
          const batch = new Uint8Array(count * bytes);
          for (let k = 0; k < count; k++) batch.set(at(messages, i + k), k * bytes);
          port.post(batch);
        }
      } else if (variant === 'transfer') {
        for (let i = 0; i < operations; i++) {
          const message = at(messages, i).slice();
          port.post(message, [message.buffer]);
        }
      } else {
        for (let i = 0; i < operations; i++) port.post(at(messages, i));
      }
      await done;
      return { checksum };
    };
  },

  back: (_shared, { bytes }, port) => {
    const copy = new Int32Array(bytes >> 2);
    let received = 0;
    let checksum = 0;
    let expected = 0;
    let finished: (() => void) | undefined;
    port.listen((data) => {
      const batch = data as Uint8Array; // what the front posted
      const words = wordsOf(batch);
      for (let from = 0; from < words.length; from += copy.length) {
        // A message that came alone is the receiver's own already; out of a batch it is copied.
        const message = words.length === copy.length ? words : copy;
        if (message === copy) copy.set(words.subarray(from, from + copy.length));
        checksum = (checksum + (message[0] ?? 0) + (message[message.length - 1] ?? 0)) | 0;
        received += 1;
      }
      if (received === expected) {
        port.post('done');
        finished?.();
      }
    });
    return (operations) => {
      received = 0;
      checksum = 0;
      expected = operations;
      return new Promise((resolve) => {
        finished = () => resolve({ checksum });
      });
    };
  },
};

/** Open the subject. */
export function open(params: OnewayParams): Promise<OpenSubject> {
  return openPair(import.meta.url, pair, params);
}
