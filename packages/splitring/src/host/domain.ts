// A running domain as the embedder holds it.
import type { DomainExit, DomId, RunningDomain, SharedCounters } from '@splitring/hypervisor';
import type { ThreadResult } from '../domain/thread-boot.ts';

/** How a domain ended. */
export interface DomainOutcome {
  /** `returned`: the program came to its end; `killed`: destroyed from outside; otherwise what went wrong. */
  readonly kind: DomainExit['kind'];
  /** Whether the program came to its end by itself. */
  readonly ok: boolean;
  /** What is known about it, for people. */
  readonly message: string;
  /** The stable code of the error that ended it, if it had one. */
  readonly code: string | undefined;
  /** What the program returned. */
  readonly result: unknown;
}

/** Read an exit and what the thread returned with it. */
export function outcomeOf(exit: DomainExit): DomainOutcome {
  const { kind, message } = exit;
  if (kind !== 'returned') return { kind, ok: false, message, code: undefined, result: undefined };
  const result = exit.result as ThreadResult; // worker-entry.ts returns nothing else
  if (result.ok) return { kind, ok: true, message, code: undefined, result: result.value };
  return { kind: 'threw', ok: false, message: result.message, code: result.code, result: undefined };
}

/**
 * A domain. Its thread runs until the program ends, `shutdown` or `destroy`.
 *
 * @example
 * const db = await host.createDomain({ name: 'db', program: new URL('./db.guest.ts', import.meta.url) });
 * const { ok, result, message } = await db.exited;
 */
export class RunningGuest {
  /** Its number; not an identity by itself, numbers are used again. */
  readonly domid: DomId;
  /** Its name. */
  readonly name: string;
  /** The counters that its program writes. */
  readonly counters: SharedCounters;
  /** Resolves after the fence, when all that the domain held has been taken back. Never rejects. */
  readonly exited: Promise<DomainOutcome>;
  readonly #running: RunningDomain;
  readonly #askToShutDown: () => void;
  #hasEnded = false;

  /** Made by `createDomain`. */
  constructor(parts: {
    readonly domid: DomId;
    readonly name: string;
    readonly counters: SharedCounters;
    readonly running: RunningDomain;
    readonly exited: Promise<DomainOutcome>;
    readonly askToShutDown: () => void;
  }) {
    this.domid = parts.domid;
    this.name = parts.name;
    this.counters = parts.counters;
    this.exited = parts.exited;
    this.#running = parts.running;
    this.#askToShutDown = parts.askToShutDown;
    void parts.running.fence.then(() => {
      this.#hasEnded = true;
    });
  }

  /** Whether its thread has ended; what it held may still be on its way back until `exited` resolves. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Ask the domain to end, and end it if it has not after `deadlineMs`. @returns how it ended */
  async shutdown(deadlineMs = 5000): Promise<DomainOutcome> {
    this.#askToShutDown();
    const timer = setTimeout(() => this.destroy(), deadlineMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  /** End the domain at once, wherever it is. */
  destroy(): void {
    this.#running.kill();
  }
}
