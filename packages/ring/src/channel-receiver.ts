// The receiving end of a channel that can be awaited.
import { BufferCopies, type MessageBuffer, NATIVE_FROM_BYTES } from './buffer-copy.ts';
import { copyAligned, SET_FROM_BYTES } from './channel-copy.ts';
import type { ChannelView } from './channel-end.ts';
import type { EndOptions, WaitOptions } from './channel-options.ts';
import { park } from './channel-park.ts';
import { RingError } from './error.ts';
import { copyLanes, prefersLanes } from './lanes.ts';
import { SyncReceiver } from './sync-receiver.ts';
import { spinThenWait } from './wait-mixed.ts';

/**
 * The receiving end of a channel. Messages of one sender arrive in order; between senders there is none.
 *
 * @example
 * for await (const message of receiver) handle(message); // ends when the channel is closed, throws when it failed
 */
export class ChannelReceiver extends SyncReceiver implements AsyncIterable<Uint8Array> {
  private isAwaited: boolean;
  private readonly buffers: BufferCopies;
  private readonly lanesBelow: number;

  /** Use `Channel.receiver` or `Channel.openReceiver`, which claim the end first. */
  constructor(view: ChannelView, word: number, options: EndOptions) {
    super(view, word, { ...options, wait: options.wait ?? spinThenWait() });
    this.isAwaited = false;
    this.buffers = new BufferCopies(view.memory);
    this.lanesBelow = prefersLanes() ? NATIVE_FROM_BYTES : 0;
  }

  /**
   * Take the next message into `target`, which is fastest if it is the same array each time.
   *
   * @returns its length, or -1 if there is none now. @throws {RangeError} if it does not fit; then it stays in place.
   */
  tryReceiveInto(target: Uint8Array): number {
    if (!this.peek()) return -1;
    const { lane } = this;
    const { at, length } = lane;
    if (length > target.length) throw tooSmall(length, target.length);
    const views = lane.viewsFor(target);
    if (views !== undefined && length < SET_FROM_BYTES) copyAligned(lane.records, at, views, 0, length);
    else lane.copyFresh(at, length, target);
    this.consume();
    return length;
  }

  /** Like `tryReceiveInto`, to byte `to` of a `SlotBuffer`: the fastest copy. */
  tryReceiveTo(target: MessageBuffer, to: number): number {
    if (!this.peek()) return -1;
    const { at, length, records } = this.lane;
    if (!(to >= 0 && length <= target.bytes.length - to)) throw tooSmall(length, target.bytes.length - to);
    if (length < this.lanesBelow && ((to | length) & 7) === 0) {
      copyLanes(records.lanes, at >> 3, target.lanes, to >> 3, length >> 3);
    } else this.buffers.copy(target, records, at, target, to, length);
    this.consume();
    return length;
  }

  /** Take up to `limit` messages as fresh copies. Never throws. */
  receiveBatch(limit: number): Uint8Array[] {
    const batch: Uint8Array[] = [];
    while (batch.length < limit) {
      const message = this.tryReceive();
      if (message === undefined) break;
      batch.push(message);
    }
    return batch;
  }

  /** Take the next message, without blocking. Resolves with undefined when closed; rejects as `receiveSync` throws. */
  async receive(options: WaitOptions = {}): Promise<Uint8Array | undefined> {
    return this.tryReceive() ?? ((await this.ready(options)) ? this.tryReceive() : undefined);
  }

  /**
   * Wait until `peek` finds a message, without blocking; resolves with false when the channel was closed in order. One
   * promise serves a whole batch: drain with `peek`/`consume` or `read` after it.
   */
  async ready(options: WaitOptions = {}): Promise<boolean> {
    if (this.isAwaited) {
      throw new RingError('CHANNEL_RECEIVE_PENDING', 'Cannot wait: this receiver is awaited already');
    }
    this.isAwaited = true;
    try {
      while (!this.peek()) {
        if (this.isOver()) return false;
        if (!(await park(this, options))) throw this.timedOut('receive', options.timeoutMs);
      }
      return true;
    } finally {
      this.isAwaited = false;
    }
  }

  /** Messages as they come, until the channel is closed; throws when it failed. Leaving the loop leaves it open. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    const toResult = (value: Uint8Array | undefined): IteratorResult<Uint8Array, undefined> =>
      value === undefined ? { done: true, value } : { done: false, value };
    return {
      next: () => {
        const value = this.tryReceive();
        return value === undefined ? this.receive().then(toResult) : Promise.resolve({ done: false, value });
      },
    };
  }
}

function tooSmall(length: number, room: number): RangeError {
  return new RangeError(`Cannot receive ${length} bytes: the target has room for ${room}`);
}
