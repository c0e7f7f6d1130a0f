// The sending end of a channel: one lane, written by nobody else.
// hot path: bench suite ring, subject channel
import { checkRange, LaneBytes, type MessageBuffer } from './channel-copy.ts';
import { addBurst, ChannelEnd, type ChannelView, endingError, endingOf, removeBurst } from './channel-end.ts';
import {
  BELL,
  DATA_EVENT,
  END,
  HEAD,
  isOpenHere,
  laneAt,
  PADDING,
  RECEIVER_REASON,
  RECEIVER_STATE,
  RECORD_HEADER_BYTES,
  ROOM_BELL,
  ROOM_EVENT,
  recordBytes,
  SENDER_BEAT,
  SENDER_REASON,
  SENDER_STATE,
  stateOf,
  TAIL,
} from './channel-layout.ts';
import type {
  Ending,
  EndOptions,
  PublishPolicy,
  SenderOptions,
  SendOptions,
  TimeoutOption,
} from './channel-options.ts';
import { type QueuedSender, SendQueue } from './channel-send-queue.ts';
import { ProtocolError, RingError } from './error.ts';
import { distance } from './ring-layout.ts';

const GROWN_WINDOW_BYTES = 256;
const LARGEST_WINDOW_BYTES = 4096;
const NEVER = 0x7fffffff;
const EMPTY_READY: Promise<void> = Promise.resolve();

/**
 * The sending end of a channel.
 *
 * Messages become visible in batches: see `PublishPolicy`. A synchronous sender that goes quiet without returning to the
 * event loop or waiting calls `flush`.
 *
 * @example
 * if (!sender.trySend(bytes)) await sender.send(bytes); // full: wait for room
 */
export class ChannelSender extends ChannelEnd {
  /** Longest message in bytes: half the capacity, less the header, so that it fits whatever came before. */
  readonly maxMessageBytes: number;
  /** The lane's memory: `claim` returns byte offsets in it. */
  readonly bytes: Uint8Array;
  /** The same memory for typed fields. */
  readonly data: DataView;
  private readonly lane: LaneBytes;
  private readonly laneWords: Int32Array;
  private readonly capacity: number;
  private readonly mask: number;
  private readonly stateAt: number;
  private readonly tailAt: number;
  private readonly headAt: number;
  private readonly eventAt: number;
  private readonly roomEventAt: number;
  private readonly policy: PublishPolicy;
  private stage: number;
  private tail: number;
  private headSeen: number;
  private receiverSeen: number;
  private window: number;
  private claimed: number;
  private claimedLength: number;
  private wanted: number;
  private isBursting: boolean;
  private isHeld: boolean;
  private isDraining: boolean;
  private broken: ProtocolError | undefined;
  private readonly queue: SendQueue;
  private readonly endBurst: () => void;

  /** Use `Channel.sender` or `Channel.openSender`, which claim the lane first. */
  constructor(view: ChannelView, lane: number, word: number, options: EndOptions & SenderOptions) {
    const base = laneAt(lane);
    const words = { state: base + SENDER_STATE, beat: base + SENDER_BEAT, reason: base + SENDER_REASON };
    super(view, { ...words, bell: base + ROOM_BELL }, word, options);
    const { capacityBytes, memory, control } = view;
    const at = view.recordsAt + lane * capacityBytes;
    this.lane = new LaneBytes(memory, at, capacityBytes);
    this.laneWords = this.lane.words;
    this.bytes = this.lane.bytes;
    this.data = new DataView(memory.buffer, at, capacityBytes);
    this.maxMessageBytes = (capacityBytes >> 1) - RECORD_HEADER_BYTES;
    this.capacity = capacityBytes;
    this.mask = capacityBytes - 1;
    this.stateAt = base + SENDER_STATE;
    this.tailAt = base + TAIL;
    this.headAt = base + HEAD;
    this.eventAt = base + DATA_EVENT;
    this.roomEventAt = base + ROOM_EVENT;
    this.policy = options.publish ?? 'auto';
    // A lane that was used before goes on where its committed messages end; what was only staged is gone with its sender.
    this.tail = Atomics.load(control, this.tailAt);
    this.stage = this.tail;
    this.headSeen = Atomics.load(control, this.headAt);
    this.receiverSeen = -1; // no state word: the first send looks whether there is anybody to send to
    this.window = this.policy === 'manual' ? NEVER : 1;
    this.claimed = -1;
    this.claimedLength = 0;
    this.wanted = 0;
    this.isBursting = false;
    this.isHeld = false;
    this.isDraining = false;
    this.broken = undefined;
    this.queue = new SendQueue(this.queueDoor());
    this.endBurst = () => this.flush();
    if (distance(this.tail, this.headSeen) > capacityBytes || ((this.tail | this.headSeen) & 7) !== 0) {
      this.breakLane('head', this.headSeen);
    }
  }

  override get ending(): Ending | undefined {
    return (
      this.ended ??
      endingOf(this.control, this.words.state, this.words.reason) ??
      endingOf(this.control, RECEIVER_STATE, RECEIVER_REASON) ??
      (this.isCurrent() ? undefined : { kind: 'died' }) // declared dead, and the lane given to another
    );
  }

  /** Bytes sent and not yet taken by the receiver, headers and padding included; reads `head` without trusting it. */
  get usedBytes(): number {
    return Math.min(distance(this.stage, Atomics.load(this.control, this.headAt)), this.capacity);
  }

  /**
   * Copy a message into the channel if there is room. `tag` (i32) travels with it.
   *
   * @returns `false` if there is no room now (or earlier sends still wait for it); everything before is then published.
   * @throws {RangeError} if the message is longer than `maxMessageBytes`.
   * @throws {RingError} `CHANNEL_CLOSED`, `CHANNEL_FAILED`, `CHANNEL_PEER_DIED`.
   */
  trySend(bytes: Uint8Array, tag = 0): boolean {
    const at = this.reserve(bytes.length);
    if (at < 0) return false;
    this.lane.copyIn(at + RECORD_HEADER_BYTES, bytes);
    this.stageRecord(at, bytes.length, tag);
    return true;
  }

  /**
   * Like `trySend`, for `length` bytes at byte `from` of a `SlotBuffer`: the fastest copy, native if the buffer lies in
   * the channel's own WebAssembly memory.
   */
  trySendFrom(source: MessageBuffer, from: number, length: number, tag = 0): boolean {
    checkRange(source, from, length);
    const at = this.reserve(length);
    if (at < 0) return false;
    this.lane.copyFrom(at + RECORD_HEADER_BYTES, source, from, length);
    this.stageRecord(at, length, tag);
    return true;
  }

  /**
   * Take room for a message of up to `length` bytes, to be written in place through `bytes` or `data`.
   *
   * Nothing is visible until `commit`; `abort`, or the death of this thread, leaves no trace. One claim at a time.
   *
   * @returns the byte offset of the payload (a multiple of 8), or -1 if there is no room now. Throws as `trySend` does,
   * and RingError `CHANNEL_CLAIMED` if a claim is open.
   */
  claim(length: number): number {
    const at = this.reserve(length);
    if (at < 0) return -1;
    this.claimed = at;
    this.claimedLength = length;
    this.isHeld = true;
    return at + RECORD_HEADER_BYTES;
  }

  /** Send the claimed message, cut to `length` bytes. @throws {RingError} `CHANNEL_NOT_CLAIMED`; {RangeError}. */
  commit(tag = 0, length = this.claimedLength): void {
    if (this.claimed < 0) throw new RingError('CHANNEL_NOT_CLAIMED', 'Cannot commit: no claim is open');
    if (!(length >= 0 && length <= this.claimedLength)) {
      throw new RangeError(`Cannot commit ${length} bytes: ${this.claimedLength} were claimed`);
    }
    const at = this.claimed;
    this.claimed = -1;
    this.stageRecord(at, length, tag);
  }

  /** Give the claimed room back unsent; harmless if there is no claim. */
  abort(): void {
    this.claimed = -1;
  }

  /** Make everything sent so far visible to the receiver now, and end the burst. */
  flush(): void {
    if (this.isBursting) {
      this.isBursting = false;
      this.window = 1;
      removeBurst(this);
    }
    this.publish();
  }

  /**
   * Send, blocking this thread while there is no room.
   *
   * @throws as `trySend`; RingError `CHANNEL_TIMED_OUT`, `WAIT_WOULD_HANG`, `WAIT_NEEDS_TIMEOUT`, `WAIT_ASYNC_ONLY`,
   * `WAIT_CANNOT_BLOCK`.
   */
  sendSync(bytes: Uint8Array, options: TimeoutOption & { readonly tag?: number | undefined } = {}): void {
    while (!this.trySend(bytes, options.tag)) {
      if (this.queue.length > 0) {
        throw new RingError(
          'CHANNEL_SEND_PENDING',
          'Cannot block: earlier sends of this thread still wait, await them',
        );
      }
      this.wanted = recordBytes(bytes.length);
      if (!this.block(options.timeoutMs ?? Number.POSITIVE_INFINITY)) throw this.timedOut('send', options.timeoutMs);
    }
  }

  /**
   * Send, waiting for room without blocking. Sends are carried out in the order of their calls; `bytes` must not change
   * until the promise settles. Rejects as `sendSync` throws, or with the signal's reason.
   */
  send(bytes: Uint8Array, options: SendOptions = {}): Promise<void> {
    try {
      if (options.signal?.aborted !== true && this.trySend(bytes, options.tag)) return EMPTY_READY;
    } catch (error) {
      return Promise.reject(error);
    }
    this.isHeld = true;
    return this.queue.push(bytes, options);
  }

  /** For the queue of waiting sends: see `QueuedSender`. */
  private queueDoor(): QueuedSender {
    return {
      now: () => this.now(),
      trySendQueued: (bytes, tag) => {
        this.isDraining = true;
        try {
          return this.trySend(bytes, tag);
        } finally {
          this.isDraining = false;
        }
      },
      wantRoomFor: (length) => {
        this.wanted = recordBytes(length);
        this.ringOwnBell();
      },
      room: (timeoutMs) => this.park({ timeoutMs }),
      sendTimedOut: (timeoutMs) => this.timedOut('send', timeoutMs),
    };
  }

  protected override settle(): void {
    this.flush();
  }

  protected override wakePeer(): void {
    this.ring(BELL);
  }

  protected override isReady(): boolean {
    if (this.ending !== undefined || this.broken !== undefined) return true;
    this.publish();
    this.lookAtHead();
    return this.hasRoom(this.wanted);
  }

  protected override arm(): void {
    // Ask for exactly the position that makes room: `head` gets there at the latest when everything is consumed.
    const at = this.stage & this.mask;
    const padding = this.wanted > this.capacity - at ? this.capacity - at : 0;
    Atomics.store(this.control, this.roomEventAt, (this.stage + padding + this.wanted - this.capacity) | 0);
  }

  protected override spin(): boolean {
    return this.strategy.spin(this.control, this.headAt, this.headSeen);
  }

  protected override isPeerHere(): boolean {
    return isOpenHere(Atomics.load(this.control, RECEIVER_STATE));
  }

  private hasRoom(size: number): boolean {
    const at = this.stage & this.mask;
    const free = this.capacity - ((this.stage - this.headSeen) | 0);
    const toEnd = this.capacity - at;
    return size <= toEnd ? size <= free : size + toEnd <= free;
  }

  /** Find room for a message; its record offset, or -1. Nothing shared changes but an unused rest of the lane. */
  private reserve(length: number): number {
    if (!(length <= this.maxMessageBytes)) throw this.tooLong(length);
    const { control } = this;
    const isAsSeen = control[RECEIVER_STATE] === this.receiverSeen && control[this.stateAt] === this.word;
    if ((this.isHeld || !isAsSeen) && !this.mayWrite()) return -1;
    const size = (length + 15) & ~7; // recordBytes, written out
    const at = this.stage & this.mask;
    if (size <= this.capacity - ((this.stage - this.headSeen) | 0) && size <= this.capacity - at) return at;
    return this.reserveSlowly(size);
  }

  private reserveSlowly(size: number): number {
    this.lookAtHead();
    if (this.broken !== undefined) throw this.overError();
    if (!this.hasRoom(size)) {
      this.publish(); // a full lane must be seen, or nobody would ever empty it
      if (this.isHeld) this.mayWrite();
      return -1;
    }
    const at = this.stage & this.mask;
    if (size <= this.capacity - at) return at;
    this.laneWords[at >> 2] = PADDING; // room at the start and for the rest here is certain: claim both
    this.stage = (this.stage + this.capacity - at) | 0;
    return 0;
  }

  private stageRecord(at: number, length: number, tag: number): void {
    this.laneWords[at >> 2] = length;
    this.laneWords[(at >> 2) + 1] = tag;
    const stage = (this.stage + ((length + 15) & ~7)) | 0;
    this.stage = stage;
    if (((stage - this.tail) | 0) >= this.window) this.publishBatch();
    else if (!this.isBursting && this.policy === 'auto') this.startBurst();
  }

  private publishBatch(): void {
    this.publish();
    if (this.policy !== 'auto') return;
    this.window = Math.min(LARGEST_WINDOW_BYTES, Math.max(GROWN_WINDOW_BYTES, this.window << 1));
    if (!this.isBursting) this.startBurst();
  }

  private startBurst(): void {
    this.isBursting = true;
    addBurst(this);
    void EMPTY_READY.then(this.endBurst);
  }

  /** Shared words: writes `tail`, then reads `dataEvent`; rings the receiver's bell if it lies in (old, new]. */
  private publish(): void {
    const old = this.tail;
    const next = this.stage;
    if (this.control[this.stateAt] !== this.word) {
      this.isHeld = true; // the lane is not ours any more: the next send finds out why
      return;
    }
    if (old === next) return;
    Atomics.store(this.control, this.tailAt, next);
    this.tail = next;
    const event = Atomics.load(this.control, this.eventAt);
    if (distance(next, event) < distance(next, old)) this.ring(BELL);
  }

  /** Shared words: reads `head`, which must lie between what was seen and what was published. */
  private lookAtHead(): void {
    const head = Atomics.load(this.control, this.headAt);
    if (distance(head, this.headSeen) > distance(this.tail, this.headSeen) || (head & 7) !== 0) {
      this.breakLane('head', head);
    } else this.headSeen = head;
  }

  private breakLane(field: string, value: number): void {
    this.broken = new ProtocolError(
      'CHANNEL_POSITION',
      `Cannot use this channel: the receiver's ${field} is at ${value >>> 0}, published is ${this.tail >>> 0}`,
      { field, value: value >>> 0, limit: this.tail >>> 0 },
    );
    this.fail(`the receiver broke the protocol: ${field}`);
  }

  /** The slow check before a send: is the channel in use, and is nobody before this message? */
  private mayWrite(): boolean {
    if (this.ending !== undefined) throw this.overError();
    if (this.claimed >= 0) throw new RingError('CHANNEL_CLAIMED', 'Cannot send: a claim is open, commit or abort it');
    if (this.queue.length > 0 && !this.isDraining) return false;
    this.isHeld = this.queue.length > 0;
    const word = this.control[RECEIVER_STATE] as number;
    if (stateOf(word) <= END.open) this.receiverSeen = word;
    return true;
  }

  private overError(): RingError {
    return endingError(this.ending ?? { kind: 'died' }, 'send', this.broken);
  }

  private tooLong(length: number): RangeError {
    return new RangeError(`Cannot send ${length} bytes: messages of this channel hold at most ${this.maxMessageBytes}`);
  }
}
