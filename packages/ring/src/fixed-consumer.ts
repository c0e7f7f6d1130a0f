// The reading end of a fixed ring.
// hot path: bench cases oneway-8 to oneway-16384
import { FixedRingEnd, type FixedRingEndOptions, type FixedRingHandle } from './fixed-ring.ts';
import { distance } from './ring-layout.ts';
import { checkPlaces, refuseCopy, type SlotBuffer } from './slot-buffer.ts';

/**
 * The reading end of a fixed ring.
 *
 * @example
 * const message = new SlotBuffer(1, handle.slotBytes);
 * while (consumer.tryReceive(message, 0)) handle(message.view);
 */
export class FixedConsumer extends FixedRingEnd {
  // All indices are int32 and wrap; the loop compares for equality only, as in the producer.
  private cons: number;
  private released: number;
  /** Index at which a batch of places is given back. */
  private releaseAt: number;
  private prodSeen: number;

  /** Attach where the ring stands. Shared words: reads `cons`. @throws RingError for a handle that cannot be used. */
  constructor(handle: FixedRingHandle, options: FixedRingEndOptions = {}) {
    super(handle, options);
    this.cons = Atomics.load(this.consWord, 0);
    this.released = this.cons;
    this.releaseAt = (this.cons + this.batch) | 0;
    this.prodSeen = this.cons;
  }

  /**
   * Copy the next message to place `slot` of `into`.
   *
   * Places are given back in batches, and whenever the ring is found empty. Shared words: reads `prod` and the slot
   * [PRODUCER], each byte once; writes `cons` [CONSUMER].
   * @returns `false` if there is none, or the ring is broken.
   */
  tryReceive(into: SlotBuffer, slot: number): boolean {
    const index = this.cons;
    if (index === this.prodSeen && !this.findMessages()) return false;
    const place = index & this.mask;
    if (into.slotBytes !== this.slotBytes || !(slot >= 0 && slot < into.slots))
      refuseCopy(this.ring, place, into, slot);
    into.copyPlace(this.ring, place, slot);
    this.consumeOne(index);
    return true;
  }

  /**
   * Copy the next messages, at most `count`, to the places from `first` of `into` on. Places are given back as under
   * `tryReceive`.
   *
   * @returns how many there were; 0 if none, or the ring is broken.
   * @throws RingError `SLOT_BUFFER` for places that `into` does not have or messages of another size.
   */
  tryReceiveMany(into: SlotBuffer, first: number, count: number): number {
    checkPlaces(into, first, count, this.ring);
    const index = this.cons;
    if (index === this.prodSeen && !this.findMessages()) return 0;
    const received = Math.min(count, (this.prodSeen - index) | 0);
    const place = index & this.mask;
    const straight = Math.min(received, this.slots - place);
    into.copyPlaces(this.ring, place, first, straight);
    into.copyPlaces(this.ring, 0, first + straight, received - straight);
    const next = (index + received) | 0;
    this.cons = next;
    if (((next - this.releaseAt) | 0) >= 0) this.giveBack();
    return received;
  }

  /**
   * Find the next message in place: the number of its place in `ring`, or -1 if there is none or the ring is broken.
   *
   * Read each field at most once: the producer could change it meanwhile. Call `release` when done.
   */
  peek(): number {
    const index = this.cons;
    if (index === this.prodSeen && !this.findMessages()) return -1;
    return index & this.mask;
  }

  /** Give back the place that `peek` found. */
  release(): void {
    this.consumeOne(this.cons);
  }

  private consumeOne(index: number): void {
    const next = (index + 1) | 0;
    this.cons = next;
    if (next === this.releaseAt) this.giveBack();
  }

  private giveBack(): void {
    Atomics.store(this.consWord, 0, this.cons);
    this.released = this.cons;
    this.releaseAt = (this.cons + this.batch) | 0;
  }

  /** Look whether the producer moved. Short, because a receiver that polls calls it all the time. */
  private findMessages(): boolean {
    // A hint, as in the producer. Places not yet given back must not wait behind it.
    if (this.prodWord[0] === this.prodSeen && this.released === this.cons) return false;
    return this.loadMessages();
  }

  /** Look how far the producer is; an empty ring gives every place back. `false`: empty, or broken. */
  private loadMessages(): boolean {
    if (this.broken !== undefined) return false;
    if (this.released !== this.cons) this.giveBack(); // the producer may wait for just these
    const prod = Atomics.load(this.prodWord, 0);
    if (distance(prod, this.cons) > this.slots) {
      this.breakRing('prod', prod, this.cons);
      return false;
    }
    this.prodSeen = prod;
    return prod !== this.cons;
  }
}
