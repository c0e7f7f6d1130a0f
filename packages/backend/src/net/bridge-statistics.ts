// Shows a bridge's counters to other threads: copied to shared memory now and then, and before the domain sleeps.
import type { SharedCounters, Stepped } from '@splitring/hypervisor';
import type { Bridge } from './bridge.ts';
import { BRIDGE_COUNTERS } from './bridge-counters.ts';

/** A copy in every so many polls, less one: a power of two, less one. */
const POLLS_PER_COPY = 63;

/** The names of a bridge's shared counters: `lan0.forwarded`, `lan0.dropSpoofed` …, each the sum over its ports. */
export function bridgeCounterNames(bridge: string): string[] {
  return BRIDGE_COUNTERS.map((name) => nameOf(bridge, name));
}

function nameOf(bridge: string, counter: string): string {
  return `${bridge}.${counter}`;
}

/** Copies the counters of one bridge; nothing on the path of a frame knows of it. */
export class BridgeStatistics implements Stepped {
  readonly #bridge: Bridge;
  readonly #counters: SharedCounters;
  readonly #names: readonly (readonly [keyof Bridge['totals'], string])[];
  #polls = 0;

  /** `counters` have the names of `bridgeCounterNames(bridge.name)`; this domain is their only writer. */
  constructor(bridge: Bridge, counters: SharedCounters) {
    this.#bridge = bridge;
    this.#counters = counters;
    this.#names = BRIDGE_COUNTERS.map((name) => [name, nameOf(bridge.name, name)]);
  }

  poll(): boolean {
    this.#polls = (this.#polls + 1) & POLLS_PER_COPY;
    if (this.#polls === 0) this.#copy();
    return false;
  }

  arm(): boolean {
    this.#copy();
    return false;
  }

  #copy(): void {
    const { totals } = this.#bridge;
    for (const [counter, name] of this.#names) this.#counters.set(name, totals[counter]);
  }
}
