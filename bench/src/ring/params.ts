// Parameters that the ring suite's subjects share, and the messages they all carry.

/** A one-way case: message size, slots of a fixed ring, messages per publication. */
export interface OnewayParams extends Readonly<Record<string, string | number | boolean>> {
  readonly bytes: number;
  readonly slots: number;
  readonly batch: number;
  /** Which variant of the subject. */
  readonly variant: string;
}

/** A pipelined case: requests in flight, and how both ends wait. */
export interface PipelinedParams extends Readonly<Record<string, string | number | boolean>> {
  readonly depth: number;
  readonly wait: string;
  /** Time each request by itself (a round trip), instead of all together. */
  readonly timed: boolean;
  /** Which peer, for the modules that hold several. */
  readonly peer: string;
}

/** Bytes of a request in the pipelined cases: a blkif slot. */
export const REQUEST_BYTES = 112;

/** Bytes of a response. */
export const RESPONSE_BYTES = 16;

/** Requests published at once, at most. */
export const REQUEST_BATCH = 32;

/**
 * Prepared messages, as the native subject has them: 64 small, 16 medium or 4 large ones that the producer goes through.
 * They are written long before they are sent, so that no copy waits for the store of a header just written.
 */
export function preparedMessages(bytes: number, memory: ArrayBufferLike, offset = 0): Uint8Array {
  const all = new Uint8Array(memory, offset, preparedCount(bytes) * bytes);
  for (let i = 0; i < all.length; i++) all[i] = i * 31 + (i >> 8);
  return all;
}

/** How many messages {@link preparedMessages} makes; a power of two. */
export function preparedCount(bytes: number): number {
  if (bytes <= 112) return 64;
  return bytes <= 1024 ? 16 : 4;
}
