// Notices a guest that wants frames but takes none: after a while its carrier is turned off. xen-netback, rx_stall_timeout
import type { BackRing } from 'sharedarraybuffer-ring';

/** How long a guest may leave a frame waiting without taking any, in milliseconds. */
const STALL_MS = 60_000;

/**
 * Watches one receive ring, at leisure: no part of the path of frames.
 *
 * A ring is starved while it lacks room for the frame that waits for it: free slots too few for that frame do not hide a
 * stall (XSA-392). Buffers that the guest posted and we used up are progress.
 */
export class RxStall {
  readonly #ring: BackRing;
  #isStalled = false;
  #position: number;
  #sinceMs = Number.POSITIVE_INFINITY;

  /** Watch `ring`. */
  constructor(ring: BackRing) {
    this.#ring = ring;
    this.#position = ring.inspect().prodPvt;
  }

  /** Whether the guest is taken for dead: nothing is offered to it. */
  get isStalled(): boolean {
    return this.#isStalled;
  }

  /** When to look again; Infinity if nothing is pending. */
  get deadlineMs(): number {
    return this.#isStalled ? Number.POSITIVE_INFINITY : this.#sinceMs + STALL_MS;
  }

  /**
   * Look at the ring now. @param isStarved it lacks room for what waits
   * @returns whether `isStalled` has changed
   */
  look(isStarved: boolean, nowMs: number): boolean {
    const { prodPvt } = this.#ring.inspect();
    if (!isStarved) {
      this.#sinceMs = Number.POSITIVE_INFINITY;
    } else if (prodPvt !== this.#position || this.#sinceMs === Number.POSITIVE_INFINITY) {
      this.#sinceMs = nowMs;
    }
    this.#position = prodPvt;
    const wasStalled = this.#isStalled;
    this.#isStalled = isStarved && (wasStalled || nowMs - this.#sinceMs >= STALL_MS);
    return wasStalled !== this.#isStalled;
  }
}
