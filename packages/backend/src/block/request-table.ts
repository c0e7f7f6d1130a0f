// The requests that a back end has taken from one ring and not yet answered.
// hot path: bench/src/block
import type { GrantHandle } from '@splitring/hypervisor';

/** One array per field, indexed by a slot of our own choosing: nothing here is an index that the guest wrote. */
export class RequestTable {
  /** Requests taken and not answered. */
  count: number;
  readonly idLow: Int32Array;
  readonly idHigh: Int32Array;
  readonly wireOp: Uint8Array;
  /** Device commands that must complete before the answer. */
  readonly outstanding: Int32Array;
  /** What it counts for in the load of the device. */
  readonly load: Int32Array;
  /** The answer so far. */
  readonly status: Int16Array;
  /** The next request that the same device command carries, or −1. */
  readonly next: Int32Array;
  /** Mappings that end with their request, by slot; empty as long as everything is mapped persistently. */
  readonly transient = new Map<number, readonly GrantHandle[]>();
  private readonly free: Int32Array;
  private freeCount: number;

  /** Make a table for a ring of `slots` requests. */
  constructor(slots: number) {
    this.count = 0;
    this.idLow = new Int32Array(slots);
    this.idHigh = new Int32Array(slots);
    this.wireOp = new Uint8Array(slots);
    this.outstanding = new Int32Array(slots);
    this.load = new Int32Array(slots);
    this.status = new Int16Array(slots);
    this.next = new Int32Array(slots);
    this.free = Int32Array.from({ length: slots }, (_, i) => slots - 1 - i);
    this.freeCount = slots;
  }

  /** Enter a request. A ring cannot hold more unanswered requests than it has slots, so there is always room. */
  add(idLow: number, idHigh: number, wireOp: number): number {
    this.freeCount -= 1;
    const slot = this.free[this.freeCount] as number; // room, as said above
    this.count += 1;
    this.idLow[slot] = idLow;
    this.idHigh[slot] = idHigh;
    this.wireOp[slot] = wireOp;
    this.outstanding[slot] = 0;
    this.load[slot] = 0;
    this.status[slot] = 0;
    this.next[slot] = -1;
    return slot;
  }

  /** Forget an answered request. */
  remove(slot: number): void {
    this.count -= 1;
    this.free[this.freeCount] = slot;
    this.freeCount += 1;
  }
}
