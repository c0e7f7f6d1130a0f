// A card's extended interrupts: causes, masks, auto-clear, moderation. Intel 82576 datasheet §7.3.
import type { BusMaster, Clock } from '@splitring/hypervisor';
import { IVAR_VALID, NIC_VECTORS } from './nic-registers.ts';

/** Interrupt state of one function. */
export class NicInterrupts {
  /** EICR: what happened. */
  cause = 0;
  /** EIMS: what may interrupt. */
  mask = 0;
  /** EIAC: causes cleared when their interrupt is sent. */
  autoClear = 0;
  /** EIAM: causes masked when their interrupt is sent. */
  autoMask = 0;
  /** EITR by vector: least microseconds between two interrupts, in bits 2 … 14. */
  readonly moderation = new Uint32Array(NIC_VECTORS);
  /** IVAR words: vectors of the receive and transmit queues. */
  readonly vectors = new Uint32Array(8);
  /** Interrupts sent. */
  sent = 0;
  readonly #master: BusMaster;
  readonly #clock: Clock;
  readonly #nextMs = new Float64Array(NIC_VECTORS);

  /** Send through `master`. */
  constructor(master: BusMaster, clock: Clock) {
    this.#master = master;
    this.#clock = clock;
  }

  /** Note that a receive (or transmit) queue has news. */
  queueEvent(queue: number, isTransmit: boolean): void {
    const entry = (this.vectors[queue & 7] as number) >>> (isTransmit ? 8 : 0); // eight queues, eight words
    if ((entry & IVAR_VALID) !== 0) this.raise(1 << (entry & 15));
  }

  /** Note causes, and send what may be sent. */
  raise(causes: number): void {
    this.cause |= causes;
    this.send();
  }

  /** Send interrupts whose cause is set, unmasked and not too soon. @returns whether any was sent */
  send(): boolean {
    const due = this.cause & this.mask;
    if (due === 0) return false;
    const nowMs = this.#clock.nowMs();
    let hasSent = false;
    for (let vector = 0; vector < NIC_VECTORS; vector += 1) {
      const bit = 1 << vector;
      if ((due & bit) === 0 || nowMs < (this.#nextMs[vector] as number)) continue;
      const microseconds = ((this.moderation[vector] as number) >>> 2) & 0x1fff;
      this.#nextMs[vector] = nowMs + microseconds / 1000;
      this.cause &= ~(this.autoClear & bit);
      this.mask &= ~(this.autoMask & bit);
      this.sent += 1;
      hasSent = true;
      this.#master.interrupt(vector);
    }
    return hasSent;
  }

  /** When a moderated interrupt is due; Infinity if none waits. */
  deadlineMs(): number {
    const due = this.cause & this.mask;
    let earliest = Number.POSITIVE_INFINITY;
    for (let vector = 0; vector < NIC_VECTORS; vector += 1) {
      if ((due & (1 << vector)) !== 0) earliest = Math.min(earliest, this.#nextMs[vector] as number);
    }
    return earliest;
  }

  /** Everything to its default. */
  reset(): void {
    this.cause = 0;
    this.mask = 0;
    this.autoClear = 0;
    this.autoMask = 0;
    this.moderation.fill(0);
    this.vectors.fill(0);
    this.#nextMs.fill(0);
  }
}
