// One lane as the receiver sees it: finds the next record, trusting nothing that the sender wrote.
// hot path: bench suite ring, subject channel
import type { ChannelView } from './channel-end.ts';
import { Lane } from './channel-lane.ts';
import {
  DATA_EVENT,
  END_FAILED,
  END_OPEN,
  HEAD,
  PADDING,
  ROOM_EVENT,
  stateOf,
  TAIL,
  withState,
} from './channel-layout.ts';
import { ProtocolError } from './error.ts';
import { distance } from './ring-layout.ts';

/** The receiver's half of one lane. Private positions are the truth; shared ones are read once and checked. */
export class ReceiverLane extends Lane {
  /** Byte offset of the payload found by `next`. */
  at: number;
  /** Its length. */
  length: number;
  /** Its tag. */
  tag: number;
  /** Published position, as last read and checked. */
  tail: number;
  /** What the sender did wrong; from then on the lane yields nothing. */
  broken: ProtocolError | undefined;
  /** Set when a sender that waits must be rung; the receiver does it and clears the flag. */
  needsRing: boolean;
  private readonly control: Int32Array;
  private readonly recordWords: Int32Array;
  private readonly capacity: number;
  private readonly mask: number;
  private readonly releaseFrom: number;
  private head: number;
  private released: number;

  /** Attach where the last receiver released its last message. Shared words: reads `head` and `tail`. */
  constructor(view: ChannelView, index: number) {
    super(view, index);
    this.at = 0;
    this.length = 0;
    this.tag = 0;
    this.control = view.control;
    this.recordWords = this.records.words;
    this.capacity = view.capacityBytes;
    this.mask = view.capacityBytes - 1;
    this.releaseFrom = view.capacityBytes >> 3;
    this.broken = undefined;
    this.needsRing = false;
    this.head = Atomics.load(view.control, this.base + HEAD);
    this.released = this.head;
    this.tail = this.head;
    if ((this.head & 7) !== 0) this.breakLane('head', this.head, 0);
  }

  /** Whether something is published beyond what was consumed: an atomic look. Padding counts. */
  hasPublished(): boolean {
    return (
      this.head !== this.tail ||
      (this.broken === undefined && Atomics.load(this.control, this.base + TAIL) !== this.head)
    );
  }

  /**
   * Find the next message: sets `at`, `length`, `tag`. Calling it again without `consume` finds the same one.
   *
   * @returns false if there is none, or the lane is broken. Never throws, whatever lies in shared memory.
   */
  next(): boolean {
    while (this.head !== this.tail || this.refill()) {
      const offset = this.head & this.mask;
      const length = this.recordWords[offset >> 2] as number; // in range: offset is masked
      const published = (this.tail - this.head) | 0;
      const toEnd = this.capacity - offset;
      // The length is the sender's word: bounded by what it has published and by the end of the lane.
      if (length >= 0 && length <= published - 8 && length <= toEnd - 8) {
        this.at = offset + 8;
        this.length = length;
        this.tag = this.recordWords[(offset >> 2) + 1] as number;
        return true;
      }
      if (length !== PADDING || toEnd > published) {
        this.breakLane('length', length, Math.min(published, toEnd) - 8);
        return false;
      }
      this.head = (this.head + toEnd) | 0;
    }
    return false;
  }

  /** Leave the message found by `next` behind. */
  consume(): void {
    const head = (this.head + ((this.length + 15) & ~7)) | 0;
    this.head = head;
    if (((head - this.released) | 0) >= this.releaseFrom) this.release();
  }

  /** Give the consumed bytes back. Shared words: writes `head`, then reads `roomEvent`; may set `needsRing`. */
  release(): void {
    const old = this.released;
    const next = this.head;
    if (old === next) return;
    Atomics.store(this.control, this.base + HEAD, next);
    this.released = next;
    const event = Atomics.load(this.control, this.base + ROOM_EVENT);
    if (distance(next, event) < distance(next, old)) this.needsRing = true;
  }

  /** Ask to be rung when anything more is published. */
  arm(): void {
    Atomics.store(this.control, this.base + DATA_EVENT, (this.head + 1) | 0);
  }

  private refill(): boolean {
    if (this.broken !== undefined) return false;
    if (this.released !== this.head) this.release(); // everything is consumed: let the sender have it all
    const tail = Atomics.load(this.control, this.base + TAIL);
    if (tail === this.head) return false;
    if (distance(tail, this.head) > this.capacity || (tail & 7) !== 0) {
      this.breakLane('tail', tail, this.head);
      return false;
    }
    this.tail = tail;
    return true;
  }

  // The sender loses its lane, and finds its state word changed; nobody else is concerned.
  private breakLane(field: string, value: number, limit: number): void {
    this.broken = new ProtocolError(
      'CHANNEL_RECORD',
      `Cannot read lane ${this.index}: the sender's ${field} is ${value}, limit ${limit}`,
      { lane: this.index, field, value, limit },
    );
    this.tail = this.head;
    const word = Atomics.load(this.control, this.stateAt);
    if (stateOf(word) === END_OPEN) {
      Atomics.compareExchange(this.control, this.stateAt, word, withState(word, END_FAILED));
    }
    this.needsRing = true;
  }
}
