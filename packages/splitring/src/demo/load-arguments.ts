// What the demo tells each guest, and the counters that it reads.

/** Arguments of the demo's guest program. */
export interface LoadArguments {
  /** Its pattern's seed, a u32. */
  readonly seed: number;
  /** How long to go on. */
  readonly seconds: number;
  /** The Ethernet addresses of the two that talk, own first; absent for the others. */
  readonly talk?: readonly [own: string, peer: string];
}

/** Counters of the demo's guest program. */
export const LOAD_COUNTERS = ['operations', 'bytes', 'frames', 'errors'] as const;

/** The demo's guest program: the same file in a worker and in a simulation, compiled or not. */
export const LOAD_GUEST_URL = new URL(
  import.meta.url.endsWith('.ts') ? './load.guest.ts' : './load.guest.js',
  import.meta.url,
).href;
