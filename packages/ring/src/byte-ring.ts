// Rings of bytes: the console page, the xenstore page and Xen's flexible rings (9pfs, pvcalls).
//
// One direction is a buffer of 2^k bytes and two free-running u32 indices. Queued bytes = prod - cons, compared before
// any masking: masked first, "full" looks like "empty". There is no event index here: notify after every update.
import { ProtocolError, RingError } from './error.ts';
import { checkIndex } from './front-ring.ts';
import { checkShared, distance } from './ring-layout.ts';

/** Where one direction of a byte ring lies in its region; bytes from the region's start. */
export interface ByteRingLayout {
  /** First byte of the data; the region may hold other things around it. */
  readonly buf: number;
  /** Bytes of data, a power of two. */
  readonly sizeBytes: number;
  /** The producer's index word [PRODUCER]. */
  readonly prod: number;
  /** The consumer's index word [CONSUMER]. */
  readonly cons: number;
}

/** The console page (`xencons_interface`): `in` runs from the back end to the guest, `out` the other way. */
export const CONSOLE_PAGE: { readonly in: ByteRingLayout; readonly out: ByteRingLayout } = {
  in: { buf: 0, sizeBytes: 1024, cons: 3072, prod: 3076 },
  out: { buf: 1024, sizeBytes: 2048, cons: 3080, prod: 3084 },
};

/** The xenstore page (`xenstore_domain_interface`): `req` runs to the server, `rsp` to the guest. */
export const XENSTORE_PAGE: { readonly req: ByteRingLayout; readonly rsp: ByteRingLayout } = {
  req: { buf: 0, sizeBytes: 1024, cons: 2048, prod: 2052 },
  rsp: { buf: 1024, sizeBytes: 1024, cons: 2056, prod: 2060 },
};

/**
 * Lay out a flexible ring (`DEFINE_XEN_FLEX_RING`) of `2^order` data pages: the first half is `in` (to the front end),
 * the second `out`. Indices lie in the interface page, data in its own pages: pass both regions to the ends.
 *
 * @throws RingError `RING_ORDER` unless `order` is 0 to 9.
 */
export function flexRingLayout(order: number): { readonly in: ByteRingLayout; readonly out: ByteRingLayout } {
  if (!Number.isInteger(order) || order < 0 || order > 9) {
    throw new RingError('RING_ORDER', `Cannot lay out a ring of order ${order}: not in 0 to 9`, { order });
  }
  const sizeBytes = 2 ** (order + 11);
  return {
    in: { buf: 0, sizeBytes, cons: 0, prod: 4 },
    out: { buf: sizeBytes, sizeBytes, cons: 64, prod: 68 },
  };
}

/** How to attach to one direction of a byte ring. */
export interface ByteRingOptions {
  /** Where the data lies, if not in the region of the indices (flexible rings). */
  readonly data?: Uint8Array;
  /** Name used in errors. */
  readonly name?: string;
  /** Own index to start at, u32, if not the one in the region now (which the peer might have set: then `broken` tells). */
  readonly at?: number;
}

/** What producer and consumer share: views, the own index, and the judgement of the peer's. */
abstract class ByteRingEnd {
  /** Bytes that fit. */
  readonly sizeBytes: number;
  /** Name used in errors. */
  readonly name: string;
  /** Why this ring is no longer used; set once, when the indices were inconsistent. */
  broken: ProtocolError | undefined;
  protected readonly words: Int32Array;
  protected readonly data: Uint8Array;
  protected own: number;
  private readonly ownWord: number;
  private readonly peerWord: number;

  constructor(region: Uint8Array, layout: ByteRingLayout, isProducer: boolean, options: ByteRingOptions) {
    const data = options.data ?? region;
    checkShared(region);
    checkShared(data);
    checkLayout(region, data, layout);
    this.sizeBytes = layout.sizeBytes;
    this.name = options.name ?? 'byte ring';
    this.broken = undefined;
    this.words = new Int32Array(region.buffer, region.byteOffset, region.byteLength >> 2);
    this.data = new Uint8Array(data.buffer, data.byteOffset + layout.buf, layout.sizeBytes);
    this.ownWord = (isProducer ? layout.prod : layout.cons) >> 2;
    this.peerWord = (isProducer ? layout.cons : layout.prod) >> 2;
    this.own = options.at === undefined ? Atomics.load(this.words, this.ownWord) : checkIndex(options.at);
  }

  /**
   * Bytes queued, given `sign` 1 for a producer and -1 for a consumer; -1 when the ring is broken.
   *
   * Loads the peer's index, and our own word only to see whether somebody else wrote it: it is never taken back.
   */
  protected queued(isProducer: boolean): number {
    if (this.broken !== undefined) return -1;
    const peer = Atomics.load(this.words, this.peerWord);
    const shared = Atomics.load(this.words, this.ownWord);
    const bytes = isProducer ? distance(this.own, peer) : distance(peer, this.own);
    if (shared !== this.own) return this.breakRing('RING_INDEX_OVERWRITTEN', 'own index', shared, this.own);
    if (bytes > this.sizeBytes) return this.breakRing('RING_INDEX_INCONSISTENT', 'peer index', peer, this.own);
    return bytes;
  }

  /** Publish the own index: bytes before it are written (producer) or free (consumer). */
  protected publish(bytes: number): void {
    this.own = (this.own + bytes) | 0;
    Atomics.store(this.words, this.ownWord, this.own);
  }

  private breakRing(code: string, field: string, value: number, expected: number): number {
    this.broken = new ProtocolError(
      code,
      `Cannot use ${this.name}: ${field} is ${value >>> 0}, ours is ${expected >>> 0}, size ${this.sizeBytes}`,
      { ring: this.name, field, value: value >>> 0, limit: expected >>> 0 },
    );
    return -1;
  }
}

/**
 * The writing end of a byte ring.
 *
 * @example
 * const out = new ByteRingProducer(page, CONSOLE_PAGE.out);
 * const accepted = out.write(text); // fewer than text.length: wait for the consumer, then go on
 * if (accepted > 0) notify();
 */
export class ByteRingProducer extends ByteRingEnd {
  /** Attach; shared words: reads the own index once. @throws RingError for a region or layout that cannot be used. */
  constructor(region: Uint8Array, layout: ByteRingLayout, options: ByteRingOptions = {}) {
    super(region, layout, true, options);
  }

  /** Bytes that `write` would accept now; -1 if the ring is broken. Shared words: reads both indices. */
  free(): number {
    const queued = this.queued(true);
    return queued < 0 ? -1 : this.sizeBytes - queued;
  }

  /**
   * Append as many of `bytes` as fit, in two chunks at the seam, and publish them.
   *
   * Shared words: reads both indices, writes data [PRODUCER], then the producer's index [PRODUCER].
   * @returns how many were accepted, 0 if full, -1 if the ring is broken. The caller notifies if any were.
   */
  write(bytes: Uint8Array): number {
    const free = this.free();
    if (free <= 0) return free;
    const count = Math.min(free, bytes.length);
    const at = this.own & (this.sizeBytes - 1);
    const first = Math.min(count, this.sizeBytes - at);
    this.data.set(bytes.subarray(0, first), at);
    if (first < count) this.data.set(bytes.subarray(first, count), 0);
    if (count > 0) this.publish(count);
    return count;
  }
}

/**
 * The reading end of a byte ring.
 *
 * @example
 * const count = consumer.read(buffer);
 * if (count > 0) notify(); // the producer may wait for room
 */
export class ByteRingConsumer extends ByteRingEnd {
  /** Attach; shared words: reads the own index once. @throws RingError for a region or layout that cannot be used. */
  constructor(region: Uint8Array, layout: ByteRingLayout, options: ByteRingOptions = {}) {
    super(region, layout, false, options);
  }

  /** Bytes that `read` could return now; -1 if the ring is broken. Shared words: reads both indices. */
  available(): number {
    return this.queued(false);
  }

  /**
   * Copy as many queued bytes as `into` holds, and free their room.
   *
   * Shared words: reads both indices and data [PRODUCER], then writes the consumer's index [CONSUMER].
   * @returns how many were read, 0 if empty, -1 if the ring is broken. The caller notifies if any were.
   */
  read(into: Uint8Array): number {
    const queued = this.queued(false);
    if (queued <= 0) return queued;
    const count = Math.min(queued, into.length);
    const at = this.own & (this.sizeBytes - 1);
    const first = Math.min(count, this.sizeBytes - at);
    into.set(this.data.subarray(at, at + first));
    if (first < count) into.set(this.data.subarray(0, count - first), first);
    if (count > 0) this.publish(count);
    return count;
  }
}

function checkLayout(region: Uint8Array, data: Uint8Array, layout: ByteRingLayout): void {
  const { buf, sizeBytes, prod, cons } = layout;
  const isPower = sizeBytes > 0 && sizeBytes <= 2 ** 31 && Number.isInteger(Math.log2(sizeBytes));
  const wordFits = (at: number) => at >= 0 && at % 4 === 0 && at + 4 <= region.byteLength;
  if (isPower && buf >= 0 && buf + sizeBytes <= data.byteLength && wordFits(prod) && wordFits(cons)) return;
  throw new RingError('RING_LAYOUT', 'Cannot attach to this byte ring: its layout does not fit the region', {
    buf,
    sizeBytes,
    prod,
    cons,
    regionBytes: region.byteLength,
    dataBytes: data.byteLength,
  });
}
