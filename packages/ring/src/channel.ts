// Message channels: making one, opening it from a handle, looking at it from outside.
import { settleOrphan } from './channel-death.ts';
import { type ChannelView, claimEnd, registerView } from './channel-end.ts';
import {
  BELL,
  CAPACITY,
  CHANNEL_MAGIC,
  CHANNEL_VERSION,
  channelBytes,
  checkGeometry,
  controlBytes,
  END,
  endWord,
  FLAGS,
  generationOf,
  HEAD,
  LANES,
  LINE_BYTES,
  laneAt,
  MAGIC,
  RECEIVER_STATE,
  RESUMABLE,
  SENDER_STATE,
  stateOf,
  TAIL,
  VERSION,
} from './channel-layout.ts';
import type { EndOptions, SenderOptions } from './channel-options.ts';
import { ChannelReceiver } from './channel-receiver.ts';
import { ChannelSender } from './channel-sender.ts';
import { RingError } from './error.ts';
import { distance } from './ring-layout.ts';
import { SharedMemory, type SharedMemoryHandle, type SharedMemoryKind } from './shared-memory.ts';

/** What to make. */
export interface ChannelOptions {
  /** Bytes of each producer's lane, a power of two from 64 to 2^30; messages may take up to half of it. */
  readonly capacityBytes: number;
  /**
   * How many senders there will be, 1 to 1024 (default 1): so many at a time at most, each with a lane of its own, so that
   * none can hold up another. The channel ends when so many have come and all are gone; see `Channel.seal` for fewer.
   */
  readonly producers?: number | undefined;
  /** A memory to reserve the channel in, or the kind to allocate (default `plain`). */
  readonly memory?: SharedMemory | SharedMemoryKind | undefined;
  /**
   * What becomes of an end that is over: `refuse` (default) never lets it be opened again; `resume` lets a restarted
   * thread go on where the last one stopped: a sender after its last published message, a receiver at its last release
   * (messages that the last one took and had not released come again).
   */
  readonly restart?: 'refuse' | 'resume' | undefined;
}

/** Plain data that carries a channel to another thread. */
export interface ChannelHandle {
  /** Tells this handle from others. */
  readonly kind: 'channel';
  /** Layout version. */
  readonly version: 1;
  /** The memory it lies in. */
  readonly memory: SharedMemoryHandle;
  /** Its first byte there. */
  readonly at: number;
  /** Bytes of each lane. */
  readonly capacityBytes: number;
  /** Number of lanes. */
  readonly producers: number;
}

/** How the ends opened through this object behave. */
export interface ChannelEndOptions extends EndOptions, SenderOptions {}

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

/**
 * A channel as one thread sees it. Nothing is taken until an end is asked for: the thread that only makes a channel and
 * hands it on holds no end of it.
 *
 * @example
 * const channel = createChannel({ capacityBytes: 1 << 20 });
 * worker.postMessage(channel.handle); // there: for await (const m of openChannel(handle).receiver) …
 * channel.sender.trySend(bytes);
 */
export class Channel {
  /** Plain data: post it to any thread and open the channel there. */
  readonly handle: ChannelHandle;
  private readonly view: ChannelView;
  private readonly options: ChannelEndOptions;
  private openedSender: ChannelSender | undefined;
  private openedReceiver: ChannelReceiver | undefined;

  /** Use `createChannel` or `openChannel`. */
  constructor(handle: ChannelHandle, view: ChannelView, options: ChannelEndOptions) {
    this.handle = handle;
    this.view = view;
    this.options = options;
    this.openedSender = undefined;
    this.openedReceiver = undefined;
    registerView(this, view);
  }

  /** The sending end of this thread: opened at first use, then the same object. Throws as `openSender`. */
  get sender(): ChannelSender {
    this.openedSender ??= this.openSender();
    return this.openedSender;
  }

  /** The receiving end: opened at first use, then the same object. Throws as `openReceiver`. */
  get receiver(): ChannelReceiver {
    this.openedReceiver ??= this.openReceiver();
    return this.openedReceiver;
  }

  /**
   * Open a sender with options of its own: one more on this thread, if the channel has a lane left.
   *
   * @throws {RingError} `CHANNEL_END_TAKEN` if all lanes are in use, or over and not to be resumed.
   */
  openSender(options: ChannelEndOptions = {}): ChannelSender {
    const { view } = this;
    // Lanes never used first: the receiver waits for a producer in each. Then, if there can be several, those closed in
    // order, which are free for another.
    for (const mayReuse of [false, true]) {
      for (let lane = 0; lane < view.lanes; lane += 1) {
        const stateAt = laneAt(lane) + SENDER_STATE;
        if (!mayReuse && stateOf(Atomics.load(view.control, stateAt)) !== END.free) continue;
        const word = claimEnd(view.control, stateAt, view.lanes > 1);
        if (word === undefined) continue;
        settleOrphan(view, 'sender');
        return new ChannelSender(view, lane, word, { ...this.options, ...options });
      }
    }
    throw this.taken('sender', laneAt(0) + SENDER_STATE);
  }

  /**
   * Say that no more producers are to be waited for: the channel ends when those that have come are gone. Lanes never used
   * count as closed. Shared words: changes their state words, rings the receiver's bell. Calling it again changes nothing.
   */
  seal(): void {
    const { control, lanes } = this.view;
    for (let lane = 0; lane < lanes; lane += 1) {
      Atomics.compareExchange(control, laneAt(lane) + SENDER_STATE, 0, endWord(END.closed, 0, 0));
    }
    Atomics.add(control, BELL, 1);
    Atomics.notify(control, BELL);
  }

  /** Open the receiver with options of its own. @throws {RingError} `CHANNEL_END_TAKEN`, as `openSender`. */
  openReceiver(options: ChannelEndOptions = {}): ChannelReceiver {
    const word = claimEnd(this.view.control, RECEIVER_STATE, false);
    if (word === undefined) throw this.taken('receiver', RECEIVER_STATE);
    settleOrphan(this.view, 'receiver');
    return new ChannelReceiver(this.view, word, { ...this.options, ...options });
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

  private taken(end: string, stateAt: number): RingError {
    const { state, generation } = snapshotOf(Atomics.load(this.view.control, stateAt));
    const isOver = state !== 'open' && state !== 'free';
    const why = isOver ? `it is over (${state}) and restart is 'refuse'` : 'another owner has it';
    return new RingError('CHANNEL_END_TAKEN', `Cannot open the ${end}: ${why}`, { end, state, generation });
  }
}

function viewChannel(memory: SharedMemory, at: number, capacityBytes: number, lanes: number): ChannelView {
  const control = new Int32Array(memory.buffer, at, controlBytes(lanes) >> 2);
  return { memory, control, recordsAt: at + controlBytes(lanes), capacityBytes, lanes };
}

/**
 * Make an empty channel.
 *
 * @throws {RingError} `CHANNEL_CAPACITY`, `CHANNEL_LANES`; `MEMORY_FULL` if it does not fit the given memory.
 */
export function createChannel(options: ChannelOptions, endOptions: ChannelEndOptions = {}): Channel {
  const { capacityBytes, producers = 1, restart = 'refuse' } = options;
  checkGeometry(capacityBytes, producers);
  const bytes = channelBytes(capacityBytes, producers);
  const memory = options.memory instanceof SharedMemory ? options.memory : SharedMemory.allocate(bytes, options.memory);
  const region = memory.reserve(bytes);
  const view = viewChannel(memory, region.byteOffset, capacityBytes, producers);
  const { control } = view;
  control.fill(0);
  control[VERSION] = CHANNEL_VERSION;
  control[CAPACITY] = capacityBytes;
  control[LANES] = producers;
  control[FLAGS] = restart === 'resume' ? RESUMABLE : 0;
  Atomics.store(control, MAGIC, CHANNEL_MAGIC);
  const handle: ChannelHandle = {
    kind: 'channel',
    version: 1,
    memory: memory.handle,
    at: region.byteOffset,
    capacityBytes,
    producers,
  };
  return new Channel(handle, view, endOptions);
}

/**
 * Open a channel from the handle that another thread posted. The geometry is checked and remembered; later changes of the
 * shared copy have no effect.
 *
 * @throws {RingError} `CHANNEL_HANDLE` for anything that is not a handle of this version, or does not fit its memory;
 * `RING_NOT_SHARED` if it carries no shared memory.
 */
export function openChannel(handle: ChannelHandle, options: ChannelEndOptions = {}): Channel {
  if (handle?.kind !== 'channel' || handle.version !== CHANNEL_VERSION) {
    throw badHandle(`this is no channel handle of version ${CHANNEL_VERSION}`);
  }
  const { at, capacityBytes, producers } = handle;
  checkGeometry(capacityBytes, producers);
  const memory = SharedMemory.open(handle.memory);
  const room = memory.buffer.byteLength - channelBytes(capacityBytes, producers);
  if (!Number.isSafeInteger(at) || at < 0 || at % LINE_BYTES !== 0 || at > room) {
    throw badHandle(`byte ${at} cannot be its start in a memory of ${memory.buffer.byteLength} bytes`);
  }
  const view = viewChannel(memory, at, capacityBytes, producers);
  const { control } = view;
  const isSame =
    Atomics.load(control, MAGIC) === CHANNEL_MAGIC &&
    control[VERSION] === CHANNEL_VERSION &&
    control[CAPACITY] === capacityBytes &&
    control[LANES] === producers;
  if (!isSame) throw badHandle('the memory holds no channel of this geometry there');
  return new Channel(handle, view, options);
}

function badHandle(why: string): RingError {
  return new RingError('CHANNEL_HANDLE', `Cannot open this channel: ${why}`);
}
