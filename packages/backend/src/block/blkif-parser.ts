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

/** Reads a page of indirect segments: the guest's bytes, or undefined if the reference is refused. */
export type SegmentPageReader = (ref: number) => Uint8Array | undefined;

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

const REQUEST = blkifRequest.get;
const DISCARD = blkifRequestDiscard.get;
const INDIRECT = blkifRequestIndirect.get;
const SEGMENT = blkifSegment.get;
const SEGMENT_BYTES = blkifSegment.sizeof;

/** Parses requests of one ring into its own fields; nothing of a former request is left in those that count. */
export class BlkifParser {
  /** Low and high half of the guest's cookie, to be echoed. */
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
  /** First sector of each segment in its page. */
  readonly firstSects: Uint8Array;
  /** Sectors of each segment. */
  readonly segmentSectors: Uint8Array;
  private readonly offered: OfferedFeatures;
  private readonly readSegmentPage: SegmentPageReader;
  private readonly indirectBytes: Uint8Array;
  private readonly indirectView: DataView;

  constructor(offered: OfferedFeatures, readSegmentPage: SegmentPageReader) {
    this.offered = offered;
    this.readSegmentPage = readSegmentPage;
    const max = Math.max(offered.maxIndirectSegments, BLKIF_MAX_SEGMENTS_PER_REQUEST);
    this.refs = new Uint32Array(max);
    this.firstSects = new Uint8Array(max);
    this.segmentSectors = new Uint8Array(max);
    this.indirectBytes = new Uint8Array(max * SEGMENT_BYTES);
    this.indirectView = new DataView(this.indirectBytes.buffer);
  }

  /**
   * Parse the request in `copy`, private memory that the guest cannot reach.
   * @returns BLKIF_RSP_OKAY, or the status to answer; `idLow`, `idHigh` and `wireOp` are set either way
   */
  parse(copy: DataView): number {
    const operation = REQUEST.operation(copy, 0);
    this.wireOp = operation;
    this.idLow = blkifRequest.low.id(copy, 0);
    this.idHigh = blkifRequest.high.id(copy, 0);
    this.isForceUnitAccess = false;
    this.isBarrier = false;
    switch (operation) {
      case BLKIF_OP_READ:
        return this.parseDirect(copy, BLOCK_OP.read);
      case BLKIF_OP_WRITE:
        return this.parseDirect(copy, BLOCK_OP.write);
      case BLKIF_OP_WRITE_FUA:
        if (!this.offered.hasForceUnitAccess) return BLKIF_RSP_EOPNOTSUPP;
        this.isForceUnitAccess = true;
        return this.parseDirect(copy, BLOCK_OP.write);
      case BLKIF_OP_WRITE_BARRIER:
        if (!this.offered.hasBarrier) return BLKIF_RSP_EOPNOTSUPP;
        this.isBarrier = true;
        this.isForceUnitAccess = true;
        return this.parseDirect(copy, BLOCK_OP.write);
      case BLKIF_OP_FLUSH_DISKCACHE:
        return this.parseFlush(copy);
      case BLKIF_OP_INDIRECT:
        return this.parseIndirect(copy);
      case BLKIF_OP_DISCARD:
        return this.parseRange(copy, BLOCK_OP.discard, this.offered.hasDiscard);
      case BLKIF_OP_WRITE_ZEROES:
        return this.parseRange(copy, BLOCK_OP.writeZeroes, this.offered.hasWriteZeroes);
      default:
        return BLKIF_RSP_EOPNOTSUPP;
    }
  }

  private parseDirect(copy: DataView, op: BlockOp): number {
    const count = REQUEST.nrSegments(copy, 0);
    this.op = op;
    this.startSector = REQUEST.sectorNumber(copy, 0);
    if (count === 0 && this.isBarrier) return this.takeNoSegments();
    if (count === 0 || count > BLKIF_MAX_SEGMENTS_PER_REQUEST) return BLKIF_RSP_ERROR;
    return this.parseSegments(copy, blkifRequest.offsets.seg, count);
  }

  private parseFlush(copy: DataView): number {
    if (!this.offered.hasFlush) return BLKIF_RSP_EOPNOTSUPP;
    if (REQUEST.nrSegments(copy, 0) !== 0) return BLKIF_RSP_ERROR;
    this.op = BLOCK_OP.flush;
    return this.takeNoSegments();
  }

  private takeNoSegments(): number {
    this.startSector = 0;
    this.sectors = 0;
    this.count = 0;
    this.hasGaps = false;
    return BLKIF_RSP_OKAY;
  }

  private parseIndirect(copy: DataView): number {
    const inner = INDIRECT.indirectOp(copy, 0);
    const count = INDIRECT.nrSegments(copy, 0);
    this.wireOp = inner;
    this.isForceUnitAccess = inner === BLKIF_OP_WRITE_FUA;
    if (this.offered.maxIndirectSegments === 0) return BLKIF_RSP_EOPNOTSUPP;
    if (inner !== BLKIF_OP_READ && inner !== BLKIF_OP_WRITE && !this.isForceUnitAccess) return BLKIF_RSP_ERROR;
    if (this.isForceUnitAccess && !this.offered.hasForceUnitAccess) return BLKIF_RSP_EOPNOTSUPP;
    if (count === 0 || count > this.offered.maxIndirectSegments) return BLKIF_RSP_ERROR;
    this.op = inner === BLKIF_OP_READ ? BLOCK_OP.read : BLOCK_OP.write;
    this.startSector = INDIRECT.sectorNumber(copy, 0);
    if (!this.copySegmentPages(copy, count)) return BLKIF_RSP_ERROR;
    return this.parseSegments(this.indirectView, 0, count);
  }

  /** Copy the segments out of the guest's pages, each byte once. */
  private copySegmentPages(copy: DataView, count: number): boolean {
    const pages = Math.ceil(count / BLKIF_SEGMENTS_PER_INDIRECT_PAGE);
    for (let page = 0; page < pages; page += 1) {
      const ref = copy.getUint32(blkifRequestIndirect.offsets.indirectGrefs + page * 4, true);
      const bytes = this.readSegmentPage(ref);
      if (bytes === undefined) return false;
      const done = page * BLKIF_SEGMENTS_PER_INDIRECT_PAGE;
      const here = Math.min(count - done, BLKIF_SEGMENTS_PER_INDIRECT_PAGE);
      this.indirectBytes.set(bytes.subarray(0, here * SEGMENT_BYTES), done * SEGMENT_BYTES);
    }
    return true;
  }

  private parseSegments(view: DataView, base: number, count: number): number {
    let sectors = 0;
    let hasGaps = false;
    let at = base;
    for (let i = 0; i < count; i += 1) {
      const first = SEGMENT.firstSect(view, at);
      const last = SEGMENT.lastSect(view, at);
      if (last >= SECTORS_PER_PAGE || first > last) return BLKIF_RSP_ERROR;
      if ((i > 0 && first !== 0) || (i < count - 1 && last !== SECTORS_PER_PAGE - 1)) hasGaps = true;
      this.refs[i] = SEGMENT.gref(view, at);
      this.firstSects[i] = first;
      this.segmentSectors[i] = last - first + 1;
      sectors += last - first + 1;
      at += SEGMENT_BYTES;
    }
    this.count = count;
    this.sectors = sectors;
    this.hasGaps = hasGaps;
    return BLKIF_RSP_OKAY;
  }

  private parseRange(copy: DataView, op: BlockOp, isOffered: boolean): number {
    if (!isOffered) return BLKIF_RSP_EOPNOTSUPP;
    // The secure flag promises that old data cannot come back, which no medium of ours can promise.
    if ((DISCARD.flag(copy, 0) & BLKIF_DISCARD_SECURE) !== 0) return BLKIF_RSP_EOPNOTSUPP;
    this.op = op;
    this.startSector = DISCARD.sectorNumber(copy, 0);
    this.sectors = DISCARD.nrSectors(copy, 0);
    this.count = 0;
    this.hasGaps = false;
    return BLKIF_RSP_OKAY;
  }
}
