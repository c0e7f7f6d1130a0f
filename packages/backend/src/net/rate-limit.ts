// A guest's transmit rate: so many bytes per window, with back-pressure instead of drops. xen-netback, tx_credit_exceeded

/** Smallest cap on saved-up credit in bytes: a low rate must not block the largest packet for ever. */
const MIN_CAP_BYTES = 131_072;
/** Bytes that mean "no limit". */
const UNLIMITED = Number.POSITIVE_INFINITY;

/** A credit scheduler. `bytes` are added once per window and saved up to a cap; time is handed in. */
export class RateLimit {
  #bytes = UNLIMITED;
  #windowMs = 0;
  #creditBytes = UNLIMITED;
  #windowEndMs = 0;

  /** Whether there is a limit at all. */
  get isLimited(): boolean {
    return this.#bytes !== UNLIMITED;
  }

  /**
   * Set the rate from the key `rate`: "bytes,microseconds". Anything else, and 0 in either place, means no limit.
   */
  configure(text: string | undefined, nowMs: number): void {
    const match = /^(\d{1,15}),(\d{1,15})$/.exec(text ?? '');
    const bytes = Number(match?.[1] ?? 0);
    const windowUs = Number(match?.[2] ?? 0);
    const isLimited = bytes > 0 && windowUs > 0;
    this.#bytes = isLimited ? bytes : UNLIMITED;
    this.#windowMs = isLimited ? windowUs / 1000 : 0;
    this.#creditBytes = this.#bytes;
    this.#windowEndMs = nowMs + this.#windowMs;
  }

  /**
   * Pay for a packet. @returns false if the credit does not suffice: ask again at `retryAtMs`, with the same packet
   */
  take(sizeBytes: number, nowMs: number): boolean {
    if (sizeBytes <= this.#creditBytes) {
      this.#creditBytes -= sizeBytes;
      return true;
    }
    if (nowMs < this.#windowEndMs) return false;
    this.#creditBytes = Math.min(this.#creditBytes + this.#bytes, Math.max(MIN_CAP_BYTES, this.#bytes));
    this.#windowEndMs = nowMs + this.#windowMs;
    if (sizeBytes > this.#creditBytes) return false;
    this.#creditBytes -= sizeBytes;
    return true;
  }

  /** When the next credit comes, in the clock's milliseconds. */
  get retryAtMs(): number {
    return this.#windowEndMs;
  }
}
