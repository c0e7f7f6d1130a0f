// The xenstore wire: message header, operations, error names, and the shared page. xen/include/public/io/xs_wire.h

/** Message types. 20 is unused; 23 … 26 are the newest ones. */
export const XS = {
  CONTROL: 0,
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  INTRODUCE: 8,
  RELEASE: 9,
  GET_DOMAIN_PATH: 10,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  IS_DOMAIN_INTRODUCED: 17,
  RESUME: 18,
  SET_TARGET: 19,
  RESET_WATCHES: 21,
  DIRECTORY_PART: 22,
  GET_FEATURE: 23,
  SET_FEATURE: 24,
  GET_QUOTA: 25,
  SET_QUOTA: 26,
} as const;
/** One of the values of {@link XS}. */
export type XsType = (typeof XS)[keyof typeof XS];

/** Bytes of a message header: type, req_id, tx_id, len, each a little-endian u32. */
export const XS_HEADER_BYTES = 16;
/** Most bytes of a payload; a longer `len` ends the connection. */
export const XENSTORE_PAYLOAD_MAX = 4096;
/** Longest absolute path, relative ones counted after expansion. */
export const XENSTORE_ABS_PATH_MAX = 3072;
/** Longest relative path. */
export const XENSTORE_REL_PATH_MAX = 2048;

/** The error names that may travel; anything else is sent as EINVAL. */
export const XS_ERRORS = [
  'EINVAL',
  'EACCES',
  'EEXIST',
  'EISDIR',
  'ENOENT',
  'ENOMEM',
  'ENOSPC',
  'EIO',
  'ENOTEMPTY',
  'ENOSYS',
  'EROFS',
  'EBUSY',
  'EAGAIN',
  'EISCONN',
  'E2BIG',
  'EPERM',
] as const;
/** One of the names in {@link XS_ERRORS}. */
export type XsErrorName = (typeof XS_ERRORS)[number];

/** Bytes in each of the page's two rings; indices are masked by this minus one. */
export const XENSTORE_RING_SIZE = 1024;
/**
 * Byte offsets in the shared page. Indices are free-running u32 and need not start at 0.
 * Writers: `reqProd`, `rspCons`, the request ring [GUEST]; `reqCons`, `rspProd`, the response ring, `serverFeatures`,
 * `error`, `evtchnPort` [STORE]; `connection`: 1 only by the guest, 0 only by the store.
 */
export const XS_PAGE = {
  req: 0,
  rsp: 1024,
  reqCons: 2048,
  reqProd: 2052,
  rspCons: 2056,
  rspProd: 2060,
  serverFeatures: 2064,
  connection: 2068,
  error: 2072,
  evtchnPort: 2076,
  sizeBytes: 2080,
} as const;

/** Bits of `serverFeatures`; never withdrawn once set, unknown bits are ignored. */
export const XS_FEATURE = { reconnection: 1, error: 2, watchDepth: 4 } as const;
/** Those that the server of this project offers. */
export const XS_FEATURES_OFFERED: number = XS_FEATURE.reconnection | XS_FEATURE.error | XS_FEATURE.watchDepth;
/** Values of `connection`. */
export const XS_CONNECTION = { connected: 0, reconnect: 1 } as const;
/** Values of the error word. */
export const XS_PAGE_ERROR = { none: 0, event: 1, indices: 2, message: 3 } as const;

/** A message header, filled in place so that reading one allocates nothing. */
export interface XsHeader {
  /** Message type, any u32. */
  type: number;
  /** Chosen by the client, repeated in the answer; 0 in events. */
  reqId: number;
  /** Transaction, or 0. */
  txId: number;
  /** Bytes of payload that follow, any u32. */
  lengthBytes: number;
}

/** Write a header into the first 16 bytes of `bytes`. */
export function writeXsHeader(bytes: Uint8Array, header: Readonly<XsHeader>): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, XS_HEADER_BYTES);
  view.setUint32(0, header.type, true);
  view.setUint32(4, header.reqId, true);
  view.setUint32(8, header.txId, true);
  view.setUint32(12, header.lengthBytes, true);
}

/** Read the header in the first 16 bytes of `bytes` (private memory) into `header`. */
export function readXsHeader(bytes: Uint8Array, header: XsHeader): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, XS_HEADER_BYTES);
  header.type = view.getUint32(0, true);
  header.reqId = view.getUint32(4, true);
  header.txId = view.getUint32(8, true);
  header.lengthBytes = view.getUint32(12, true);
}

/**
 * A whole message; the payload is text with one byte per character (latin1).
 * @throws RangeError if the payload is over 4096 bytes or has a character above U+00FF
 */
export function encodeXsMessage(type: number, reqId: number, txId: number, payload: string): Uint8Array {
  if (payload.length > XENSTORE_PAYLOAD_MAX) throw new RangeError(`xenstore payload of ${payload.length} bytes`);
  const bytes = new Uint8Array(XS_HEADER_BYTES + payload.length);
  writeXsHeader(bytes, { type, reqId, txId, lengthBytes: payload.length });
  for (let i = 0; i < payload.length; i++) {
    const code = payload.charCodeAt(i);
    if (code > 0xff) throw new RangeError(`xenstore text holds the character U+${code.toString(16)}, not a byte`);
    bytes[XS_HEADER_BYTES + i] = code;
  }
  return bytes;
}

/** Bytes as text, one character per byte (latin1, not windows-1252 as TextDecoder has it). */
export function latin1(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 1024) text += String.fromCharCode(...bytes.subarray(at, at + 1024));
  return text;
}
