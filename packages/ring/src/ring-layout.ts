// The shared half of a Xen request/response ring: where each word lies, who writes it, how many slots fit.
//
//   byte   0         4           8         12          16          20            64
//          +---------+-----------+---------+-----------+-----------+-------------+----------+----------+--
//          | reqProd | reqEvent  | rspProd | rspEvent  | historic  | zero        | slot 0   | slot 1   | …
//          +---------+-----------+---------+-----------+-----------+-------------+----------+----------+--
//          [FRONT]   [BACK]      [BACK]    [FRONT]     (write 0, ignore)          requests [FRONT], responses [BACK]
//
// All words are little-endian u32 that run freely and wrap; slot i lies at 64 + (i & (slots - 1)) * slotBytes.
// Source: xen/include/public/io/ring.h.
import { RingError } from './error.ts';

/** Bytes of one page: rings occupy whole pages, each covered by one grant. */
export const PAGE_BYTES = 4096;
/** Bytes before the first slot. */
export const RING_HEADER_BYTES = 64;
/** Word of the header, written by the front end [FRONT]: requests published up to, not including, this index. */
export const REQ_PROD = 0;
/** Word of the header, written by the back end [BACK]: notify when `reqProd` moves across this index. */
export const REQ_EVENT = 1;
/** Word of the header, written by the back end [BACK]: responses published up to, not including, this index. */
export const RSP_PROD = 2;
/** Word of the header, written by the front end [FRONT]: notify when `rspProd` moves across this index. */
export const RSP_EVENT = 3;
/** Index words in the header. */
export const INDEX_WORDS = 4;

/**
 * Tell how far index `a` is ahead of index `b`, both u32 that wrap: 0 to 2^32 - 1.
 *
 * Every comparison of ring indices goes through this difference; a signed or direct comparison breaks at 2^31 or 2^32.
 */
export function distance(a: number, b: number): number {
  return (a - b) >>> 0;
}

/**
 * Tell how many slots of `slotBytes` a ring of `bytes` (header included) holds: the largest power of two that fits.
 *
 * @returns 0 if not even one slot fits: refuse such a ring.
 * @see xen/include/public/io/ring.h, __RING_SIZE
 */
export function ringSlots(bytes: number, slotBytes: number): number {
  const fitting = Math.floor((bytes - RING_HEADER_BYTES) / slotBytes); // round the quotient down first
  return fitting >= 1 ? 1 << (31 - Math.clz32(fitting)) : 0; // not `**`: its double would stay one in every field
}

/** Tell whether `buffer` is shared memory, whatever realm or WebAssembly.Memory it comes from. */
export function isSharedBuffer(buffer: unknown): buffer is SharedArrayBuffer {
  return Object.prototype.toString.call(buffer) === '[object SharedArrayBuffer]';
}

/**
 * Check that `region` can carry a ring of `slotBytes` and return its slot count.
 *
 * @throws RingError `RING_NOT_SHARED`, `RING_MISALIGNED`, `RING_SLOT_BYTES` or `RING_TOO_SMALL`; nothing is written.
 */
export function checkRegion(region: Uint8Array, slotBytes: number): number {
  checkShared(region);
  if (!Number.isSafeInteger(slotBytes) || slotBytes < 1) {
    throw new RingError('RING_SLOT_BYTES', `Cannot make slots of ${slotBytes} bytes: not a positive integer`, {
      slotBytes,
    });
  }
  const slots = ringSlots(region.byteLength, slotBytes);
  if (slots === 0) {
    throw new RingError('RING_TOO_SMALL', `Cannot fit a slot of ${slotBytes} bytes into ${region.byteLength} bytes`, {
      slotBytes,
      regionBytes: region.byteLength,
    });
  }
  return slots;
}

/**
 * Check that `region` lies in shared memory at a word boundary.
 *
 * @throws RingError `RING_NOT_SHARED` or `RING_MISALIGNED`.
 */
export function checkShared(region: Uint8Array): void {
  if (!ArrayBuffer.isView(region) || !isSharedBuffer(region.buffer)) throw notShared();
  if (region.byteOffset % 4 !== 0) {
    throw new RingError('RING_MISALIGNED', `Cannot use a region at byte ${region.byteOffset}: not a multiple of 4`, {
      byteOffset: region.byteOffset,
    });
  }
}

/** The error for memory that is not shared. */
export function notShared(): RingError {
  return new RingError('RING_NOT_SHARED', 'Cannot use this memory: it is not in a SharedArrayBuffer');
}

/**
 * Make `region` an empty ring: every byte zero, `reqEvent = rspEvent = 1`. Only the front end does this, before it grants.
 *
 * Shared words: writes the whole region, slots included, so that nothing of its earlier use leaks (XSA-403).
 * @throws RingError if the region is not shared, not aligned, or no longer than the header.
 * @see xen/include/public/io/ring.h, SHARED_RING_INIT
 */
export function initRing(region: Uint8Array): void {
  checkRegion(region, 1);
  region.fill(0);
  const indexes = new Int32Array(region.buffer, region.byteOffset, INDEX_WORDS);
  Atomics.store(indexes, REQ_EVENT, 1);
  Atomics.store(indexes, RSP_EVENT, 1);
}

/** What both ends can see of a ring, and one end's private indices; plain numbers, unsigned. */
export interface RingSnapshot {
  /** Slots in the ring. */
  readonly slots: number;
  /** Shared words as they were at one look each. */
  readonly reqProd: number;
  /** `req_event`: the back end wants an event when `req_prod` reaches it. */
  readonly reqEvent: number;
  /** `rsp_prod`: responses published by the back end. */
  readonly rspProd: number;
  /** `rsp_event`: the front end wants an event when `rsp_prod` reaches it. */
  readonly rspEvent: number;
  /** This end's producer: `reqProdPvt` of a front end, `rspProdPvt` of a back end. */
  readonly prodPvt: number;
  /** This end's consumer: `rspCons` of a front end, `reqCons` of a back end. */
  readonly cons: number;
  /** The code of the protocol breach that ended this ring's use, if any. */
  readonly broken: string | undefined;
}

/** Look at a ring's shared words, each once, and note one end's private state beside them. Writes nothing. */
export function snapshotRing(
  indexes: Int32Array,
  slots: number,
  prodPvt: number,
  cons: number,
  broken: string | undefined,
): RingSnapshot {
  const word = (index: number): number => Atomics.load(indexes, index) >>> 0;
  return {
    slots,
    reqProd: word(REQ_PROD),
    reqEvent: word(REQ_EVENT),
    rspProd: word(RSP_PROD),
    rspEvent: word(RSP_EVENT),
    prodPvt: prodPvt >>> 0,
    cons: cons >>> 0,
    broken,
  };
}
