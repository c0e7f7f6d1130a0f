// The writing end of a fixed ring.
// hot path: bench cases oneway-8 to oneway-16384
import { FixedRingEnd, type FixedRingEndOptions, type FixedRingHandle } from './fixed-ring.ts';
import { distance } from './ring-layout.ts';
import type { SlotBuffer } from './slot-buffer.ts';

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
  private prod: number;
  private published: number;
  private consSeen: number;
  private eager: number;
  private isFlushPlanned: boolean;
  private readonly defer: (task: () => void) => void;
  private readonly flushLater: () => void;

  /** Attach where the ring stands. Shared words: reads `prod`. @throws RingError for a handle that cannot be used. */
  constructor(handle: FixedRingHandle, options: FixedRingEndOptions = {}) {
    super(handle, options);
    this.prod = Atomics.load(this.prodWord, 0);
    this.published = this.prod;
    this.consSeen = (this.prod - this.slots) | 0; // as if full: the first message looks
    this.eager = 1;
    this.isFlushPlanned = false;
    this.defer = options.defer ?? ((task) => void Promise.resolve().then(task));
    this.flushLater = () => {
      this.isFlushPlanned = false;
      this.flush();
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
    if (distance(index, this.consSeen) >= this.slots && !this.findRoom()) return false;
    this.ring.copyFrom(source, slot, index & this.mask);
    this.stageOne(index);
    return true;
  }

  /**
   * Take the next place of `ring` to write a message in place: its number, or -1 if the ring is full or broken.
   *
   * Fill it through `ring.view` at `ring.offset(place)`, then call `commit`. Until then nothing is visible, and claiming
   * again returns the same place.
   */
  claim(): number {
    const index = this.prod;
    if (distance(index, this.consSeen) >= this.slots && !this.findRoom()) return -1;
    return index & this.mask;
  }

  /** Send the claimed place; visible under the rules of `trySend`. */
  commit(): void {
    this.stageOne(this.prod);
  }

  /** Make everything sent so far visible now. Shared words: writes `prod` [PRODUCER]. */
  flush(): void {
    if (this.published === this.prod) return;
    this.eager = 1;
    this.publish();
  }

  private publish(): void {
    Atomics.store(this.prodWord, 0, this.prod);
    this.published = this.prod;
  }

  private stageOne(index: number): void {
    const next = (index + 1) | 0;
    this.prod = next;
    const staged = (next - this.published) | 0;
    // The plain load is enough: it only decides when to publish. A starving consumer is served at once, but each time it
    // costs us a whole batch's price, so the next batch may grow.
    if (staged < this.eager) this.planFlush();
    else if (staged >= this.batch) this.publish();
    else if (this.consWord[0] === this.published) {
      this.eager = Math.min(this.eager << 1, this.batch);
      this.publish();
    } else this.planFlush();
  }

  private planFlush(): void {
    if (this.isFlushPlanned) return;
    this.isFlushPlanned = true;
    this.defer(this.flushLater);
  }

  /** Look how far the consumer is. `false`: still full, or broken. */
  private findRoom(): boolean {
    if (this.broken !== undefined) return false;
    if (this.published !== this.prod) this.publish(); // a full ring must be seen, or nobody would ever empty it
    if (this.consWord[0] === this.consSeen) return false; // a hint: confirmed by the atomic load before it is believed
    const cons = Atomics.load(this.consWord, 0);
    if (distance(this.prod, cons) > this.slots) {
      this.breakRing('cons', cons, this.prod);
      return false;
    }
    this.consSeen = cons;
    return distance(this.prod, cons) < this.slots;
  }
}
