// The writing end of a fixed ring.
// hot path: bench cases oneway-8 to oneway-16384
import { FixedRingEnd, type FixedRingEndOptions, type FixedRingHandle } from './fixed-ring.ts';
import { distance } from './ring-layout.ts';
import { checkPlaces, refuseCopy, type SlotBuffer } from './slot-buffer.ts';

/**
 * The writing end of a fixed ring. Publication is batched: see `trySend`.
 *
 * @example
 * const message = new SlotBuffer(1, handle.slotBytes);
 * message.view.setUint32(0, 42, true);
 * while (!producer.trySend(message, 0)) if (producer.broken) throw producer.broken;
 * producer.flush();
 */
export class FixedProducer extends FixedRingEnd {
  // All indices are int32 and wrap. The loop compares for equality only; what the equalities stand for is worked out
  // where an index of the peer enters, or once per batch.
  private prod: number;
  private published: number;
  /** Index at which the ring is full, as far as we know: the consumer's index last seen, plus the slots. */
  private limit: number;
  /** Index at which to think about publishing. */
  private checkAt: number;
  private eager: number;
  private isFlushPlanned: boolean;
  private readonly defer: (task: () => void) => void;
  private readonly flushLater: () => void;

  /** Attach where the ring stands. Shared words: reads `prod`. @throws RingError for a handle that cannot be used. */
  constructor(handle: FixedRingHandle, options: FixedRingEndOptions = {}) {
    super(handle, options);
    this.prod = Atomics.load(this.prodWord, 0);
    this.published = this.prod;
    this.limit = this.prod; // as if full: the first message looks
    this.checkAt = (this.prod + 1) | 0;
    this.eager = 1;
    this.isFlushPlanned = false;
    this.defer = options.defer ?? ((task) => void Promise.resolve().then(task));
    this.flushLater = () => {
      this.isFlushPlanned = false;
      this.eager = 1; // the next turn begins another burst
      this.flush();
      this.checkAt = (this.prod + 1) | 0;
    };
  }

  /** Messages written and not yet visible to the consumer. */
  get staged(): number {
    return distance(this.prod, this.published);
  }

  /**
   * Copy the message in place `slot` of `source` into the ring.
   *
   * It becomes visible to the consumer when a batch is full, when the consumer has nothing left to read (less and less
   * eagerly while the stream goes on), when `flush` is called, or at the end of this turn of the event loop, whichever
   * is first. Call `flush` before blocking the thread. Shared words: writes the slot and `prod` [PRODUCER], reads `cons`.
   *
   * @returns `false` if the ring is full or broken; then everything before is published.
   */
  trySend(source: SlotBuffer, slot: number): boolean {
    const index = this.prod;
    if (index === this.limit && !this.findRoom()) return false;
    const place = index & this.mask;
    if (source.slotBytes !== this.slotBytes || !(slot >= 0 && slot < source.slots))
      refuseCopy(source, slot, this.ring, place);
    this.ring.copyPlace(source, slot, place);
    this.stageOne(index);
    return true;
  }

  /**
   * Copy `count` messages, those from place `first` of `source` on, into the ring, or as many as there is room for.
   *
   * They become visible as under `trySend`, and cost a fraction of as many calls of it: the ring copies them in one loop of
   * its own, which the engine compiles alike whatever surrounds the call.
   *
   * @returns how many were sent: fewer than `count` if the ring is full or broken; then everything is published.
   * @throws RingError `SLOT_BUFFER` for places that `source` does not have or messages of another size.
   */
  trySendMany(source: SlotBuffer, first: number, count: number): number {
    checkPlaces(source, first, count, this.ring);
    const index = this.prod;
    if (((this.limit - index) | 0) < count) this.findRoom();
    const sent = Math.min(count, (this.limit - index) | 0);
    const place = index & this.mask;
    const straight = Math.min(sent, this.slots - place);
    this.ring.copyPlaces(source, first, place, straight);
    this.ring.copyPlaces(source, first + straight, 0, sent - straight);
    const next = (index + sent) | 0;
    this.prod = next;
    if (((next - this.checkAt) | 0) >= 0) this.considerPublishing(next);
    if (sent < count) this.flush(); // a full ring must be seen
    return sent;
  }

  /**
   * Take the next place of `ring` to write a message in place: its number, or -1 if the ring is full or broken.
   *
   * Fill it through `ring.view` at `ring.offset(place)`, then call `commit`. Until then nothing is visible, and claiming
   * again returns the same place.
   */
  claim(): number {
    const index = this.prod;
    if (index === this.limit && !this.findRoom()) return -1;
    return index & this.mask;
  }

  /** Send the claimed place; visible under the rules of `trySend`. */
  commit(): void {
    this.stageOne(this.prod);
  }

  /** Make everything sent so far visible now. Shared words: writes `prod` [PRODUCER]. */
  flush(): void {
    if (this.published !== this.prod) this.publish();
  }

  private publish(): void {
    Atomics.store(this.prodWord, 0, this.prod);
    this.published = this.prod;
    this.checkAt = (this.prod + (this.isFlushPlanned ? this.eager : 1)) | 0;
  }

  private stageOne(index: number): void {
    const next = (index + 1) | 0;
    this.prod = next;
    if (next === this.checkAt) this.considerPublishing(next);
  }

  /** Publish if the batch is full or the consumer starves; else say when to think again. Out of the hot loop. */
  private considerPublishing(next: number): void {
    this.planFlush();
    const staged = (next - this.published) | 0;
    if (staged >= this.batch) {
      this.publish();
    } else if (staged >= this.eager && this.consWord[0] === this.published) {
      // The plain load is enough: it only decides when to publish. A starving consumer is served at once, but each time
      // it costs us a whole batch's price, so the next batch may grow.
      this.eager = Math.min(this.eager << 1, this.batch);
      this.publish();
    } else {
      // Too early, or the consumer is busy: then the rest of the batch is only some ten nanoseconds a message away.
      this.checkAt = (this.published + (staged < this.eager ? this.eager : this.batch)) | 0;
    }
  }

  private planFlush(): void {
    if (this.isFlushPlanned) return;
    this.isFlushPlanned = true;
    this.defer(this.flushLater);
  }

  /** Look whether the consumer moved. Short, because a sender that waits for room calls it all the time. */
  private findRoom(): boolean {
    // A hint: what it finds is believed only after the atomic load. Unpublished messages must not wait behind it.
    if (this.consWord[0] === ((this.limit - this.slots) | 0) && this.published === this.prod) return false;
    return this.loadRoom();
  }

  /** Look how far the consumer is. `false`: still full, or broken. */
  private loadRoom(): boolean {
    if (this.broken !== undefined) return false;
    if (this.published !== this.prod) this.publish(); // a full ring must be seen, or nobody would ever empty it
    const cons = Atomics.load(this.consWord, 0);
    if (distance(this.prod, cons) > this.slots) {
      this.breakRing('cons', cons, this.prod);
      return false;
    }
    this.limit = (cons + this.slots) | 0;
    return this.prod !== this.limit;
  }
}
