// The shared half of a message channel: where each word lies, who writes it, what an end's state word means.
//
//   line (128 bytes each)
//     0  geometry: magic, version, capacity, lanes, flags                     [CREATOR], constant
//     1  receiver: state, heartbeat                                           [RECEIVER]; `died` also [WATCHER]
//     2  bell: the receiver sleeps on it; rung when asked for                 [SENDERS, WATCHER]
//     3  reason of the receiver's failure: length, UTF-16 units               [RECEIVER]
//   then six lines for each lane; a lane belongs to one sender
//     0  tail: bytes published up to, not including, this position            [SENDER]
//     1  head: bytes consumed up to, not including, this position             [RECEIVER]
//     2  dataEvent: ring when tail moves across it                            [RECEIVER]
//     3  sender: state, heartbeat; roomEvent: ring when head moves across it  [SENDER]; `died` also [WATCHER]
//     4  room bell: the sender sleeps on it                                   [RECEIVER, WATCHER]
//     5  reason of the sender's failure                                       [SENDER]
//   an end is three lines, wherever it lies: state and heartbeat, the bell it sleeps on, its reason
//   then, for each lane, `capacity` bytes of records:
//     record = { length i32, tag i32, payload, zero to seven bytes of padding to a multiple of 8 }
//     a length of -1 says: nothing more up to the end of the lane, go on at its start
//
// Positions are free-running u32 byte counts, multiples of 8; they wrap, and are masked only to form an address. Events are
// Xen's event indices (io/ring.h): after publishing `new` over `old`, ring iff the event lies in (old, new].
import { RingError } from './error.ts';
import { currentThread } from './system-adapter.ts';

/** Words in one line: two cache lines, for adjacent-line prefetch and 128-byte lines. */
const LINE = 32;
/** Bytes in one line. */
export const LINE_BYTES = 128;

/** Constant words of line 0. */
export const MAGIC = 0;
/** Layout version; the capacity of a lane and the number of lanes follow. */
export const VERSION = 1;
/** `RESUMABLE` or 0. */
export const FLAGS = 4;
/** What MAGIC holds: "CHAN". */
export const CHANNEL_MAGIC = 0x4e414843;
/** The layout described in this file. */
export const CHANNEL_VERSION = 1;
/** Flag: an end that is over may be opened again and goes on where the last one stopped. */
export const RESUMABLE = 1;

/** Tell whether the ends of this channel may be opened again once they are over. */
export function isResumable(control: Int32Array): boolean {
  return ((control[FLAGS] as number) & RESUMABLE) !== 0; // in range: the words begin with the geometry
}

/** State word of the receiver. */
export const RECEIVER_STATE = LINE;
/** The receiver's bell. */
export const BELL = 2 * LINE;

/** Heartbeat of an end, relative to its state word. */
export const BEAT = 1;
/** The bell that an end sleeps on, relative to its state word. */
export const END_BELL = LINE;
/** First word of an end's reason, relative to its state word. */
export const REASON = 2 * LINE;

/** Words of a lane, relative to `laneAt`. */
export const TAIL = 0;
/** Position of the receiver. */
export const HEAD = LINE;
/** The receiver asks to be woken when `tail` moves across this position. */
export const DATA_EVENT = 2 * LINE;
/** State word of the sender. */
export const SENDER_STATE = 3 * LINE;
/** The sender asks to be woken when `head` moves across this position. */
export const ROOM_EVENT = 3 * LINE + 2;

/** Bytes of a record before its payload. */
export const RECORD_HEADER_BYTES = 8;
/** Length that marks the unused rest of a lane. */
export const PADDING = -1;
/** Smallest capacity. */
export const MIN_CAPACITY_BYTES = 64;
/** Largest capacity: positions of a lane must stay comparable as u32. */
export const MAX_CAPACITY_BYTES = 0x40000000;
/** Most lanes. */
export const MAX_LANES = 1024;

/** First control word of a lane. */
export function laneAt(lane: number): number {
  return 4 * LINE + 6 * LINE * lane; // four lines before the lanes, six for each
}

/** State word of a lane's sender. */
export function senderStateAt(lane: number): number {
  return laneAt(lane) + SENDER_STATE;
}

/** Bytes of control words in front of the records. */
export function controlBytes(lanes: number): number {
  return laneAt(lanes) * 4;
}

/** Bytes of a whole channel. */
export function channelBytes(capacityBytes: number, lanes: number): number {
  return controlBytes(lanes) + capacityBytes * lanes;
}

/** Bytes that a message of `length` bytes takes in a lane. */
export function recordBytes(length: number): number {
  return (length + RECORD_HEADER_BYTES + 7) & ~7;
}

/** State of an end: never opened. */
export const END_FREE = 0;
/** State of an end: in use. */
export const END_OPEN = 1;
/** State of an end: closed in order. */
export const END_CLOSED = 2;
/** State of an end: failed, with a reason. */
export const END_FAILED = 3;
/** State of an end: its thread died. */
export const END_DIED = 4;

// A state word: state in bits 0 to 2, generation in bits 3 to 10, thread in bits 11 to 31.
const STATE_MASK = 7;
const THREAD_MASK = 0x1fffff;

/** Compose a state word: one word, so that identity and state change in a single step. */
export function endWord(state: number, generation: number, thread: number): number {
  return (thread << 11) | ((generation & 255) << 3) | state;
}

/** State in a state word: one of `END_…`, or garbage up to 7 from a hostile peer. */
export function stateOf(word: number): number {
  return word & STATE_MASK;
}

/** Generation in a state word: 0 to 255; counts how often the end was opened. */
export function generationOf(word: number): number {
  return (word >>> 3) & 255;
}

/** Thread in a state word: the low 21 bits of its `currentThread()`. */
export function threadOf(word: number): number {
  return word >>> 11;
}

/** Tell whether the end of this state word is open on the running thread. */
export function isOpenHere(word: number): boolean {
  return stateOf(word) === END_OPEN && threadOf(word) === (currentThread() & THREAD_MASK);
}

/** The thread field that the end of `worker` carries, from Node's `worker.threadId`. */
export function threadField(threadId: number): number {
  return (threadId + 1) & THREAD_MASK;
}

/** The same word with another state. */
export function withState(word: number, state: number): number {
  return (word & ~STATE_MASK) | state;
}

const REASON_UNITS = 2 * (LINE - 1);

function reasonUnits(control: Int32Array, stateAt: number): Uint16Array {
  return new Uint16Array(control.buffer, control.byteOffset + 4 * (stateAt + REASON + 1), REASON_UNITS);
}

/** Write the reason of an end, cut to 62 UTF-16 units, before its state word says that there is one. */
export function writeReason(control: Int32Array, stateAt: number, reason: string): void {
  const units = reasonUnits(control, stateAt);
  for (let i = 0; i < REASON_UNITS; i += 1) units[i] = reason.charCodeAt(i); // NaN past its end, written as 0
  control[stateAt + REASON] = reason.length;
}

/** Read the reason of an end; any shared bytes yield some string of at most 62 units. */
export function readReason(control: Int32Array, stateAt: number): string {
  const length = Math.min((control[stateAt + REASON] as number) >>> 0, REASON_UNITS); // in range: the line is part of the header
  return String.fromCharCode(...reasonUnits(control, stateAt).subarray(0, length));
}

/**
 * Check a channel's geometry.
 *
 * @throws {RingError} `CHANNEL_CAPACITY` or `CHANNEL_LANES`.
 */
export function checkGeometry(capacityBytes: number, lanes: number): void {
  const isPowerOfTwo = 2 ** (31 - Math.clz32(capacityBytes)) === capacityBytes;
  if (!isPowerOfTwo || capacityBytes < MIN_CAPACITY_BYTES || capacityBytes > MAX_CAPACITY_BYTES) {
    throw new RingError(
      'CHANNEL_CAPACITY',
      `Cannot lay out a channel of ${capacityBytes} bytes: not a power of two from 64 to 2^30`,
      { capacityBytes },
    );
  }
  if (!Number.isInteger(lanes) || lanes < 1 || lanes > MAX_LANES) {
    throw new RingError('CHANNEL_LANES', `Cannot serve ${lanes} producers: not 1 to 1024`, { lanes });
  }
}
