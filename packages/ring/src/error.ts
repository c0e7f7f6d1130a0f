// The error classes that every package shares: one base, a stable code, structured data.

/** Plain values that explain an error: what was asked, what was found, what the limit is. */
export type ErrorData = Readonly<Record<string, string | number | boolean | undefined>>;

/**
 * Base of every error that this project throws on purpose. Programs switch on `code`, people read `message`.
 *
 * @example
 * try { attach(); } catch (error) { if (error instanceof SplitringError && error.code === 'RING_TOO_SMALL') retry(); }
 */
export class SplitringError extends Error {
  /** Stable name of the cause, listed in docs/errors.md. */
  readonly code: string;
  /** The values that the message speaks of. */
  readonly data: ErrorData;

  /** Create an error with a stable code; `cause` is the error that led here, if any. */
  constructor(code: string, message: string, data: ErrorData = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.data = data;
  }
}

/** The caller misused a ring or a channel; thrown before any state changes. */
export class RingError extends SplitringError {}

/** The peer broke the protocol: its connection is over, nothing else is. Never thrown out of a drain loop. */
export class ProtocolError extends SplitringError {}

/** This code is wrong: a promise that it makes to itself does not hold. */
export class InvariantError extends SplitringError {}
