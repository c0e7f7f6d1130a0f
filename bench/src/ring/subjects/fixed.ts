// One-way messages over the fixed ring: copied in from a prepared message, copied out to the consumer's own place.
//
// `plain`: a SharedArrayBuffer, messages in private memory. `wasm`: everything in one shared WebAssembly.Memory, as with a
// pool of pages. Both hand over a batch at a time, flush after it, and take up to a batch. `plain-single`: a call for each
// message, a flush after each batch. `plain-auto`: a call for each message, and the ring decides when to publish.
import {
  createFixedRing,
  FixedConsumer,
  FixedProducer,
  type FixedRingHandle,
  SharedMemory,
  type SharedMemoryHandle,
  SlotBuffer,
} from 'sharedarraybuffer-ring';
import type { OpenSubject } from '../../harness/contract.ts';
import { openPair, type PairDefinition } from '../../harness/pair.ts';
import { checksumOf, checksumOfMany, inBursts } from '../bursts.ts';
import { type OnewayParams, preparedCount, preparedMessages } from '../params.ts';

interface Shared {
  readonly handle: FixedRingHandle;
  readonly memory: SharedMemoryHandle;
  /** Where the prepared messages lie, and where the consumer copies to, in the same memory. */
  readonly outboxAt: number;
  readonly inboxAt: number;
}

function places(memory: SharedMemory, { bytes, variant }: OnewayParams, slots: number, at: number) {
  if (!variant.startsWith('wasm')) return new SlotBuffer(slots, bytes);
  return new SlotBuffer(slots, bytes, { memory, region: new Uint8Array(memory.buffer, at, slots * bytes) });
}

/** Send one message, waiting for room with the producer's plain look at the consumer. */
function send(producer: FixedProducer, source: SlotBuffer, place: number): void {
  while (!producer.trySend(source, place)) if (producer.broken !== undefined) throw producer.broken;
}

/** The same for messages in a row. */
function sendMany(producer: FixedProducer, source: SlotBuffer, first: number, count: number): void {
  for (let sent = 0; sent < count; ) {
    sent += producer.trySendMany(source, first + sent, count - sent);
    if (producer.broken !== undefined) throw producer.broken;
  }
}

/** Messages that the consumer takes at once. */
function inboxPlaces(params: OnewayParams): number {
  return isSingle(params) ? 1 : params.batch;
}

function isSingle({ variant }: OnewayParams): boolean {
  return variant === 'plain-single' || variant === 'plain-auto';
}

export const pair: PairDefinition<OnewayParams, Shared> = {
  share: (params) => {
    const { bytes, slots, variant } = params;
    const memory = SharedMemory.allocate((slots + 96) * bytes + 4096, variant.startsWith('wasm') ? 'wasm' : 'plain');
    const handle = createFixedRing({ slotBytes: bytes, slots, memory });
    const outboxAt = memory.reserve(preparedCount(bytes) * bytes).byteOffset;
    const inboxAt = memory.reserve(inboxPlaces(params) * bytes).byteOffset;
    return { handle, memory: memory.handle, outboxAt, inboxAt };
  },

  front: (shared, params) => {
    const { bytes, batch, variant } = params;
    const memory = SharedMemory.open(shared.memory);
    const producer = new FixedProducer(shared.handle, { batch, memory });
    const count = preparedCount(bytes);
    const outbox = places(memory, params, count, shared.outboxAt);
    preparedMessages(bytes, outbox.bytes.buffer, outbox.bytes.byteOffset);
    const flushMask = variant.endsWith('auto') ? -1 : batch - 1; // batches are powers of two
    const words = bytes >> 2;
    const most = Math.min(batch, count);
    const many = (first: number, messages: number): number => {
      let checksum = 0;
      for (let i = first; i < first + messages; i += most) {
        const place = i & (count - 1);
        const length = Math.min(most, first + messages - i);
        sendMany(producer, outbox, place, length);
        checksum = (checksum + checksumOfMany(outbox.words, place * words, words, length)) | 0;
        if (((i + length) & flushMask) === 0) producer.flush();
      }
      return checksum;
    };
    const single = (first: number, messages: number): number => {
      let checksum = 0;
      for (let i = first; i < first + messages; i++) {
        const place = i & (count - 1);
        send(producer, outbox, place);
        checksum = (checksum + checksumOf(outbox.words, place * words, words)) | 0;
        if (((i + 1) & flushMask) === 0) producer.flush();
      }
      return checksum;
    };
    const run = inBursts(isSingle(params) ? single : many);
    return (operations) => {
      const checksum = run(operations);
      producer.flush();
      return { checksum };
    };
  },

  back: (shared, params) => {
    const memory = SharedMemory.open(shared.memory);
    const consumer = new FixedConsumer(shared.handle, { batch: params.batch, memory });
    const most = inboxPlaces(params);
    const inbox = places(memory, params, most, shared.inboxAt);
    const words = params.bytes >> 2;
    const many = (_first: number, messages: number): number => {
      let checksum = 0;
      for (let left = messages; left > 0; ) {
        const received = consumer.tryReceiveMany(inbox, 0, Math.min(most, left));
        if (consumer.broken !== undefined) throw consumer.broken;
        checksum = (checksum + checksumOfMany(inbox.words, 0, words, received)) | 0;
        left -= received;
      }
      return checksum;
    };
    const single = (_first: number, messages: number): number => {
      let checksum = 0;
      for (let i = 0; i < messages; i++) {
        while (!consumer.tryReceive(inbox, 0)) if (consumer.broken !== undefined) throw consumer.broken;
        checksum = (checksum + checksumOf(inbox.words, 0, words)) | 0;
      }
      return checksum;
    };
    const run = inBursts(isSingle(params) ? single : many);
    return (operations) => ({ checksum: run(operations) });
  },
};

/** Open the subject. */
export function open(params: OnewayParams): Promise<OpenSubject> {
  return openPair(import.meta.url, pair, params);
}
