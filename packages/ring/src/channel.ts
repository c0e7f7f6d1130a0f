// Message channels, whatever their ends can do: making one, opening it from a handle, opening its ends.
import { type ChannelView, claimEnd, ringBell } from './channel-end.ts';
import {
  BELL,
  CHANNEL_MAGIC,
  CHANNEL_VERSION,
  channelBytes,
  checkGeometry,
  controlBytes,
  END_CLOSED,
  END_FREE,
  END_OPEN,
  endWord,
  generationOf,
  LINE_BYTES,
  MAGIC,
  RECEIVER_STATE,
  RESUMABLE,
  senderStateAt,
  stateOf,
  VERSION,
} from './channel-layout.ts';
import type { EndOptions, SenderOptions } from './channel-options.ts';
import { RingError } from './error.ts';
import type { SharedMemory, SharedMemoryHandle, SharedMemoryKind } from './shared-memory.ts';
import type { SyncReceiver } from './sync-receiver.ts';
import type { SyncSender } from './sync-sender.ts';

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

/** The classes of a channel's ends. */
export interface ChannelEnds<S extends SyncSender, R extends SyncReceiver> {
  readonly Sender: new (view: ChannelView, lane: number, word: number, options: ChannelEndOptions) => S;
  readonly Receiver: new (view: ChannelView, word: number, options: ChannelEndOptions) => R;
}

/** Where a channel lies. */
export interface ChannelPlace {
  /** Plain data that carries the memory. */
  readonly handle: SharedMemoryHandle;
  readonly buffer: SharedArrayBuffer;
  /** Its first byte in `buffer`, a multiple of 128. */
  readonly at: number;
  /** The memory, if it can copy inside itself. */
  readonly memory: SharedMemory | undefined;
}

/**
 * A channel as one thread sees it. Nothing is taken until an end is asked for: the thread that only makes a channel and
 * hands it on holds no end of it.
 *
 * @example
 * const channel = createChannel({ capacityBytes: 1 << 20 });
 * worker.postMessage(channel.handle); // there: openChannel(handle).receiver
 * channel.sender.trySend(bytes);
 */
export class SyncChannel<S extends SyncSender = SyncSender, R extends SyncReceiver = SyncReceiver> {
  /** Plain data: post it to any thread and open the channel there. */
  readonly handle: ChannelHandle;
  protected readonly view: ChannelView; // `watch` and `HeartbeatMonitor` are friends and read it too
  private readonly options: ChannelEndOptions;
  private readonly ends: ChannelEnds<S, R>;
  private openedSender: S | undefined;
  private openedReceiver: R | undefined;

  /** Use `createChannel` or `openChannel`. */
  constructor(handle: ChannelHandle, view: ChannelView, options: ChannelEndOptions, ends: ChannelEnds<S, R>) {
    this.handle = handle;
    this.view = view;
    this.options = options;
    this.ends = ends;
    this.openedSender = undefined;
    this.openedReceiver = undefined;
  }

  /** The sending end of this thread: opened at first use, then the same object. Throws as `openSender`. */
  get sender(): S {
    this.openedSender ??= this.openSender();
    return this.openedSender;
  }

  /** The receiving end: opened at first use, then the same object. Throws as `openReceiver`. */
  get receiver(): R {
    this.openedReceiver ??= this.openReceiver();
    return this.openedReceiver;
  }

  /**
   * Open a sender with options of its own: one more on this thread, if the channel has a lane left.
   *
   * @throws {RingError} `CHANNEL_END_TAKEN` if all lanes are in use, or over and not to be resumed.
   */
  openSender(options: ChannelEndOptions = {}): S {
    const { view } = this;
    // Lanes never used first: the receiver waits for a producer in each. Then, if there can be several, those closed in
    // order, which are free for another.
    for (const mayReuse of [false, true]) {
      for (let lane = 0; lane < view.lanes; lane += 1) {
        const stateAt = senderStateAt(lane);
        if (!mayReuse && stateOf(Atomics.load(view.control, stateAt)) !== END_FREE) continue;
        const word = claimEnd(view.control, stateAt, view.lanes > 1);
        if (word === undefined) continue;
        view.whenOpened?.('sender');
        return new this.ends.Sender(view, lane, word, { ...this.options, ...options });
      }
    }
    throw this.taken('sender', senderStateAt(0));
  }

  /**
   * Say that no more producers are to be waited for: the channel ends when those that have come are gone. Lanes never used
   * count as closed. Shared words: changes their state words, rings the receiver's bell. Calling it again changes nothing.
   */
  seal(): void {
    const { control, lanes } = this.view;
    for (let lane = 0; lane < lanes; lane += 1) {
      Atomics.compareExchange(control, senderStateAt(lane), 0, endWord(END_CLOSED, 0, 0));
    }
    ringBell(control, BELL);
  }

  /** Open the receiver with options of its own. @throws {RingError} `CHANNEL_END_TAKEN`, as `openSender`. */
  openReceiver(options: ChannelEndOptions = {}): R {
    const word = claimEnd(this.view.control, RECEIVER_STATE, false);
    if (word === undefined) throw this.taken('receiver', RECEIVER_STATE);
    this.view.whenOpened?.('receiver');
    return new this.ends.Receiver(this.view, word, { ...this.options, ...options });
  }

  private taken(end: string, stateAt: number): RingError {
    const word = Atomics.load(this.view.control, stateAt);
    const why = stateOf(word) > END_OPEN ? "it is over and restart is 'refuse'" : 'another owner has it';
    return new RingError('CHANNEL_END_TAKEN', `Cannot open the ${end}: ${why}`, {
      end,
      generation: generationOf(word),
    });
  }
}

/** The shared memory of a channel, for its friends `watch` and `HeartbeatMonitor`. @throws {TypeError} for a mere handle. */
export function viewOf(channel: SyncChannel): ChannelView {
  const view = channel?.['view'] as ChannelView | undefined; // the caller may be JavaScript
  if (view === undefined) throw new TypeError('Cannot watch this: it is no channel; open its handle first');
  return view;
}

function viewChannel(place: ChannelPlace, capacityBytes: number, lanes: number): ChannelView {
  const { buffer, at, memory } = place;
  const control = new Int32Array(buffer, at, controlBytes(lanes) >> 2);
  return { buffer, memory, control, recordsAt: at + controlBytes(lanes), capacityBytes, lanes, whenOpened: undefined };
}

/** An object for a channel: one of the two classes. */
type Construct<C> = (handle: ChannelHandle, view: ChannelView) => C;

/** Make an empty channel in the place that is found for its bytes. @throws {RingError} as `createChannel`. */
export function makeChannel<C>(
  { capacityBytes, producers = 1, restart }: ChannelOptions,
  placeFor: (bytes: number) => ChannelPlace,
  construct: Construct<C>,
): C {
  checkGeometry(capacityBytes, producers);
  const place = placeFor(channelBytes(capacityBytes, producers));
  const view = viewChannel(place, capacityBytes, producers);
  const { control } = view;
  control.fill(0);
  control.set([CHANNEL_VERSION, capacityBytes, producers, restart === 'resume' ? RESUMABLE : 0], VERSION);
  Atomics.store(control, MAGIC, CHANNEL_MAGIC);
  const { handle: memory, at } = place;
  return construct({ kind: 'channel', version: CHANNEL_VERSION, memory, at, capacityBytes, producers }, view);
}

/** Open a channel from a handle whose memory is opened as told. @throws {RingError} as `openChannel`. */
export function attachChannel<C>(
  handle: ChannelHandle,
  open: (memory: SharedMemoryHandle, at: number) => ChannelPlace,
  construct: Construct<C>,
): C {
  if (handle?.kind !== 'channel' || handle.version !== CHANNEL_VERSION) throw badHandle();
  const { at, capacityBytes, producers } = handle;
  checkGeometry(capacityBytes, producers);
  const place = open(handle.memory, at);
  const room = place.buffer.byteLength - channelBytes(capacityBytes, producers);
  if (!Number.isInteger(at) || at < 0 || at > room || at % LINE_BYTES !== 0) throw badHandle();
  const view = viewChannel(place, capacityBytes, producers);
  const words = [CHANNEL_MAGIC, CHANNEL_VERSION, capacityBytes, producers];
  if (words.some((word, i) => Atomics.load(view.control, MAGIC + i) !== word)) throw badHandle();
  return construct(handle, view);
}

function badHandle(): RingError {
  return new RingError('CHANNEL_HANDLE', 'Cannot open the channel: its handle is not one of this version');
}
