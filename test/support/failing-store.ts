// A domain's xenstore of which one request fails: the k-th of those that can, as if quota, rights or luck had run out.
import type { StoreReply, XenstoreClient, XenstoreTransaction } from '@splitring/hypervisor';

type Then = (reply: StoreReply<never>) => void;

/** Requests that can be refused, of the client and of its transactions. A read that fails is a key that is not there. */
const REFUSABLE: ReadonlySet<string> = new Set(['write', 'remove', 'transaction', 'end']);

/** Counts requests from `reset` on and has the store answer the chosen one with an error. */
export class FailingStore {
  /** What the domain is given. */
  readonly client: XenstoreClient;
  /** The request that failed, with its path. */
  failed: string | undefined;
  private calls = 0;
  private failAt = 0;
  private error = '';

  constructor(real: XenstoreClient) {
    this.client = this.wrap(real, '');
  }

  /** Let the `failAt`-th request from now on be answered with `error`; 0: none. */
  reset(failAt: number, error: string): void {
    this.calls = 0;
    this.failAt = failAt;
    this.error = error;
    this.failed = undefined;
  }

  private wrap<Target extends XenstoreClient | XenstoreTransaction>(real: Target, prefix: string): Target {
    return new Proxy(real, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        if (!REFUSABLE.has(String(name))) return value.bind(target);
        const method = value as (...args: unknown[]) => unknown; // all that there is
        return (...args: unknown[]) => this.call(target, prefix, String(name), method, args);
      },
    });
  }

  private call(
    target: XenstoreClient | XenstoreTransaction,
    prefix: string,
    name: string,
    method: (...args: unknown[]) => unknown,
    args: unknown[],
  ): unknown {
    const isGivingUp = name === 'end' && args[0] === false;
    if (!isGivingUp) this.calls += 1;
    const isChosen = !isGivingUp && this.calls === this.failAt;
    const then = args.at(-1);
    const answer = (typeof then === 'function' ? then : () => {}) as Then; // the last argument of all of them
    if (isChosen) {
      this.failed = `${prefix}${name} ${typeof args[0] === 'string' ? args[0] : ''}`;
      // Nothing of it happens: the server forgets a transaction that is not committed.
      if (name === 'end') Reflect.apply(method, target, [false, () => answer({ ok: false, error: this.error })]);
      else target.read('none', () => answer({ ok: false, error: this.error })); // answers come with a poll, never at once
      return undefined;
    }
    if (name !== 'transaction') return Reflect.apply(method, target, args);
    const wrapped: Then = (reply: StoreReply<XenstoreTransaction>) => {
      if (reply.ok)
        answer({ ok: true, value: this.wrap(reply.value, 'transaction ') as never }); // as it came
      else answer(reply);
    };
    return Reflect.apply(method, target, [wrapped]);
  }
}
