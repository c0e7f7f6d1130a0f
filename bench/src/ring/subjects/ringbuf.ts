// Baseline: one-way messages over ringbuf.js, the ring that most people find first. It only polls.
//
// Used singly: one push and one pop per message. Batched, as the fixed ring is: the prepared messages lie in a row, the
// caller pushes 32 of them at once from there (8 and 2 of the large ones), pops as many and reads them where they are. A push
// takes what there is room for, so a message may be split; the consumer waits for the rest of it. Neither side looks at how
// full the ring is first: push and pop do that anyway.
// Elements are 32-bit words: ringbuf.js copies element by element, so words are its faster form.
import { RingBuffer } from 'ringbuf.js';
import type { OpenSubject } from '../../harness/contract.ts';
import { openPair, type PairDefinition } from '../../harness/pair.ts';
import { checksumOf, inBursts } from '../bursts.ts';
import { type OnewayParams, preparedCount, preparedMessages } from '../params.ts';

// Its declarations name neither the constructor nor the instance consistently; the constructor is meant in both places.
type StorageType = Parameters<typeof RingBuffer.getStorageForCapacity>[1];
type ElementType = ConstructorParameters<typeof RingBuffer>[1];

/** Attach to a ring of 32-bit words. */
export function attachRingbuf(shared: SharedArrayBuffer): RingBuffer {
  return new RingBuffer(shared, Int32Array as unknown as ElementType); // the constructor, see above
}

/** Storage for a ring of `words` 32-bit words. */
export function ringbufStorage(words: number): SharedArrayBuffer {
  return RingBuffer.getStorageForCapacity(words, Int32Array as unknown as StorageType); // the constructor, see above
}

export const pair: PairDefinition<OnewayParams, SharedArrayBuffer> = {
  share: ({ bytes, slots }) => ringbufStorage((bytes >> 2) * slots),

  front: (shared, { bytes, batch, variant }) => {
    const ring = attachRingbuf(shared);
    const words = bytes >> 2;
    const count = preparedCount(bytes);
    const prepared = new Int32Array(preparedMessages(bytes, new ArrayBuffer(count * bytes)).buffer);
    const messages = Array.from({ length: count }, (_, i) => prepared.slice(i * words, (i + 1) * words));
    const message = (i: number) => messages[i & (count - 1)] as Int32Array; // the mask keeps it in range
    const batched = (first: number, messages: number): number => {
      let checksum = 0;
      for (let i = first; i < first + messages; i += batch) {
        const from = (i & (count - 1)) * words;
        const end = from + Math.min(batch, first + messages - i) * words;
        for (let at = from; at < end; ) at += ring.push(prepared, end - at, at);
        for (let at = from; at < end; at += words) checksum = (checksum + checksumOf(prepared, at, words)) | 0;
      }
      return checksum;
    };
    const single = (first: number, count: number): number => {
      let checksum = 0;
      for (let i = first; i < first + count; i++) {
        const next = message(i);
        checksum = (checksum + checksumOf(next, 0, words)) | 0;
        while (ring.availableWrite() < words);
        ring.push(next, words);
      }
      return checksum;
    };
    const run = inBursts(variant === 'batched' ? batched : single);
    return (operations) => ({ checksum: run(operations) });
  },

  back: (shared, { bytes, batch, variant }) => {
    const ring = attachRingbuf(shared);
    const words = bytes >> 2;
    const copy = new Int32Array(words * (variant === 'batched' ? batch : 1));
    const burst = (_first: number, count: number): number => {
      let checksum = 0;
      for (let received = 0; received < count; ) {
        const wanted = Math.min(copy.length, (count - received) * words);
        let popped = 0;
        // Whole messages only: what is there, up to the batch.
        while (popped < words || popped % words !== 0)
          popped += ring.pop(copy, popped === 0 ? wanted : words - (popped % words), popped);
        for (let from = 0; from < popped; from += words) checksum = (checksum + checksumOf(copy, from, words)) | 0;
        received += popped / words;
      }
      return checksum;
    };
    const run = inBursts(burst);
    return (operations) => ({ checksum: run(operations) });
  },
};

/** Open the subject. */
export function open(params: OnewayParams): Promise<OpenSubject> {
  return openPair(import.meta.url, pair, params);
}
