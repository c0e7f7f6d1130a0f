// Keeps writers from starving transactions (XSA-206): what makes somebody else's transaction fail is charged, no more.

/** Writes a domain may do at once. */
const BURST = 10;
/** Writes that all domains together may do at once. */
const RESERVE = 1000;
/** Writes that all domains together may do per millisecond: 200 a second. */
const PER_MS = 0.2;

/** Write credit by domain, drawn from one reserve that fills with time. */
export class WriteLimiter {
  private readonly credit = new Map<number, number>();
  private reserve = RESERVE;
  private lastMs = Number.POSITIVE_INFINITY;

  /** A domain has changed something that a transaction of another may depend on. */
  charge(domid: number): void {
    this.credit.set(domid, (this.credit.get(domid) ?? BURST) - 1);
  }

  /** Whether a domain may write on; it is not read from otherwise. */
  mayWrite(domid: number): boolean {
    return (this.credit.get(domid) ?? BURST) >= 0;
  }

  /** Let time pass. Domains in debt come first, in turn, and get no more than lets them write once. */
  refill(nowMs: number): void {
    if (nowMs > this.lastMs) this.reserve = Math.min(RESERVE, this.reserve + (nowMs - this.lastMs) * PER_MS);
    this.lastMs = nowMs;
    if (this.credit.size === 0) return;
    const domains = [...this.credit];
    for (const [domid, credit] of domains) {
      if (credit < 0) this.give(domid, credit, -credit);
    }
    for (const [domid, credit] of domains) {
      if (credit >= 0) this.give(domid, credit, BURST - credit);
    }
  }

  /** When a domain in debt may write again; Infinity if none is. */
  deadlineMs(): number {
    for (const credit of this.credit.values()) {
      if (credit < 0) return this.lastMs + Math.max(0, 1 - this.reserve) / PER_MS;
    }
    return Number.POSITIVE_INFINITY;
  }

  private give(domid: number, credit: number, wanted: number): void {
    const share = Math.min(wanted, Math.floor(this.reserve));
    if (share <= 0) return;
    this.reserve -= share;
    this.credit.delete(domid); // to the end of the queue
    if (credit + share < BURST) this.credit.set(domid, credit + share);
  }

  /** The domain is gone. */
  forget(domid: number): void {
    this.credit.delete(domid);
  }
}
