// The Network Block Device protocol's numbers and messages. github.com/NetworkBlockDevice/nbd doc/proto.md

/** "NBDMAGIC", then "IHAVEOPT". */
export const NBDMAGIC = 0x4e42444d41474943n;
/** Before every option. */
export const IHAVEOPT = 0x49484156454f5054n;
/** Before every option's reply. */
export const OPTION_REPLY_MAGIC = 0x3e889045565a9n;
/** Before every request. */
export const REQUEST_MAGIC = 0x25609513;
/** Before every simple reply. */
export const SIMPLE_REPLY_MAGIC = 0x67446698;
/** Before every structured reply. */
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

/** Handshake flags; the client answers with those that it took. */
export const NBD_HANDSHAKE = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;
/** Options of a client. */
export const NBD_OPT = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
} as const;
/** Replies to options. */
export const NBD_REP = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x80000001,
  ERR_INVALID: 0x80000003,
  ERR_UNKNOWN: 0x80000006,
} as const;
/** Kinds of NBD_REP_INFO. */
export const NBD_INFO = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;
/** Abilities of an export. */
export const NBD_FLAG = {
  HAS_FLAGS: 1,
  READ_ONLY: 2,
  SEND_FLUSH: 4,
  SEND_FUA: 8,
  SEND_TRIM: 32,
  SEND_WRITE_ZEROES: 64,
  SEND_DF: 128,
  CAN_MULTI_CONN: 256,
} as const;
/** Commands. */
export const NBD_CMD = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const;
/** Flags of commands. */
export const NBD_CMD_FLAG = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8 } as const;
/** Errors of commands. */
export const NBD_ERROR = {
  EPERM: 1,
  EIO: 5,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;
/** One of the values of {@link NBD_ERROR}, or 0. */
export type NbdError = 0 | (typeof NBD_ERROR)[keyof typeof NBD_ERROR];
/** States of `base:allocation`. */
export const NBD_STATE = { HOLE: 1, ZERO: 2 } as const;
/** Flag of a structured reply that no other follows for the same request. */
const LAST_CHUNK = 1;
/** Structured reply types. */
export const NBD_REPLY_TYPE = { NONE: 0, OFFSET_DATA: 1, BLOCK_STATUS: 5, ERROR: 0x8001 } as const;

/** Most bytes of one read or write: what clients may expect of every server. */
export const MAX_PAYLOAD = 32 << 20;
/** Bytes of a request's header. */
export const REQUEST_BYTES = 28;
/** Bytes of an option's header. */
export const OPTION_BYTES = 16;
/** The only metadata context there is, and its id. */
export const BASE_ALLOCATION = { name: 'base:allocation', id: 1 } as const;

const encoder = new TextEncoder();

/** Big-endian fields, one after the other: `[value, bytes]` numbers, strings, raw bytes. */
export type Field = readonly [value: number | bigint, bytes: 2 | 4 | 8] | string | Uint8Array;

/** Join fields to one message. */
export function message(...fields: readonly Field[]): Uint8Array {
  const parts = fields.map((field) => {
    if (typeof field === 'string') return encoder.encode(field);
    if (field instanceof Uint8Array) return field;
    const [value, bytes] = field;
    const view = new DataView(new ArrayBuffer(bytes));
    if (bytes === 8) view.setBigUint64(0, BigInt(value));
    else if (bytes === 4) view.setUint32(0, Number(value));
    else view.setUint16(0, Number(value));
    return new Uint8Array(view.buffer);
  });
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.byteLength;
  }
  return all;
}

/** A request of a client. */
export interface NbdRequest {
  readonly flags: number;
  readonly type: number;
  readonly cookie: bigint;
  readonly offset: bigint;
  readonly lengthBytes: number;
}

/** Read a request's header. @returns undefined if the magic is wrong: the stream cannot be followed any more */
export function parseRequest(bytes: Uint8Array): NbdRequest | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== REQUEST_MAGIC) return undefined;
  return {
    flags: view.getUint16(4),
    type: view.getUint16(6),
    cookie: view.getBigUint64(8),
    offset: view.getBigUint64(16),
    lengthBytes: view.getUint32(24),
  };
}

/** Bytes of a simple reply's header. */
const SIMPLE_REPLY_BYTES = 16;
/** Bytes of a structured reply's header and the offset that data begins with. */
const DATA_CHUNK_BYTES = 28;

/**
 * The answer to a read, made before its data is there: the reply as a whole, and the part of it to read into.
 * @param isStructured whether the client has asked for structured replies
 */
export function readReply(request: NbdRequest, isStructured: boolean): { reply: Uint8Array; data: Uint8Array } {
  const { cookie, offset, lengthBytes } = request;
  const headBytes = isStructured ? DATA_CHUNK_BYTES : SIMPLE_REPLY_BYTES;
  const reply = new Uint8Array(headBytes + lengthBytes);
  const view = new DataView(reply.buffer, 0, headBytes);
  if (isStructured) {
    view.setUint32(0, STRUCTURED_REPLY_MAGIC);
    view.setUint16(4, LAST_CHUNK);
    view.setUint16(6, NBD_REPLY_TYPE.OFFSET_DATA);
    view.setBigUint64(8, cookie);
    view.setUint32(16, 8 + lengthBytes);
    view.setBigUint64(20, offset);
  } else {
    view.setUint32(0, SIMPLE_REPLY_MAGIC);
    view.setBigUint64(8, cookie); // no error between them
  }
  return { reply, data: reply.subarray(headBytes) };
}

/** A simple reply's header; data of a successful read follows. */
export function simpleReply(error: NbdError, cookie: bigint): Uint8Array {
  return message([SIMPLE_REPLY_MAGIC, 4], [error, 4], [cookie, 8]);
}

/** A structured reply that is the last of its request; `payload` includes what its type demands. */
export function structuredReply(type: number, cookie: bigint, payloadBytes: number, head: Uint8Array): Uint8Array {
  return message([STRUCTURED_REPLY_MAGIC, 4], [LAST_CHUNK, 2], [type, 2], [cookie, 8], [payloadBytes, 4], head);
}
