// The requests that a back end has taken from one ring and not yet answered.
// hot path: bench/src/block
import type { GrantHandle } from '@splitring/hypervisor';

/** One request. All that is known of it lies together: a line of cache or two, which a read of the medium has evicted. */
export class TakenRequest {
  /** Its place in the table. */
  readonly slot: number;
  /** The guest's cookie and operation, to be echoed. */
  idLow = 0;
  idHigh = 0;
  wireOp = 0;
  /** Device commands that must complete before the answer. */
  outstanding = 0;
  /** What it counts for in the load of the device. */
  load = 0;
  /** The answer so far. */
  status = 0;
  /** Slot of the next request that the same device command carries, or −1. */
  next = -1;

  constructor(slot: number) {
    this.slot = slot;
  }
}

/** Requests by a slot of our own choosing: nothing here is an index that the guest wrote. */
export class RequestTable {
  /** Requests taken and not answered. */
  count: number;
  /** Mappings that end with their request, by slot; empty as long as everything is mapped persistently. */
  readonly transient = new Map<number, readonly GrantHandle[]>();
  private readonly requests: readonly TakenRequest[];
  private readonly free: Int32Array;
  private freeCount: number;

  /** Make a table for a ring of `slots` requests. */
  constructor(slots: number) {
    this.count = 0;
    this.requests = Array.from({ length: slots }, (_, slot) => new TakenRequest(slot));
    this.free = Int32Array.from({ length: slots }, (_, i) => slots - 1 - i);
    this.freeCount = slots;
  }

  /** The request in `slot`, in use or not. */
  at(slot: number): TakenRequest {
    return this.requests[slot] as TakenRequest; // slots are ours
  }

  /** Enter a request. A ring cannot hold more unanswered requests than it has slots, so there is always room. */
  add(idLow: number, idHigh: number, wireOp: number): TakenRequest {
    this.freeCount -= 1;
    this.count += 1;
    const request = this.at(this.free[this.freeCount] as number); // room, as said above
    request.idLow = idLow;
    request.idHigh = idHigh;
    request.wireOp = wireOp;
    request.outstanding = 0;
    request.load = 0;
    request.status = 0;
    request.next = -1;
    return request;
  }

  /** Forget an answered request. */
  remove(request: TakenRequest): void {
    this.count -= 1;
    this.free[this.freeCount] = request.slot;
    this.freeCount += 1;
  }
}
