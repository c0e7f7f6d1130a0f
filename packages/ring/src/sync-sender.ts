// The sending end of a channel, without awaiting: one lane, written by nobody else.
// hot path: bench suite ring, subject channel

import { bursting, ChannelEnd, type ChannelView, endingError, endingOf } from './channel-end.ts';
import { Lane } from './channel-lane.ts';
import {
  BELL,
  DATA_EVENT,
  END_OPEN,
  HEAD,
  isOpenHere,
  PADDING,
  RECEIVER_STATE,
  RECORD_HEADER_BYTES,
  ROOM_EVENT,
  recordBytes,
  senderStateAt,
  stateOf,
  TAIL,
} from './channel-layout.ts';
import type { Ending, EndOptions, PublishPolicy, SenderOptions, TimeoutOption } from './channel-options.ts';
import { ProtocolError, RingError } from './error.ts';
import { distance } from './ring-layout.ts';

const GROWN_WINDOW_BYTES = 256;
const LARGEST_WINDOW_BYTES = 4096;
const NEVER = 0x7fffffff;
const EMPTY_READY: Promise<void> = Promise.resolve();

/**
 * The sending end of a channel, for a thread that polls or blocks; `ChannelSender` can be awaited too.
 *
 * Messages become visible in batches: see `PublishPolicy`. A synchronous sender that goes quiet without returning to the
 * event loop or waiting calls `flush`.
 *
 * @example
 * if (!sender.trySend(bytes)) sender.sendSync(bytes, { timeoutMs: 100 }); // full: wait for room
 */
export class SyncSender extends ChannelEnd {
  /** Longest message in bytes: half the capacity, less the header, so that it fits whatever came before. */
  readonly maxMessageBytes: number;
  /** The lane's memory: `claim` returns byte offsets in it. */
  readonly bytes: Uint8Array;
  /** The same memory for typed fields. */
  readonly data: DataView;
  /** The lane: where it lies, and copies. */
  protected readonly lane: Lane;
  private readonly laneWords: Int32Array;
  private readonly capacity: number;
  private readonly mask: number;
  private readonly policy: PublishPolicy;
  /** Position after the last message, published or not. */
  protected stage: number;
  private tail: number;
  private headSeen: number;
  /** Position up to which messages fit without another look: the end of the lane, or of what is known to be free. */
  private limit: number;
  private receiverSeen: number;
  private window: number;
  private claimed: number;
  private claimedLength: number;
  /** Room waited for, in bytes. */
  protected wanted: number;
  /** Look slowly before the next send: something may stand against it. */
  protected isHeld: boolean;
  /** Sends made earlier still wait: others get behind them. */
  protected isInLine: boolean;
  /** Whether messages may be held back for a batch. @internal */
  isBursting: boolean;
  private broken: ProtocolError | undefined;
  private readonly endBurst: () => void;

  /** Use `Channel.sender` or `Channel.openSender`, which claim the lane first. */
  constructor(view: ChannelView, lane: number, word: number, options: EndOptions & SenderOptions) {
    super(view, senderStateAt(lane), word, options);
    const { capacityBytes, control } = view;
    this.lane = new Lane(view, lane);
    this.laneWords = this.lane.records.words;
    this.bytes = this.lane.records.bytes;
    this.data = new DataView(this.bytes.buffer, this.bytes.byteOffset, capacityBytes);
    this.maxMessageBytes = (capacityBytes >> 1) - RECORD_HEADER_BYTES;
    this.capacity = capacityBytes;
    this.mask = capacityBytes - 1;
    this.policy = options.publish ?? 'auto';
    // A lane that was used before goes on where its committed messages end; what was only staged is gone with its sender.
    this.tail = Atomics.load(control, this.lane.base + TAIL);
    this.stage = this.tail;
    this.headSeen = Atomics.load(control, this.lane.base + HEAD);
    this.limit = this.stage;
    this.receiverSeen = -1; // no state word: the first send looks whether there is anybody to send to
    this.window = this.policy === 'manual' ? NEVER : 1;
    this.claimed = -1;
    this.claimedLength = 0;
    this.wanted = 0;
    this.isHeld = false;
    this.isInLine = false;
    this.isBursting = false;
    this.broken = undefined;
    this.endBurst = () => {
      bursting.delete(this);
      this.flush();
    };
    if (distance(this.tail, this.headSeen) > capacityBytes || ((this.tail | this.headSeen) & 7) !== 0) {
      this.breakLane(this.headSeen);
    }
  }

  override get ending(): Ending | undefined {
    return (
      this.ended ??
      endingOf(this.control, this.stateAt) ??
      endingOf(this.control, RECEIVER_STATE) ??
      (this.isCurrent() ? undefined : { kind: 'died' }) // declared dead, and the lane given to another
    );
  }

  /**
   * Copy a message into the channel if there is room. `tag` (i32) travels with it.
   *
   * @returns `false` if there is no room now (or earlier sends still wait for it); everything before is then published.
   * @throws {RangeError} if the message is longer than `maxMessageBytes`, or no array of bytes at all.
   * @throws {RingError} `CHANNEL_CLOSED`, `CHANNEL_FAILED`, `CHANNEL_PEER_DIED`.
   */
  trySend(bytes: Uint8Array, tag = 0): boolean {
    if (bytes.BYTES_PER_ELEMENT !== 1) throw this.tooLong(Number.NaN); // a string has a length, too
    const at = this.reserve(bytes.length);
    if (at < 0) return false;
    this.lane.copyIn(at + RECORD_HEADER_BYTES, bytes);
    this.stageRecord(at, bytes.length, tag);
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
    if (!(length >= 0)) throw this.tooLong(length);
    const at = this.reserve(length);
    if (at < 0) return -1;
    this.claimed = at;
    this.claimedLength = length;
    this.isHeld = true;
    return at + RECORD_HEADER_BYTES;
  }

  /** Send the claimed message, cut to `length` bytes. @throws {RingError} `CHANNEL_NOT_CLAIMED` if that is too much. */
  commit(tag = 0, length = this.claimedLength): void {
    if (!(this.claimed >= 0 && length >= 0 && length <= this.claimedLength)) throw this.notClaimed(length);
    const at = this.claimed;
    this.abort();
    this.stageRecord(at, length, tag);
  }

  /** Give the claimed room back unsent; harmless if there is no claim. */
  abort(): void {
    this.claimed = -1;
    this.isHeld = this.isInLine;
  }

  /** Make everything sent so far visible to the receiver now, and end the burst. */
  flush(): void {
    if (this.isBursting) {
      this.isBursting = false;
      this.window = 1;
    }
    this.publish();
  }

  /**
   * Send, blocking this thread while there is no room.
   *
   * @throws as `trySend`; RingError `CHANNEL_TIMED_OUT`, `WAIT_WOULD_HANG`, `WAIT_NEEDS_TIMEOUT`, `WAIT_ASYNC_ONLY`,
   * `WAIT_CANNOT_BLOCK`.
   */
  sendSync(bytes: Uint8Array, options?: TimeoutOption & { readonly tag?: number | undefined }): void {
    while (!this.trySend(bytes, options?.tag)) {
      this.wanted = recordBytes(bytes.length);
      if (!this.block(options?.timeoutMs ?? Number.POSITIVE_INFINITY)) throw this.timedOut('send', options?.timeoutMs);
    }
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
    Atomics.store(this.control, this.lane.base + ROOM_EVENT, (this.stage + padding + this.wanted - this.capacity) | 0);
  }

  protected override spin(): boolean {
    return this.strategy.spin(this.control, this.lane.base + HEAD, this.headSeen);
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
  protected reserve(length: number): number {
    if (!(length <= this.maxMessageBytes)) throw this.tooLong(length);
    const { control } = this;
    const isAsSeen = control[RECEIVER_STATE] === this.receiverSeen && control[this.stateAt] === this.word;
    if ((this.isHeld || !isAsSeen) && !this.mayWrite()) return -1;
    const size = (length + 15) & ~7; // recordBytes, written out
    return size <= ((this.limit - this.stage) | 0) ? this.stage & this.mask : this.reserveSlowly(size);
  }

  private reserveSlowly(size: number): number {
    this.lookAtHead();
    if (this.broken !== undefined) throw this.overError();
    if (!this.hasRoom(size)) {
      this.publish(); // a full lane must be seen, or nobody would ever empty it
      if (this.isHeld) this.mayWrite();
      return -1;
    }
    const toEnd = this.capacity - (this.stage & this.mask);
    if (size > toEnd) {
      this.laneWords[(this.stage & this.mask) >> 2] = PADDING; // room at the start and for the rest here is certain
      this.stage = (this.stage + toEnd) | 0;
    }
    const at = this.stage & this.mask;
    const free = this.capacity - ((this.stage - this.headSeen) | 0);
    this.limit = (this.stage + Math.min(free, this.capacity - at)) | 0;
    return at;
  }

  protected stageRecord(at: number, length: number, tag: number): void {
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
    if (bursting.has(this)) return;
    bursting.add(this);
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
    Atomics.store(this.control, this.lane.base + TAIL, next);
    this.tail = next;
    const event = Atomics.load(this.control, this.lane.base + DATA_EVENT);
    if (distance(next, event) < distance(next, old)) this.ring(BELL);
  }

  /** Shared words: reads `head`, which must lie between what was seen and what was published. */
  private lookAtHead(): void {
    const head = Atomics.load(this.control, this.lane.base + HEAD);
    if (distance(head, this.headSeen) > distance(this.tail, this.headSeen) || (head & 7) !== 0) {
      this.breakLane(head);
    } else this.headSeen = head;
  }

  private breakLane(head: number): void {
    const value = head >>> 0;
    const limit = this.tail >>> 0;
    this.broken = new ProtocolError(
      'CHANNEL_POSITION',
      `Cannot send: the receiver's head is ${value}, published is ${limit}`,
      { field: 'head', value, limit },
    );
    this.fail('the receiver broke the protocol');
  }

  /** The slow check before a send: is the channel in use, and is nobody before this message? */
  private mayWrite(): boolean {
    if (this.ending !== undefined) throw this.overError();
    if (this.claimed >= 0) throw new RingError('CHANNEL_CLAIMED', 'Cannot send: a claim is open');
    if (this.isInLine) return false;
    this.isHeld = false;
    const word = this.control[RECEIVER_STATE] as number;
    if (stateOf(word) <= END_OPEN) this.receiverSeen = word;
    return true;
  }

  private overError(): RingError {
    return endingError(this.ending ?? { kind: 'died' }, 'send', this.broken);
  }

  private notClaimed(length: number): RingError {
    return new RingError('CHANNEL_NOT_CLAIMED', `Cannot commit ${length} bytes: they are not claimed`, { length });
  }

  private tooLong(length: number): RangeError {
    return new RangeError(`Cannot send ${length} bytes: take a Uint8Array of at most ${this.maxMessageBytes}`);
  }
}
