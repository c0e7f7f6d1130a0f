// What the ends of a channel take as options and tell as outcomes.
import type { BlockingStrategy, Clock } from './wait.ts';

/**
 * How a channel, or one end of it, came to its end: in order; with a reason that one end gave; or because the thread of
 * the peer is gone, as its owner found out.
 */
export type Ending =
  | { readonly kind: 'closed' }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'died' };

/** The part of an AbortSignal that a wait needs. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** Bounds of a blocking wait. */
export interface TimeoutOption {
  /** Give up after so many milliseconds (default: never). */
  readonly timeoutMs?: number | undefined;
}

/** Bounds of an asynchronous wait. */
export interface WaitOptions extends TimeoutOption {
  /** Give up when this signal aborts: the call rejects with its reason. */
  readonly signal?: AbortSignalLike | undefined;
}

/** How one end behaves. */
export interface EndOptions {
  /** How it waits (default: `spinThenWait()`); to be awaited too, the end needs a `WaitStrategy`. */
  readonly wait?: BlockingStrategy | undefined;
  /** Clock for timeouts (default: the platform's). */
  readonly clock?: Clock | undefined;
}

/** When messages become visible to the receiver. */
export type PublishPolicy =
  /**
   * The first message of a burst at once, later ones in growing batches, the rest at the end of the turn, or when this
   * thread waits or finds a receiver empty (default).
   */
  | 'auto'
  /** Every message at once: lowest latency for a synchronous sender, at three times the cost per message. */
  | 'each'
  /** Only by `flush`, `close`, a wait of this sender, or when the lane is full. */
  | 'manual';

/** How a sender behaves, apart from waiting. */
export interface SenderOptions {
  /** When messages become visible (default `auto`). */
  readonly publish?: PublishPolicy | undefined;
}

/** Options of a send that waits for room. */
export interface SendOptions extends WaitOptions {
  /** Number that travels with the message (i32, default 0). */
  readonly tag?: number | undefined;
}
