// Keeps writers from starving transactions (XSA-206): a write is charged only while somebody else has a transaction open.

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
  private lastMs = Number.NaN;

  /** A domain has changed something that a transaction of another may depend on. */
  charge(domid: number): void {
    this.credit.set(domid, (this.credit.get(domid) ?? BURST) - 1);
  }

  /** Whether a domain may write on; it is not read from otherwise. */
  mayWrite(domid: number): boolean {
    return (this.credit.get(domid) ?? BURST) >= 0;
  }

  /** Let time pass. Domains in debt are served first, one write each in turn. */
  refill(nowMs: number): void {
    if (nowMs > this.lastMs) this.reserve = Math.min(RESERVE, this.reserve + (nowMs - this.lastMs) * PER_MS);
    this.lastMs = nowMs;
    for (const [domid, credit] of this.credit) {
      const share = Math.min(BURST - credit, Math.floor(this.reserve), credit < 0 ? 1 - credit : 1);
      if (share <= 0) continue;
      this.reserve -= share;
      if (credit + share >= BURST) this.credit.delete(domid);
      else this.credit.set(domid, credit + share);
    }
  }

  /** When a domain in debt may write again; Infinity if none is. */
  deadlineMs(): number {
    for (const credit of this.credit.values()) {
      if (credit < 0) return this.lastMs + Math.max(0, 1 - this.reserve) / PER_MS;
    }
    return Number.POSITIVE_INFINITY;
  }

  /** The domain is gone. */
  forget(domid: number): void {
    this.credit.delete(domid);
  }
}
