// The receiving end of a channel, without awaiting: reads all lanes, one after the other, in the order that each sender wrote.
// hot path: bench suite ring, subject channel
import { ChannelEnd, type ChannelView, endingError, endingOf, flushBursts } from './channel-end.ts';
import { BELL, END_BELL, END_OPEN, isOpenHere, isResumable, RECEIVER_STATE, stateOf, TAIL } from './channel-layout.ts';
import type { Ending, EndOptions, TimeoutOption } from './channel-options.ts';
import { ReceiverLane } from './channel-receiver-lane.ts';

/**
 * Look at one message in place: `length` bytes at byte `at` of `bytes`. Return `false` to refuse it: it stays where it is,
 * and the read ends. An exception leaves it in place too.
 */
export type MessageHandler = (bytes: Uint8Array, at: number, length: number, tag: number) => unknown;

/** Messages taken from one lane before the others get their turn. */
const QUOTA = 64;

/**
 * The receiving end of a channel, for a thread that polls or blocks; `ChannelReceiver` can be awaited too. Messages of one
 * sender arrive in order; between senders there is none.
 *
 * @example
 * while (receiver.readySync()) receiver.read(handle); // ends when the channel is closed, throws when it failed
 */
export class SyncReceiver extends ChannelEnd {
  private readonly lanes: readonly ReceiverLane[];
  /** The lane of the message found last. */
  protected lane: ReceiverLane;
  private quota: number;
  private readonly isFinal: boolean;

  /** Use `Channel.receiver` or `Channel.openReceiver`, which claim the end first. */
  constructor(view: ChannelView, word: number, options: EndOptions) {
    super(view, RECEIVER_STATE, word, options);
    this.lanes = Array.from({ length: view.lanes }, (_, index) => new ReceiverLane(view, index));
    this.lane = this.lanes[0] as ReceiverLane; // a channel has at least one lane
    this.quota = QUOTA;
    // Ends that may be opened again are over for a time only; a single lane is never given to another producer.
    this.isFinal = view.lanes > 1 && !isResumable(view.control);
  }

  /**
   * How the channel ended: undefined while any sender is open or has not come yet (see `producers`, `Channel.seal`). With
   * several senders the worst of their endings counts. Messages published before the end can still be read.
   */
  override get ending(): Ending | undefined {
    if (this.ended !== undefined) return this.ended;
    if (!this.isCurrent()) {
      return endingOf(this.control, this.stateAt) ?? { kind: 'died' }; // given to another
    }
    let worst: Ending | undefined;
    for (const { broken, stateAt } of this.lanes) {
      // A lane never used belongs to a producer still to come: had the others been quicker, it would send to nobody.
      const ending =
        broken === undefined ? endingOf(this.control, stateAt) : ({ kind: 'failed', reason: broken.message } as const);
      if (ending === undefined) return undefined;
      if (worst === undefined || worst.kind === 'closed' || ending.kind === 'died') worst = ending;
    }
    return worst;
  }

  /** The lane's memory in which the message found by `peek` lies. */
  get bytes(): Uint8Array {
    return this.lane.records.bytes;
  }

  /** Byte offset in `bytes` of the message found by `peek`. */
  get at(): number {
    return this.lane.at;
  }

  /** Length in bytes of the message found by `peek`. */
  get length(): number {
    return this.lane.length;
  }

  /** Tag of the message found by `peek` or received last. */
  get tag(): number {
    return this.lane.tag;
  }

  /** Index of the sender's lane of the message found by `peek` or received last: 0 to producers - 1. */
  get producer(): number {
    return this.lane.index;
  }

  /**
   * Find the next message without taking it: see `bytes`, `at`, `length`, `tag`. Until `consume`, the same message is
   * found again. Its bytes are shared: a sender that breaks the rules may change them while they are read; copy what must
   * not change. @returns false if there is none now. Never throws.
   */
  peek(): boolean {
    const lane = this.lane;
    if (this.quota > 0 && lane.next()) return true;
    if (lane.needsRing) this.ringRoom(lane);
    return this.peekOthers() || (flushBursts() && this.peekOthers());
  }

  /** Take the message found by `peek`; its bytes may be overwritten from now on. */
  consume(): void {
    const lane = this.lane;
    lane.consume();
    this.quota -= 1;
    if (lane.needsRing) this.ringRoom(lane);
  }

  /** Take the next message as a fresh copy; undefined if there is none now (see `ending`). Never throws. */
  tryReceive(): Uint8Array | undefined {
    if (!this.peek()) return undefined;
    const lane = this.lane;
    const message = new Uint8Array(lane.length);
    lane.copyFresh(lane.at, lane.length, message);
    this.consume();
    return message;
  }

  /**
   * Show up to `limit` messages to `handler`, in place, and take those it does not refuse.
   *
   * @returns how many were taken. Throws what the handler throws; that message stays in place.
   */
  read(handler: MessageHandler, limit: number = Number.POSITIVE_INFINITY): number {
    let taken = 0;
    while (taken < limit && this.peek()) {
      const { at, length, tag, records } = this.lane;
      if (handler(records.bytes, at, length, tag) === false) break;
      this.consume();
      taken += 1;
    }
    return taken;
  }

  /** Give the room of all consumed messages back now, instead of when an eighth of the lane has come together. */
  release(): void {
    for (const lane of this.lanes) {
      lane.release();
      if (lane.needsRing) this.ringRoom(lane);
    }
  }

  /**
   * Take the next message, blocking this thread until there is one.
   *
   * @returns undefined when the channel was closed in order.
   * @throws {RingError} `CHANNEL_FAILED`, `CHANNEL_PEER_DIED`, `CHANNEL_TIMED_OUT`, `WAIT_WOULD_HANG`,
   * `WAIT_NEEDS_TIMEOUT`, `WAIT_ASYNC_ONLY`, `WAIT_CANNOT_BLOCK`.
   */
  receiveSync(options?: TimeoutOption): Uint8Array | undefined {
    return this.readySync(options) ? this.tryReceive() : undefined;
  }

  /** Block until `peek` finds a message; false when the channel was closed in order. Throws as `receiveSync`. */
  readySync(options?: TimeoutOption): boolean {
    while (!this.peek()) {
      if (this.isOver()) return false;
      if (!this.block(options?.timeoutMs ?? Number.POSITIVE_INFINITY))
        throw this.timedOut('receive', options?.timeoutMs);
    }
    return true;
  }

  protected override settle(): void {
    this.release();
  }

  protected override wakePeer(): void {
    for (const lane of this.lanes) this.ring(lane.stateAt + END_BELL);
  }

  protected override isReady(): boolean {
    // The ending first: what was published before it is then seen by the looks that follow.
    const isOver = this.ending !== undefined;
    for (const lane of this.lanes) if (lane.hasPublished()) return true;
    return isOver;
  }

  protected override arm(): void {
    for (const lane of this.lanes) lane.arm();
  }

  protected override spin(): boolean {
    const { lane, lanes, strategy, control } = this;
    if (lanes.length === 1) return strategy.spin(control, lane.base + TAIL, lane.tail);
    const seen = Atomics.load(control, BELL); // several tails cannot be watched at once: have the bell rung
    this.arm();
    return this.isReady() || strategy.spin(control, BELL, seen);
  }

  protected override isPeerHere(): boolean {
    let isAnyOpen = false;
    for (const { stateAt } of this.lanes) {
      const word = Atomics.load(this.control, stateAt);
      if (stateOf(word) !== END_OPEN) continue;
      if (!isOpenHere(word)) return false;
      isAnyOpen = true;
    }
    return isAnyOpen;
  }

  /**
   * After `peek` found nothing: is the channel over? Looks at the ending, then once more for messages. The news is final:
   * a producer that takes a closed lane after it is told that the channel is over, instead of waiting for a reader.
   */
  protected isOver(): boolean {
    const ending = this.ending;
    if (ending === undefined || this.peek()) return false;
    if (this.isFinal && this.ended === undefined) {
      this.end(ending);
      if (this.peek()) return false; // from a producer that came just before
    }
    if (ending.kind === 'closed') return true;
    throw endingError(ending, 'receive', this.lanes.find((lane) => lane.broken !== undefined)?.broken);
  }

  private peekOthers(): boolean {
    this.quota = QUOTA;
    const { lanes } = this;
    for (let i = 1; i <= lanes.length; i += 1) {
      const lane = lanes[(this.lane.index + i) % lanes.length] as ReceiverLane; // index below length
      if (lane.next()) {
        this.lane = lane;
        return true;
      }
      if (lane.needsRing) this.ringRoom(lane);
    }
    return false;
  }

  private ringRoom(lane: ReceiverLane): void {
    lane.needsRing = false;
    this.ring(lane.stateAt + END_BELL);
  }
}
