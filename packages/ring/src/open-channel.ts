// Channels with everything: ends that block or await, in either kind of memory, seen from outside too.
import {
  attachChannel,
  type ChannelEndOptions,
  type ChannelHandle,
  type ChannelOptions,
  type ChannelPlace,
  makeChannel,
  SyncChannel,
} from './channel.ts';
import type { ChannelView } from './channel-end.ts';
import { generationOf, HEAD, laneAt, RECEIVER_STATE, SENDER_STATE, stateOf, TAIL } from './channel-layout.ts';
import { ChannelReceiver } from './channel-receiver.ts';
import { ChannelSender } from './channel-sender.ts';
import { distance } from './ring-layout.ts';
import { SharedMemory, type SharedMemoryHandle } from './shared-memory.ts';

/** State of an end, as seen from outside. */
export interface EndSnapshot {
  readonly state: 'free' | 'open' | 'closed' | 'failed' | 'died' | 'invalid';
  readonly generation: number;
}

/** A channel seen from outside, for meters and debugging: read without disturbing anybody. */
export interface ChannelSnapshot {
  readonly receiver: EndSnapshot;
  readonly senders: readonly (EndSnapshot & { readonly usedBytes: number })[];
}

const STATES = ['free', 'open', 'closed', 'failed', 'died'] as const;

function snapshotOf(word: number): EndSnapshot {
  return { state: STATES[stateOf(word)] ?? 'invalid', generation: generationOf(word) };
}

const ENDS = { Sender: ChannelSender, Receiver: ChannelReceiver };

/**
 * A channel as one thread sees it. Nothing is taken until an end is asked for: the thread that only makes a channel and
 * hands it on holds no end of it.
 *
 * @example
 * const channel = createChannel({ capacityBytes: 1 << 20 });
 * worker.postMessage(channel.handle); // there: for await (const m of openChannel(handle).receiver) …
 * channel.sender.trySend(bytes);
 */
export class Channel extends SyncChannel<ChannelSender, ChannelReceiver> {
  /** Use `createChannel` or `openChannel`. */
  constructor(handle: ChannelHandle, view: ChannelView, options: ChannelEndOptions) {
    super(handle, view, options, ENDS);
  }

  /** Look at the channel. Shared words: reads states and positions; writes nothing. */
  inspect(): ChannelSnapshot {
    const { control, lanes, capacityBytes } = this.view;
    const senders = Array.from({ length: lanes }, (_, lane) => {
      const base = laneAt(lane);
      const head = Atomics.load(control, base + HEAD); // before tail: never more consumed than published
      const usedBytes = Math.min(distance(Atomics.load(control, base + TAIL), head), capacityBytes);
      return { ...snapshotOf(Atomics.load(control, base + SENDER_STATE)), usedBytes };
    });
    return { receiver: snapshotOf(Atomics.load(control, RECEIVER_STATE)), senders };
  }
}

function placeIn(memory: SharedMemory, at: number): ChannelPlace {
  return { handle: memory.handle, buffer: memory.buffer, at, memory };
}

/**
 * Make an empty channel.
 *
 * @throws {RingError} `CHANNEL_CAPACITY`, `CHANNEL_LANES`; `MEMORY_FULL` if it does not fit the given memory.
 */
export function createChannel(options: ChannelOptions, endOptions: ChannelEndOptions = {}): Channel {
  const placeFor = (bytes: number): ChannelPlace => {
    const { memory: given } = options;
    const memory = given instanceof SharedMemory ? given : SharedMemory.allocate(bytes, given);
    return placeIn(memory, memory.reserve(bytes).byteOffset);
  };
  return makeChannel(options, placeFor, (handle, view) => new Channel(handle, view, endOptions));
}

/**
 * Open a channel from the handle that another thread posted. The geometry is checked and remembered; later changes of the
 * shared copy have no effect.
 *
 * @throws {RingError} `CHANNEL_HANDLE` for anything that is not a handle of this version, or does not fit its memory;
 * `RING_NOT_SHARED` if it carries no shared memory.
 */
export function openChannel(handle: ChannelHandle, options: ChannelEndOptions = {}): Channel {
  const open = (memory: SharedMemoryHandle, at: number): ChannelPlace => placeIn(SharedMemory.open(memory), at);
  return attachChannel(handle, open, (checked, view) => new Channel(checked, view, options));
}
