// Grants that could not be ended because the peer still mapped their pages: tried again until it lets go.
import type { GrantRef, Kernel, Stepped } from '@splitring/hypervisor';

/** Time between two rounds, in milliseconds. Linux gnttab deferred list: every second. */
const RETRY_MS = 1000;
/** Grants tried in one round. */
const ROUND = 256;

const lists = new WeakMap<Kernel, DeferredGrants>();

/** The grants of one domain that wait to be ended. Their frames stay in the hypervisor's quarantine meanwhile. */
export class DeferredGrants implements Stepped {
  readonly #kernel: Kernel;
  #refs: GrantRef[] = [];
  #nextMs = Number.POSITIVE_INFINITY;

  /** Made once per domain by {@link deferredGrants}. */
  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** Grants that wait. */
  get pending(): number {
    return this.#refs.length;
  }

  /** Add grants whose `endAccess` answered false. */
  add(refs: readonly GrantRef[]): void {
    if (refs.length === 0) return;
    if (this.#refs.length === 0) {
      this.#nextMs = this.#kernel.clock.nowMs() + RETRY_MS;
      this.#kernel.add(this);
    }
    this.#refs.push(...refs);
  }

  poll(): boolean {
    const nowMs = this.#kernel.clock.nowMs();
    if (nowMs < this.#nextMs) return false;
    const tried = this.#refs.splice(0, ROUND);
    const held = tried.filter((ref) => !this.#kernel.hypercalls.endAccess(ref));
    this.#refs.push(...held);
    this.#nextMs = nowMs + RETRY_MS;
    if (this.#refs.length === 0) this.#kernel.remove(this);
    return held.length < tried.length;
  }

  deadlineMs(): number {
    return this.#refs.length === 0 ? Number.POSITIVE_INFINITY : this.#nextMs;
  }
}

/** The list of the domain that `kernel` runs. */
export function deferredGrants(kernel: Kernel): DeferredGrants {
  const known = lists.get(kernel);
  if (known !== undefined) return known;
  const list = new DeferredGrants(kernel);
  lists.set(kernel, list);
  return list;
}
