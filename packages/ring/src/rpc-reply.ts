// The bytes of a reply: an answer, or the message of the error that the handler threw.
import { RingError } from './error.ts';

/** First byte of a reply: whether the rest is the answer, or the message of the handler's error in UTF-16 units. */
const ANSWER = 0;
const FAILURE = 1;
const MAX_REASON_UNITS = 512;
/** Longest failure reply. */
export const MAX_FAILURE_BYTES = 1 + 2 * MAX_REASON_UNITS;

/** Wrap an answer into a reply. @throws {TypeError} if it is no array of bytes. */
export function wrapReply(answer: Uint8Array): Uint8Array {
  if (answer?.BYTES_PER_ELEMENT !== 1) throw new TypeError('the answer is no Uint8Array'); // from JavaScript
  const reply = new Uint8Array(answer.length + 1);
  reply[0] = ANSWER;
  reply.set(answer, 1);
  return reply;
}

/** Make the reply of a call whose handler threw, cut to `maxBytes`. */
export function failureReply(error: unknown, maxBytes: number): Uint8Array {
  const text = error instanceof Error ? error.message : String(error);
  const message = text.slice(0, (maxBytes - 1) >> 1);
  const reply = new Uint8Array(1 + 2 * message.length);
  reply[0] = FAILURE;
  for (let i = 0; i < message.length; i += 1) {
    reply[1 + 2 * i] = message.charCodeAt(i) & 0xff;
    reply[2 + 2 * i] = message.charCodeAt(i) >> 8;
  }
  return reply;
}

/** Open a reply. @throws {RingError} `CALL_FAILED` with the handler's message. */
export function unwrapReply(reply: Uint8Array): Uint8Array {
  if (reply[0] === ANSWER) return reply.subarray(1);
  let reason = '';
  for (let i = 1; i + 1 < reply.length; i += 2) {
    reason += String.fromCharCode((reply[i] as number) | ((reply[i + 1] as number) << 8)); // in range
  }
  throw new RingError('CALL_FAILED', `Cannot answer: ${reason}`, { reason });
}
