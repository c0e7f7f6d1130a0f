// One-way messages over the message channel: variable-length records, publication left to the channel.
//
// `in-place`: as the package's README recommends where speed counts: messages are looked at where they lie (a word of every
// cache line here, so that all of them comes over), and large ones are prepared in the channel's own WebAssembly memory and
// copied natively. `plain`: copied from private memory and out to it again. `wasm`: copied in and out within one WebAssembly
// memory.
import {
  type ChannelHandle,
  type ChannelReceiver,
  createChannel,
  openChannel,
  SharedMemory,
  SlotBuffer,
} from 'sharedarraybuffer-ring';
import type { OpenSubject } from '../../harness/contract.ts';
import { openPair, type PairDefinition } from '../../harness/pair.ts';
import { checksumOf, inBursts } from '../bursts.ts';
import { type OnewayParams, preparedCount, preparedMessages } from '../params.ts';

/** From this length on a native copy pays. */
const NATIVE_FROM_BYTES = 256;

interface Shared {
  readonly handle: ChannelHandle;
  /** Where the prepared messages lie, and where the consumer copies to, in the channel's memory. */
  readonly outboxAt: number;
  readonly inboxAt: number;
}

/** Whether a subject's messages lie in the channel's own memory, a WebAssembly one. */
function isNative({ bytes, variant }: OnewayParams): boolean {
  return variant === 'wasm' || (variant === 'in-place' && bytes >= NATIVE_FROM_BYTES);
}

function places(memory: SharedMemory, params: OnewayParams, slots: number, at: number): SlotBuffer {
  const { bytes } = params;
  if (!isNative(params)) return new SlotBuffer(slots, bytes);
  return new SlotBuffer(slots, bytes, { memory, region: new Uint8Array(memory.buffer, at, slots * bytes) });
}

export const pair: PairDefinition<OnewayParams, Shared> = {
  share: (params) => {
    const { bytes, slots } = params;
    const capacityBytes = 2 ** Math.ceil(Math.log2((bytes + 8) * slots));
    const memory = SharedMemory.allocate(
      2 * capacityBytes + (preparedCount(bytes) + 2) * bytes + 65_536,
      isNative(params) ? 'wasm' : 'plain',
    );
    const { handle } = createChannel({ capacityBytes, memory });
    const outboxAt = memory.reserve(preparedCount(bytes) * bytes).byteOffset;
    const inboxAt = memory.reserve(bytes).byteOffset;
    return { handle, outboxAt, inboxAt };
  },

  front: (shared, params) => {
    const { bytes } = params;
    const memory = SharedMemory.open(shared.handle.memory);
    const { sender } = openChannel(shared.handle);
    const count = preparedCount(bytes);
    const outbox = places(memory, params, count, shared.outboxAt);
    preparedMessages(bytes, outbox.bytes.buffer, outbox.bytes.byteOffset);
    const words = bytes >> 2;
    const burst = (first: number, messages: number): number => {
      let checksum = 0;
      for (let i = first; i < first + messages; i++) {
        const place = i & (count - 1);
        while (!sender.trySendFrom(outbox, place * bytes, bytes));
        checksum = (checksum + checksumOf(outbox.words, place * words, words)) | 0;
      }
      return checksum;
    };
    const run = inBursts(burst);
    return (operations) => {
      const checksum = run(operations);
      sender.flush();
      return { checksum };
    };
  },

  back: (shared, params) => {
    const { receiver } = openChannel(shared.handle);
    const run = inBursts(params.variant === 'in-place' ? lookAtEach(receiver) : copyEach(receiver, shared, params));
    return (operations) => ({ checksum: run(operations) });
  },
};

/** Receive by copying every message out. */
function copyEach(receiver: ChannelReceiver, shared: Shared, params: OnewayParams) {
  const inbox = places(SharedMemory.open(shared.handle.memory), params, 1, shared.inboxAt);
  const words = params.bytes >> 2;
  return (_first: number, messages: number): number => {
    let checksum = 0;
    for (let i = 0; i < messages; i++) {
      while (receiver.tryReceiveTo(inbox, 0) < 0);
      checksum = (checksum + checksumOf(inbox.words, 0, words)) | 0;
    }
    return checksum;
  };
}

/** Words of a cache line. */
const LINE_WORDS = 16;

/** Receive in place: a word of each cache line, so that the whole message has come over. */
function lookAtEach(receiver: ChannelReceiver) {
  const { buffer, byteOffset, byteLength } = receiver.bytes;
  const words = new Int32Array(buffer, byteOffset, byteLength >> 2);
  const sink = new Int32Array(1); // what is read goes somewhere, so that the compiler keeps the reads
  return (_first: number, messages: number): number => {
    let checksum = 0;
    let touched = 0;
    for (let i = 0; i < messages; i++) {
      while (!receiver.peek());
      const at = receiver.at >> 2;
      const end = at + (receiver.length >> 2);
      for (let word = at; word < end; word += LINE_WORDS) touched ^= words[word] as number; // in range
      checksum = (checksum + checksumOf(words, at, end - at)) | 0;
      receiver.consume();
    }
    sink[0] = touched;
    return checksum;
  };
}

/** Open the subject. */
export function open(params: OnewayParams): Promise<OpenSubject> {
  return openPair(import.meta.url, pair, params);
}
