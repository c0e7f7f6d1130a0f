// Turns the private copy of a request into a typed one, or into the answer that refuses it.
// hot path: bench/src/block
import { BLOCK_OP, type BlockOp } from '@splitring/device';
import {
  BLKIF_DISCARD_SECURE,
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_OP_WRITE_FUA,
  BLKIF_OP_WRITE_ZEROES,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  BLKIF_SEGMENTS_PER_INDIRECT_PAGE,
  blkifRequest,
  blkifRequestDiscard,
  blkifRequestIndirect,
  blkifSegment,
  SECTORS_PER_PAGE,
} from '@splitring/hypervisor/io';
import type { BackRing } from 'sharedarraybuffer-ring';

/** Finds a page of indirect segments: the guest's words, or undefined if the reference is refused. */
export type SegmentPageReader = (ref: number) => Int32Array | undefined;

/** What a parser accepts: exactly what was offered to the guest. */
export interface OfferedFeatures {
  readonly hasFlush: boolean;
  readonly hasBarrier: boolean;
  readonly hasForceUnitAccess: boolean;
  readonly hasDiscard: boolean;
  readonly hasWriteZeroes: boolean;
  /** Segments of an indirect request; 0 if there are none. */
  readonly maxIndirectSegments: number;
}

const DISCARD = blkifRequestDiscard.get;
const INDIRECT = blkifRequestIndirect.get;
const SEGMENT_BYTES = blkifSegment.sizeof;
const SEGMENT_WORDS = SEGMENT_BYTES >> 2;
const SEGMENTS_AT = blkifRequest.offsets.seg;
// Words of the head that all requests share: operation and number of segments, id, first sector.
const HEAD = 0;
const ID = blkifRequest.offsets.id >> 2;
const SECTOR = blkifRequest.offsets.sectorNumber >> 2;
const TWO_32 = 2 ** 32;
/** High halves from here on make numbers that are no safe integers. */
const HIGH_LIMIT = 2 ** 21;
/** `firstSect` and `lastSect` of a segment that is a whole page, as they lie in a word. */
const WHOLE_PAGE = (SECTORS_PER_PAGE - 1) << 8;

/** Bytes of a request with one segment, the usual one: what a ring copies out before anybody asks for more. */
export const USUAL_REQUEST_BYTES = SEGMENTS_AT + SEGMENT_BYTES;

/** First sector in its page of a segment, given its entry of `spans`. */
export function spanFirst(span: number): number {
  return span & 0xff;
}

/** Sectors of a segment, given its entry of `spans`. */
export function spanSectors(span: number): number {
  return (span >>> 8) - (span & 0xff) + 1;
}

/** Parses requests of one ring into its own fields; nothing of a former request is left in those that count. */
export class BlkifParser {
  /** Low and high half of the guest's cookie, to be echoed; int32. */
  idLow = 0;
  idHigh = 0;
  /** Operation to be echoed: the inner one of an indirect request. */
  wireOp = 0;
  /** What to do. */
  op: BlockOp = BLOCK_OP.read;
  isForceUnitAccess = false;
  isBarrier = false;
  /** First 512-byte sector; NaN for 2^53 and above, which no range check lets through. */
  startSector = 0;
  /** Sectors of all segments, or of the range. */
  sectors = 0;
  /** Segments. */
  count = 0;
  /** Whether the segments leave gaps inside pages, so that one device command cannot carry them. */
  hasGaps = false;
  /** Grant reference of each segment. */
  readonly refs: Uint32Array;
  /** First and last sector of each segment in its page: see `spanFirst`, `spanSectors`. */
  readonly spans: Uint16Array;
  private readonly ring: BackRing;
  private readonly request: Int32Array;
  private readonly offered: OfferedFeatures;
  private readonly readSegmentPage: SegmentPageReader;

  /** Parse what `ring`, which copies USUAL_REQUEST_BYTES at once, takes. */
  constructor(ring: BackRing, offered: OfferedFeatures, readSegmentPage: SegmentPageReader) {
    this.ring = ring;
    this.request = ring.requestWords;
    this.offered = offered;
    this.readSegmentPage = readSegmentPage;
    const max = Math.max(offered.maxIndirectSegments, BLKIF_MAX_SEGMENTS_PER_REQUEST);
    this.refs = new Uint32Array(max);
    this.spans = new Uint16Array(max);
  }

  /**
   * Parse the request that the ring took last.
   * @returns BLKIF_RSP_OKAY, or the status to answer; `idLow`, `idHigh` and `wireOp` are set either way
   */
  parse(): number {
    const { request } = this;
    const head = request[HEAD] as number; // the copy holds a whole request head
    const operation = head & 0xff;
    this.wireOp = operation;
    this.idLow = request[ID] as number; // as above
    this.idHigh = request[ID + 1] as number; // as above
    this.isForceUnitAccess = false;
    this.isBarrier = false;
    if (operation <= BLKIF_OP_WRITE) {
      const count = (head >>> 8) & 0xff;
      this.op = operation === BLKIF_OP_READ ? BLOCK_OP.read : BLOCK_OP.write;
      this.startSector = this.sectorNumber();
      return this.parseDirect(count);
    }
    return this.parseOther(operation, (head >>> 8) & 0xff);
  }

  /** Everything but a plain read or write. */
  private parseOther(operation: number, count: number): number {
    switch (operation) {
      case BLKIF_OP_WRITE_FUA:
        if (!this.offered.hasForceUnitAccess) return BLKIF_RSP_EOPNOTSUPP;
        return this.parseForced(count);
      case BLKIF_OP_WRITE_BARRIER:
        if (!this.offered.hasBarrier) return BLKIF_RSP_EOPNOTSUPP;
        this.isBarrier = true;
        return count === 0 ? this.takeNoSegments(BLOCK_OP.write) : this.parseForced(count);
      case BLKIF_OP_FLUSH_DISKCACHE:
        if (!this.offered.hasFlush) return BLKIF_RSP_EOPNOTSUPP;
        return count === 0 ? this.takeNoSegments(BLOCK_OP.flush) : BLKIF_RSP_ERROR;
      case BLKIF_OP_INDIRECT:
        return this.parseIndirect();
      case BLKIF_OP_DISCARD:
        return this.parseRange(BLOCK_OP.discard, this.offered.hasDiscard);
      case BLKIF_OP_WRITE_ZEROES:
        return this.parseRange(BLOCK_OP.writeZeroes, this.offered.hasWriteZeroes);
      default:
        return BLKIF_RSP_EOPNOTSUPP;
    }
  }

  private parseForced(count: number): number {
    this.op = BLOCK_OP.write;
    this.isForceUnitAccess = true;
    this.startSector = this.sectorNumber();
    return this.parseDirect(count);
  }

  private parseDirect(count: number): number {
    if (count === 0 || count > BLKIF_MAX_SEGMENTS_PER_REQUEST) return BLKIF_RSP_ERROR;
    if (count > 1) this.ring.takeRest(SEGMENTS_AT + count * SEGMENT_BYTES);
    this.beginSegments();
    return this.takeSegments(this.request, SEGMENTS_AT >> 2, count, count) ? BLKIF_RSP_OKAY : BLKIF_RSP_ERROR;
  }

  private takeNoSegments(op: BlockOp): number {
    this.op = op;
    this.isForceUnitAccess = this.isBarrier;
    this.startSector = 0;
    this.sectors = 0;
    this.count = 0;
    this.hasGaps = false;
    return BLKIF_RSP_OKAY;
  }

  private parseIndirect(): number {
    this.ring.takeRest(blkifRequestIndirect.sizeof);
    const copy = this.ring.request;
    const inner = INDIRECT.indirectOp(copy, 0);
    const count = INDIRECT.nrSegments(copy, 0);
    this.wireOp = inner;
    this.isForceUnitAccess = inner === BLKIF_OP_WRITE_FUA;
    if (this.offered.maxIndirectSegments === 0) return BLKIF_RSP_EOPNOTSUPP;
    if (inner !== BLKIF_OP_READ && inner !== BLKIF_OP_WRITE && !this.isForceUnitAccess) return BLKIF_RSP_ERROR;
    if (this.isForceUnitAccess && !this.offered.hasForceUnitAccess) return BLKIF_RSP_EOPNOTSUPP;
    if (count === 0 || count > this.offered.maxIndirectSegments) return BLKIF_RSP_ERROR;
    this.op = inner === BLKIF_OP_READ ? BLOCK_OP.read : BLOCK_OP.write;
    this.startSector = this.sectorNumber();
    return this.parseSegmentPages(copy, count);
  }

  /** Segments in pages of the guest, which stay the guest's: each word is read once. */
  private parseSegmentPages(copy: DataView, count: number): number {
    this.beginSegments();
    for (let done = 0, page = 0; done < count; page += 1) {
      const ref = copy.getUint32(blkifRequestIndirect.offsets.indirectGrefs + page * 4, true);
      const words = this.readSegmentPage(ref);
      if (words === undefined) return BLKIF_RSP_ERROR;
      const here = Math.min(count - done, BLKIF_SEGMENTS_PER_INDIRECT_PAGE);
      if (!this.takeSegments(words, 0, here, count)) return BLKIF_RSP_ERROR;
      done += here;
    }
    return BLKIF_RSP_OKAY;
  }

  private beginSegments(): void {
    this.count = 0;
    this.sectors = 0;
    this.hasGaps = false;
  }

  /**
   * Take the next `here` of `count` segments from `words`, each of which is read once and used from our own copy.
   * @returns false if one is nonsense
   */
  private takeSegments(words: Int32Array, base: number, here: number, count: number): boolean {
    const { refs, spans } = this;
    const end = this.count + here;
    let { sectors } = this;
    let at = base;
    for (let i = this.count; i < end; i += 1) {
      const span = (words[at + 1] as number) & 0xffff; // `here` segments are there
      if (span === WHOLE_PAGE) {
        sectors += SECTORS_PER_PAGE;
      } else {
        const first = span & 0xff;
        const last = span >>> 8;
        if (last >= SECTORS_PER_PAGE || first > last) return false;
        if ((i > 0 && first !== 0) || (i < count - 1 && last !== SECTORS_PER_PAGE - 1)) this.hasGaps = true;
        sectors += last - first + 1;
      }
      refs[i] = words[at] as number; // as above
      spans[i] = span;
      at += SEGMENT_WORDS;
    }
    this.count = end;
    this.sectors = sectors;
    return true;
  }

  private parseRange(op: BlockOp, isOffered: boolean): number {
    if (!isOffered) return BLKIF_RSP_EOPNOTSUPP;
    const copy = this.ring.request; // no longer than what is copied at once
    // The secure flag promises that old data cannot come back, which no medium of ours can promise.
    if ((DISCARD.flag(copy, 0) & BLKIF_DISCARD_SECURE) !== 0) return BLKIF_RSP_EOPNOTSUPP;
    this.op = op;
    this.startSector = this.sectorNumber();
    this.sectors = DISCARD.nrSectors(copy, 0);
    this.count = 0;
    this.hasGaps = false;
    return BLKIF_RSP_OKAY;
  }

  /** The first sector, which lies at the same place in every kind of request. */
  private sectorNumber(): number {
    const high = this.request[SECTOR + 1] as number; // inside the head
    const low = (this.request[SECTOR] as number) >>> 0; // as above
    if (high === 0) return low;
    return high >>> 0 < HIGH_LIMIT ? (high >>> 0) * TWO_32 + low : Number.NaN;
  }
}
