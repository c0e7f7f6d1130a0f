// Keeps one client within its quota of open transactions: what is more waits for its turn instead of being refused.

/** Transactions that a client has open at once: below the quota that xenstored gives an unprivileged domain (10). */
export const MAX_OPEN_TRANSACTIONS = 8;

/**
 * Lets a bounded number in; the rest come in the order in which they asked. A driver domain to which many guests connect
 * in one moment publishes for all of them at once.
 *
 * @example
 * gate.enter((leave) => start((reply) => use(reply, leave)));
 */
export class TransactionGate {
  private readonly waiting: ((leave: () => void) => void)[] = [];
  private open = 0;

  /** Call `start` now or when it is its turn. `leave` says that its transaction is over; only the first call counts. */
  enter(start: (leave: () => void) => void): void {
    if (this.open >= MAX_OPEN_TRANSACTIONS) {
      this.waiting.push(start);
      return;
    }
    this.open += 1;
    let isInside = true;
    start(() => {
      if (!isInside) return;
      isInside = false;
      this.open -= 1;
      const next = this.waiting.shift();
      if (next !== undefined) this.enter(next);
    });
  }
}
