// What one guest's disk may do in a second: operations, bytes, or both.
import { TokenBucket } from './token-bucket.ts';

/** Limits as the toolstack writes them; a missing one does not bind. */
export interface RateLimitOptions {
  /** Operations a second. */
  readonly iops?: number | undefined;
  /** Bytes a second. */
  readonly bytesPerSecond?: number | undefined;
  /** How long a full burst lasts at the given rates, in milliseconds. Default 100. */
  readonly burstMs?: number | undefined;
}

const BURST_MS = 100;

/** Both buckets of a disk: closed when either is. */
export class RateLimit {
  private readonly buckets: TokenBucket[] = [];
  private readonly operations: TokenBucket | undefined;
  private readonly bytes: TokenBucket | undefined;
  private isOpenNow = true;

  constructor(options: RateLimitOptions, nowMs: number) {
    const burst = (options.burstMs ?? BURST_MS) / 1000;
    const { iops, bytesPerSecond } = options;
    if (iops !== undefined) this.operations = new TokenBucket(iops, Math.max(1, iops * burst), nowMs);
    if (bytesPerSecond !== undefined) {
      this.bytes = new TokenBucket(bytesPerSecond, Math.max(512, bytesPerSecond * burst), nowMs);
    }
    if (this.operations !== undefined) this.buckets.push(this.operations);
    if (this.bytes !== undefined) this.buckets.push(this.bytes);
  }

  /** Whether another operation may be taken, as of the last `refill` and what was charged since. */
  get hasTokens(): boolean {
    return this.isOpenNow;
  }

  /** Let tokens flow in. @returns whether something may be taken */
  refill(nowMs: number): boolean {
    this.isOpenNow = this.buckets.every((bucket) => bucket.isOpen(nowMs));
    return this.isOpenNow;
  }

  /** Charge one operation of `lengthBytes`. */
  charge(lengthBytes: number): void {
    this.operations?.charge(1);
    this.bytes?.charge(lengthBytes);
    if (this.buckets.some((bucket) => !bucket.hasTokens)) this.isOpenNow = false;
  }

  /** The time at which another operation may be taken. */
  opensAtMs(nowMs: number): number {
    return Math.max(...this.buckets.map((bucket) => bucket.opensAtMs(nowMs)));
  }
}
