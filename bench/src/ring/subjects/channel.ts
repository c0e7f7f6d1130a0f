// One-way messages over the message channel: variable-length records, publication left to the channel.
//
// `plain`: messages in private memory. `wasm`: channel and messages in one shared WebAssembly.Memory.
import { type ChannelHandle, createChannel, openChannel, SharedMemory, SlotBuffer } from 'sharedarraybuffer-ring';
import type { OpenSubject } from '../../harness/contract.ts';
import { openPair, type PairDefinition } from '../../harness/pair.ts';
import { checksumOf, inBursts } from '../bursts.ts';
import { type OnewayParams, preparedCount, preparedMessages } from '../params.ts';

interface Shared {
  readonly handle: ChannelHandle;
  /** Where the prepared messages lie, and where the consumer copies to, in the channel's memory. */
  readonly outboxAt: number;
  readonly inboxAt: number;
}

function places(memory: SharedMemory, { bytes, variant }: OnewayParams, slots: number, at: number): SlotBuffer {
  if (variant !== 'wasm') return new SlotBuffer(slots, bytes);
  return new SlotBuffer(slots, bytes, { memory, region: new Uint8Array(memory.buffer, at, slots * bytes) });
}

export const pair: PairDefinition<OnewayParams, Shared> = {
  share: ({ bytes, slots, variant }) => {
    const capacityBytes = 2 ** Math.ceil(Math.log2((bytes + 8) * slots));
    const kind = variant === 'wasm' ? 'wasm' : 'plain';
    const memory = SharedMemory.allocate(2 * capacityBytes + (preparedCount(bytes) + 2) * bytes + 65_536, kind);
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
    const { bytes } = params;
    const memory = SharedMemory.open(shared.handle.memory);
    const { receiver } = openChannel(shared.handle);
    const inbox = places(memory, params, 1, shared.inboxAt);
    const words = bytes >> 2;
    const burst = (_first: number, messages: number): number => {
      let checksum = 0;
      for (let i = 0; i < messages; i++) {
        while (receiver.tryReceiveTo(inbox, 0) < 0);
        checksum = (checksum + checksumOf(inbox.words, 0, words)) | 0;
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
