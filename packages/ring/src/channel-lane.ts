// One lane of a channel as either end sees it: where its words are, and copies between its records and the embedder's arrays.
// hot path: bench suite ring, subject channel
import { type AlignedBytes, copyAligned, copyPlain, SET_FROM_BYTES, viewsOf } from './channel-copy.ts';
import type { ChannelView } from './channel-end.ts';
import { laneAt, SENDER_STATE } from './channel-layout.ts';

/**
 * Where one lane lies, and what copies to and from its records. Every range is checked by the caller; payloads start at
 * multiples of 8.
 */
export class Lane {
  /** Which lane it is. */
  readonly index: number;
  /** Its first control word. */
  readonly base: number;
  /** State word of its sender. */
  readonly stateAt: number;
  /** The records. */
  readonly records: AlignedBytes;
  // The caller's array used last: most callers reuse one, and then its aligned views pay.
  private seen: Uint8Array | undefined;
  private viewed: Uint8Array | undefined;
  private views: AlignedBytes | undefined;

  /** Lane `index` of a channel. */
  constructor({ buffer, recordsAt, capacityBytes }: ChannelView, index: number) {
    this.index = index;
    this.base = laneAt(index);
    this.stateAt = this.base + SENDER_STATE;
    this.records = viewsOf(buffer, recordsAt + index * capacityBytes, capacityBytes);
    this.seen = undefined;
    this.viewed = undefined;
    this.views = undefined;
  }

  /** Copy `source` to byte `to` of the lane. */
  copyIn(to: number, source: Uint8Array): void {
    const { length } = source;
    const views = this.viewsFor(source);
    if (views !== undefined && length < SET_FROM_BYTES) copyAligned(views, 0, this.records, to, length);
    else copyPlain(source, 0, this.records.bytes, to, length);
  }

  /** Copy `length` bytes at byte `from` of the lane to an array that will not come again. */
  copyFresh(from: number, length: number, target: Uint8Array): void {
    copyPlain(this.records.bytes, from, target, 0, length);
  }

  /** Aligned views of an array, if it is the one that came last too: for any other they cost more than a copy. */
  viewsFor(bytes: Uint8Array): AlignedBytes | undefined {
    if (bytes === this.viewed) return this.views;
    if (bytes !== this.seen) {
      this.seen = bytes;
      return undefined;
    }
    this.viewed = bytes;
    this.views = bytes.byteOffset % 8 === 0 ? viewsOf(bytes.buffer, bytes.byteOffset, bytes.length) : undefined;
    return this.views;
  }
}
