// Lets go of the pages of rings that have been idle for long: persistent grants need not last for ever.
import type { Clock, Stepped } from '@splitring/hypervisor';
import type { BlkbackQueue } from './blkback-queue.ts';

/** Polls between two looks while the domain never sleeps. */
const LOOK_POLLS = 256;

/**
 * Looks at the rings of one disk every half of `idleMs`; one that has taken nothing over two looks is unmapped, and its
 * pages are mapped again when they are used again. Linux unmaps what was unused for a minute.
 * The clock is read before sleeping and every few hundred polls of a control machine: nothing on the way of a request.
 *
 * @see Linux drivers/block/xen-blkback/blkback.c, purge_persistent_gnt and persistent_grant_unused_seconds
 */
export class IdleGrants implements Stepped {
  private readonly rings: { readonly queue: BlkbackQueue; taken: number; idleLooks: number }[];
  private readonly clock: Clock;
  private readonly periodMs: number;
  private nextMs: number;
  private polls = 0;

  constructor(queues: readonly BlkbackQueue[], clock: Clock, idleMs: number) {
    this.rings = queues.map((queue) => ({ queue, taken: queue.taken, idleLooks: 0 }));
    this.clock = clock;
    this.periodMs = idleMs / 2;
    this.nextMs = clock.nowMs() + this.periodMs;
  }

  poll(): boolean {
    this.polls = (this.polls + 1) % LOOK_POLLS;
    if (this.polls === 0) this.look();
    return false;
  }

  arm(): boolean {
    this.look();
    return false;
  }

  deadlineMs(): number {
    return this.rings.some(({ queue }) => queue.keptPages > 0) ? this.nextMs : Number.POSITIVE_INFINITY;
  }

  private look(): void {
    const now = this.clock.nowMs();
    if (now < this.nextMs) return;
    this.nextMs = now + this.periodMs;
    for (const ring of this.rings) {
      const { queue } = ring;
      ring.idleLooks = queue.taken === ring.taken && queue.inFlight === 0 ? ring.idleLooks + 1 : 0;
      ring.taken = queue.taken;
      if (ring.idleLooks >= 2) queue.release();
    }
  }
}
