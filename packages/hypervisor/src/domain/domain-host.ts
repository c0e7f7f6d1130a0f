// The port behind which a domain's thread runs: a Piscina worker, or this very thread in a simulation.
import type { DomId } from '../ids.ts';

/** How a domain's thread ended, told after the fence: nothing of it runs any more. */
export interface DomainExit {
  /** `returned`: the program came to its end; `killed`: destroyed from outside; otherwise the kind of crash. */
  readonly kind: 'returned' | 'killed' | 'threw' | 'exited' | 'out-of-memory' | 'failed-to-boot';
  /** What is known about it, for people. */
  readonly message: string;
  /** What the program returned (plain data), for `returned`. */
  readonly result?: unknown;
}

/** One running domain. */
export interface RunningDomain {
  /** Resolves once the thread has ended; never rejects. This is the fence. */
  readonly fence: Promise<DomainExit>;
  /** End the thread wherever it is. The fence follows. */
  kill(): void;
}

/** Starts domains. */
export interface DomainHost {
  /**
   * Start a thread that runs `program` with `boot` (plain data, shared buffers, and the ports in `transfer`).
   * @param limits heap limit in MiB, if any
   */
  start(spec: {
    readonly domid: DomId;
    readonly name: string;
    readonly program: string;
    readonly boot: unknown;
    readonly transfer: readonly unknown[];
    readonly heapLimitMiB: number | undefined;
  }): RunningDomain;
}
