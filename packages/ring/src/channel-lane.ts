// One lane of a channel as either end sees it: where its words are, and copies between its records and the embedder's arrays.
// hot path: bench suite ring, subject channel
import { type AlignedBytes, copyAligned, copyPlain, SET_FROM_BYTES, viewsOf } from './channel-copy.ts';
import type { ChannelView } from './channel-end.ts';
import { DATA_EVENT, type EndWords, HEAD, laneAt, ROOM_EVENT, senderWords, TAIL } from './channel-layout.ts';

/**
 * Where one lane lies, and what copies to and from its records. Every range is checked by the caller; payloads start at
 * multiples of 8.
 */
export class Lane {
  /** Which lane it is. */
  readonly index: number;
  /** The words of its sender. */
  readonly senderWords: EndWords;
  /** Control word of the published position. */
  readonly tailAt: number;
  /** Control word of the consumed position. */
  readonly headAt: number;
  /** Control word of the position at which the receiver wants to be rung. */
  readonly eventAt: number;
  /** Control word of the position at which the sender wants to be rung. */
  readonly roomEventAt: number;
  /** The records. */
  readonly records: AlignedBytes;
  // The caller's array used last: most callers reuse one, and then its aligned views pay.
  private seen: Uint8Array | undefined;
  private viewed: Uint8Array | undefined;
  private views: AlignedBytes | undefined;

  /** Lane `index` of a channel. */
  constructor({ buffer, recordsAt, capacityBytes }: ChannelView, index: number) {
    const base = laneAt(index);
    this.index = index;
    this.senderWords = senderWords(index);
    this.tailAt = base + TAIL;
    this.headAt = base + HEAD;
    this.eventAt = base + DATA_EVENT;
    this.roomEventAt = base + ROOM_EVENT;
    this.records = viewsOf(buffer, recordsAt + index * capacityBytes, capacityBytes);
    this.seen = undefined;
    this.viewed = undefined;
    this.views = undefined;
  }

  /** Copy `source` to byte `to` of the lane. */
  copyIn(to: number, source: Uint8Array): void {
    const { length } = source;
    const views = source === this.viewed ? this.views : this.remember(source);
    if (views !== undefined && length < SET_FROM_BYTES) copyAligned(views, 0, this.records, to, length);
    else copyPlain(source, 0, this.records.bytes, to, length);
  }

  /** Copy `length` bytes at byte `from` of the lane to the start of `target`. */
  copyOut(from: number, length: number, target: Uint8Array): void {
    const views = target === this.viewed ? this.views : this.remember(target);
    if (views !== undefined && length < SET_FROM_BYTES) copyAligned(this.records, from, views, 0, length);
    else this.copyFresh(from, length, target);
  }

  /** Copy `length` bytes at byte `from` of the lane to an array that will not come again. */
  copyFresh(from: number, length: number, target: Uint8Array): void {
    copyPlain(this.records.bytes, from, target, 0, length);
  }

  // Views cost more than a copy: make them only for an array that comes a second time in a row.
  private remember(bytes: Uint8Array): AlignedBytes | undefined {
    if (bytes !== this.seen) {
      this.seen = bytes;
      return undefined;
    }
    this.viewed = bytes;
    this.views = bytes.byteOffset % 8 === 0 ? viewsOf(bytes.buffer, bytes.byteOffset, bytes.length) : undefined;
    return this.views;
  }
}
