// The sending end of a channel that can be awaited: sends that find no room wait in line on the event loop.
// hot path: bench suite ring, subject channel
import { BufferCopies, checkRange, type MessageBuffer, NATIVE_FROM_BYTES } from './buffer-copy.ts';
import type { ChannelView } from './channel-end.ts';
import { HEAD, RECORD_HEADER_BYTES, recordBytes } from './channel-layout.ts';
import type { EndOptions, SenderOptions, SendOptions, TimeoutOption } from './channel-options.ts';
import { park } from './channel-park.ts';
import { type QueuedSender, SendQueue } from './channel-send-queue.ts';
import { RingError } from './error.ts';
import { copyLanes, prefersLanes } from './lanes.ts';
import { distance } from './ring-layout.ts';
import { SyncSender } from './sync-sender.ts';
import { spinThenWait } from './wait-mixed.ts';

const SENT: Promise<void> = Promise.resolve();

/**
 * The sending end of a channel.
 *
 * Messages become visible in batches: see `PublishPolicy`. A synchronous sender that goes quiet without returning to the
 * event loop or waiting calls `flush`.
 *
 * @example
 * if (!sender.trySend(bytes)) await sender.send(bytes); // full: wait for room
 */
export class ChannelSender extends SyncSender {
  private readonly queue: SendQueue;
  private readonly buffers: BufferCopies;
  private readonly lanes: BigInt64Array;
  private readonly lanesBelow: number;

  /** Use `Channel.sender` or `Channel.openSender`, which claim the lane first. */
  constructor(view: ChannelView, lane: number, word: number, options: EndOptions & SenderOptions) {
    super(view, lane, word, { ...options, wait: options.wait ?? spinThenWait() });
    this.queue = new SendQueue(this.queueDoor());
    this.buffers = new BufferCopies(view.memory);
    this.lanes = this.lane.records.lanes;
    this.lanesBelow = prefersLanes() ? NATIVE_FROM_BYTES : 0;
  }

  /** Bytes sent and not yet taken by the receiver, headers and padding included; reads `head` without trusting it. */
  get usedBytes(): number {
    return Math.min(
      distance(this.stage, Atomics.load(this.control, this.lane.base + HEAD)),
      2 * (this.maxMessageBytes + RECORD_HEADER_BYTES),
    );
  }

  /**
   * Like `trySend`, for `length` bytes at byte `from` of a `SlotBuffer`: the fastest copy, native if the buffer lies in
   * the channel's own WebAssembly memory.
   */
  trySendFrom(source: MessageBuffer, from: number, length: number, tag = 0): boolean {
    checkRange(source, from, length);
    const at = this.reserve(length);
    if (at < 0) return false;
    const to = at + RECORD_HEADER_BYTES;
    // The usual case is written out: through any further object the copy of 64 bytes takes three times as long.
    if (length < this.lanesBelow && ((from | length) & 7) === 0) {
      copyLanes(source.lanes, from >> 3, this.lanes, to >> 3, length >> 3);
    } else this.buffers.copy(source, source, from, this.lane.records, to, length);
    this.stageRecord(at, length, tag);
    return true;
  }

  /**
   * Send, waiting for room without blocking. Sends are carried out in the order of their calls; `bytes` must not change
   * until the promise settles. Rejects as `sendSync` throws, or with the signal's reason.
   */
  send(bytes: Uint8Array, options: SendOptions = {}): Promise<void> {
    try {
      if (options.signal?.aborted !== true && this.trySend(bytes, options.tag)) return SENT;
    } catch (error) {
      return Promise.reject(error);
    }
    return this.queue.push(bytes, options);
  }

  override sendSync(bytes: Uint8Array, options?: TimeoutOption & { readonly tag?: number | undefined }): void {
    if (this.trySend(bytes, options?.tag)) return;
    if (this.isInLine) {
      throw new RingError('CHANNEL_SEND_PENDING', 'Cannot block: earlier sends of this thread still wait, await them');
    }
    super.sendSync(bytes, options);
  }

  /** For the queue of waiting sends: see `QueuedSender`. */
  private queueDoor(): QueuedSender {
    return {
      now: this.clock,
      trySendQueued: (bytes, tag) => {
        this.isInLine = false;
        try {
          return this.trySend(bytes, tag);
        } finally {
          this.lineUp(true);
        }
      },
      wantRoomFor: (length) => {
        this.wanted = recordBytes(length);
        this.ringOwnBell();
      },
      room: (timeoutMs) => park(this, { timeoutMs }),
      sendTimedOut: (timeoutMs) => this.timedOut('send', timeoutMs),
      lineUp: (isInLine) => this.lineUp(isInLine),
    };
  }

  private lineUp(isInLine: boolean): void {
    this.isInLine = isInLine;
    this.isHeld = true;
  }
}
