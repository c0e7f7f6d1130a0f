// A rate limit that charges once, never stalls on a large request, and does not saw.

/**
 * Tokens flow in at `rate` a second up to `burst`. A taker may go into debt once, and waits until it is paid: so a
 * request larger than the burst still passes, and the long-run rate is exact.
 *
 * @example
 * if (bucket.isOpen(now)) bucket.charge(request.bytes); else sleepUntil(bucket.opensAtMs(now));
 */
export class TokenBucket {
  private readonly ratePerMs: number;
  private readonly burst: number;
  private tokens: number;
  private filledMs: number;

  /** Make a full bucket. `ratePerSecond` and `burst` are in the same unit: operations, or bytes; above 0. */
  constructor(ratePerSecond: number, burst: number, nowMs: number) {
    this.ratePerMs = ratePerSecond / 1000;
    this.burst = burst;
    this.tokens = burst;
    this.filledMs = nowMs;
  }

  /** Whether something may be taken now. */
  isOpen(nowMs: number): boolean {
    this.tokens = Math.min(this.burst, this.tokens + (nowMs - this.filledMs) * this.ratePerMs);
    this.filledMs = nowMs;
    return this.tokens > 0;
  }

  /** Whether there is credit, as of the last `isOpen`. */
  get hasTokens(): boolean {
    return this.tokens > 0;
  }

  /** Take `amount`, whether there is as much or not. */
  charge(amount: number): void {
    this.tokens -= amount;
  }

  /** The time at which the debt will be paid. */
  opensAtMs(nowMs: number): number {
    return this.tokens > 0 ? nowMs : this.filledMs + -this.tokens / this.ratePerMs + 0.001;
  }
}
