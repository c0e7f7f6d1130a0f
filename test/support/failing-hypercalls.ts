// Hypercalls of which one fails: the k-th of those that can, as if memory, grants or ports had run out just then.
import { type DomainHypercalls, GNTST, HypercallError, type MapOp } from '@splitring/hypervisor';

/** How each hypercall that can be refused is refused. */
const REFUSALS: Readonly<Record<string, (...args: never[]) => unknown>> = {
  allocateFrames: () => refuse('ENOMEM'),
  grantAccess: () => refuse('GNTST_no_space'),
  allocUnbound: () => refuse('ENOSPC'),
  bindInterdomain: () => refuse('ENOSPC'),
  mapRun: () => ({ status: GNTST.no_space, handles: [], run: undefined }),
  mapGrants: (ops: readonly MapOp[]) => {
    for (const op of ops) op.status = GNTST.no_space;
  },
};

function refuse(code: string): never {
  throw new HypercallError(code, `Cannot do it: ${code}, as the test wants`);
}

/** Counts the calls that can fail, from `reset` on, and makes the chosen one fail. */
export class FailingHypercalls {
  /** What the domain is given. */
  readonly hypercalls: DomainHypercalls;
  /** Calls since `reset`. */
  calls = 0;
  /** The call that failed. */
  failed: string | undefined;
  private failAt = 0;

  constructor(real: DomainHypercalls) {
    this.hypercalls = new Proxy(real, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...args: never[]) => this.call(String(name), args, () => Reflect.apply(value, target, args));
      },
    });
  }

  /** Let the `failAt`-th call from now on fail; 0: none. */
  reset(failAt: number): void {
    this.calls = 0;
    this.failAt = failAt;
    this.failed = undefined;
  }

  private call(name: string, args: never[], real: () => unknown): unknown {
    const refusal = REFUSALS[name];
    if (refusal === undefined) return real();
    this.calls += 1;
    if (this.calls !== this.failAt) return real();
    this.failed = name;
    return refusal(...args);
  }
}
