// One ring of a split disk as its front end drives it: stages requests, publishes batches, judges every response.
// hot path: bench/src/block
import { BLOCK_OP, BLOCK_STATUS, type BlockCommand, type BlockStatus } from '@splitring/device';
import { type DomId, type EvtchnPort, type GrantRef, type Hypercalls, PAGE_SIZE } from '@splitring/hypervisor';
import {
  BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST,
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_OP_WRITE_FUA,
  BLKIF_OP_WRITE_ZEROES,
  BLKIF_RSP_EINVAL,
  BLKIF_RSP_ENOSPC,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_EROFS,
  BLKIF_RSP_OKAY,
  BLKIF_SLOT_BYTES,
  blkifRequest,
  blkifRequestDiscard,
  blkifRequestIndirect,
  blkifResponse,
  blkifSegment,
  SECTORS_PER_PAGE,
} from '@splitring/hypervisor/io';
import { FrontRing, initRing, ProtocolError } from 'sharedarraybuffer-ring';
import { BlkfrontShadow } from './blkfront-shadow.ts';
import { type DataGrants, GrantedRun } from './data-grants.ts';
import type { BlockCounters } from './guest-block-device.ts';

/** How one queue is made. */
export interface BlkfrontQueueOptions {
  readonly hypercalls: Hypercalls;
  readonly peer: DomId;
  /** Name used in errors. */
  readonly name: string;
  /** Pages of the ring, a power of two. */
  readonly ringPages: number;
  /** Virtual device number, echoed in every request. */
  readonly handle: number;
  /** Grants of the data pages, shared by the queues of one disk. */
  readonly grants: DataGrants;
  /** Segments of one request: 11, or what the back end takes indirectly, at most 512. */
  readonly maxSegments: number;
}

// Words of a transfer's head; operation, number of segments and handle share the first.
const HEAD = 0;
const ID = blkifRequest.offsets.id >> 2;
const SECTOR = blkifRequest.offsets.sectorNumber >> 2;
const SEGMENTS = blkifRequest.offsets.seg >> 2;
// An indirect request has the inner operation in the second byte of its head, and the segments in the upper half.
const INDIRECT_HANDLE = blkifRequestIndirect.offsets.handle >> 2;
const INDIRECT_GREFS = blkifRequestIndirect.offsets.indirectGrefs >> 2;
const SEGMENT_WORDS = blkifSegment.sizeof >> 2;
/** `firstSect` and `lastSect` of a segment that is a whole page, as they lie in a word. */
const WHOLE_PAGE = (SECTORS_PER_PAGE - 1) << 8;
const TWO_32 = 2 ** 32;
// Words of a response; operation, a byte of padding and status share one.
const RESPONSE_ID = blkifResponse.offsets.id >> 2;
const RESPONSE_STATUS = blkifResponse.offsets.operation >> 2;

/** One ring with its grants, its port and its shadow. */
export class BlkfrontQueue {
  /** Our unbound port, for the back end to bind. */
  readonly port: EvtchnPort;
  /** The pages of the ring. */
  readonly ringPages: GrantedRun;
  readonly shadow: BlkfrontShadow;
  readonly counters: BlockCounters;
  /** Receives every completion. */
  onComplete: (cookie: number, status: BlockStatus) => void;
  /** Why the back end cannot be believed any more; once set, no response is looked at. */
  broken: ProtocolError | undefined;
  /** Whether a flush travels as a barrier, for back ends that offer only that. */
  isFlushByBarrier: boolean;
  private readonly hypercalls: Hypercalls;
  private readonly grants: DataGrants;
  private readonly ring: FrontRing;
  private readonly handle: number;
  private readonly indirect: GrantedRun | undefined;
  private readonly indirectWords: Int32Array | undefined;

  /** Allocate, grant and initialise. @throws HypercallError with nothing left allocated */
  constructor(options: BlkfrontQueueOptions) {
    const { hypercalls, peer, maxSegments } = options;
    this.hypercalls = hypercalls;
    this.grants = options.grants;
    this.handle = options.handle;
    this.broken = undefined;
    this.isFlushByBarrier = false;
    this.onComplete = () => {};
    this.counters = { requests: 0, notificationsSent: 0, publishes: 0 };
    this.ringPages = new GrantedRun(hypercalls, peer, options.ringPages, false);
    initRing(this.ringPages.run.bytes);
    this.ring = new FrontRing(this.ringPages.run.bytes, BLKIF_SLOT_BYTES, {
      name: options.name,
      responseBytes: blkifResponse.sizeof,
    });
    this.shadow = new BlkfrontShadow(this.ring.slots, maxSegments);
    try {
      const hasIndirect = maxSegments > BLKIF_MAX_SEGMENTS_PER_REQUEST;
      this.indirect = hasIndirect ? new GrantedRun(hypercalls, peer, this.ring.slots, true) : undefined;
      const bytes = this.indirect?.run.bytes;
      this.indirectWords = bytes && new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
      this.port = hypercalls.allocUnbound(peer);
    } catch (error) {
      this.indirect?.release();
      this.ringPages.release();
      throw error;
    }
  }

  /** Responses taken so far, modulo 2^32. */
  get taken(): number {
    return this.ring.inspect().cons;
  }

  /** Requests that can be submitted now. */
  get freeSlots(): number {
    return this.ring.freeSlots;
  }

  /** Requests in flight. */
  get outstanding(): number {
    return this.shadow.count;
  }

  /**
   * Stage a request; the caller has checked its size and that the operation is offered.
   * @returns false if the ring or the grant table is full
   */
  submit(command: BlockCommand): boolean {
    if (this.ring.isFull || !this.grants.use(command.busPages, command.pageCount)) return false;
    const at = this.ring.stageRequest();
    this.counters.requests += 1;
    switch (command.op) {
      case BLOCK_OP.read:
        this.stageTransfer(at, command, BLKIF_OP_READ);
        break;
      case BLOCK_OP.write:
        this.stageTransfer(at, command, command.isForceUnitAccess ? BLKIF_OP_WRITE_FUA : BLKIF_OP_WRITE);
        break;
      case BLOCK_OP.flush:
        this.stageTransfer(at, command, this.isFlushByBarrier ? BLKIF_OP_WRITE_BARRIER : BLKIF_OP_FLUSH_DISKCACHE);
        break;
      case BLOCK_OP.discard:
        this.stageRange(at, command, BLKIF_OP_DISCARD);
        break;
      default:
        this.stageRange(at, command, BLKIF_OP_WRITE_ZEROES);
    }
    return true;
  }

  /** Publish what was staged; notify if the back end asked for it. */
  publish(): void {
    const isAsked = this.ring.pushRequests();
    this.counters.publishes += 1;
    if (!isAsked) return;
    this.counters.notificationsSent += 1;
    this.hypercalls.notify(this.port);
  }

  /** Take every response there is. @returns whether there was one */
  reap(): boolean {
    if (this.broken !== undefined) return false;
    const available = this.ring.availableResponses();
    if (available <= 0) {
      if (available < 0) this.broken = this.ring.broken;
      return available < 0;
    }
    while (this.broken === undefined && this.ring.takeResponse()) this.finish();
    return true;
  }

  /**
   * Before sleeping: ask for a notification when `ahead` more answers are there, then look again.
   * @returns true if there is something to do
   */
  arm(ahead: number): boolean {
    return this.broken === undefined && (ahead > 1 ? this.ring.armAt(ahead) : this.ring.finalCheck());
  }

  /**
   * Close the port, end the grants and give the pages back. The shadow stays, for replay. Once only.
   * @returns the grants that the peer still holds, to be ended later
   */
  release(): readonly GrantRef[] {
    this.broken ??= new ProtocolError('BLKFRONT_CLOSED', `Cannot use ${this.ring.name}: it is closed`);
    this.hypercalls.closePort(this.port);
    return [...(this.indirect?.release() ?? []), ...this.ringPages.release()];
  }

  private stageTransfer(at: number, command: BlockCommand, wireOp: number): void {
    const id = this.shadow.add(command, wireOp);
    if (command.pageCount > BLKIF_MAX_SEGMENTS_PER_REQUEST) {
      this.stageIndirect(at, id, command, wireOp);
      return;
    }
    const { words } = this.ring;
    const word = at >> 2;
    const { startSector } = command;
    words[word + HEAD] = wireOp | (command.pageCount << 8) | (this.handle << 16);
    words[word + ID] = id;
    words[word + ID + 1] = 0;
    words[word + SECTOR] = startSector;
    words[word + SECTOR + 1] = startSector < TWO_32 ? 0 : Math.floor(startSector / TWO_32);
    this.writeSegments(words, word + SEGMENTS, command);
  }

  private stageIndirect(at: number, id: number, command: BlockCommand, wireOp: number): void {
    const { words } = this.ring;
    const word = at >> 2;
    const { startSector } = command;
    // Both exist: pageCount is at most maxSegments, which is above 11 only with them.
    const indirect = this.indirect as GrantedRun;
    words[word + HEAD] = BLKIF_OP_INDIRECT | (wireOp << 8) | (command.pageCount << 16);
    words[word + ID] = id;
    words[word + ID + 1] = 0;
    words[word + SECTOR] = startSector;
    words[word + SECTOR + 1] = startSector < TWO_32 ? 0 : Math.floor(startSector / TWO_32);
    words[word + INDIRECT_HANDLE] = this.handle;
    words[word + INDIRECT_GREFS] = indirect.refs[id] as number; // one page for each id: at most 512 segments
    for (let i = 1; i < BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST; i += 1) words[word + INDIRECT_GREFS + i] = 0;
    this.writeSegments(this.indirectWords as Int32Array, id * (PAGE_SIZE >> 2), command);
  }

  /** Write the segments of `command`, padding too: pages are whole but the first and the last. */
  private writeSegments(words: Int32Array, at: number, command: BlockCommand): void {
    const { busPages, pageCount } = command;
    const { refs, first } = this.grants;
    let word = at;
    for (let i = 0; i < pageCount; i += 1) {
      words[word] = refs[(busPages[i] as number) - first] as number; // pageCount of them, all in use
      words[word + 1] = WHOLE_PAGE;
      word += SEGMENT_WORDS;
    }
    const firstSect = command.firstOffset >> 9;
    const past = firstSect + command.sectors;
    if (firstSect === 0 && (past & (SECTORS_PER_PAGE - 1)) === 0) return;
    const lastSect = (past - 1) & (SECTORS_PER_PAGE - 1);
    words[at + 1] = firstSect | WHOLE_PAGE;
    words[word - SEGMENT_WORDS + 1] = (pageCount === 1 ? firstSect : 0) | (lastSect << 8);
  }

  private stageRange(at: number, command: BlockCommand, wireOp: number): void {
    const id = this.shadow.add(command, wireOp);
    const { view } = this.ring;
    const set = blkifRequestDiscard.set;
    set.operation(view, at, wireOp);
    set.flag(view, at, 0);
    set.handle(view, at, this.handle);
    set.id(view, at, id);
    set.sectorNumber(view, at, command.startSector);
    set.nrSectors(view, at, command.sectors);
  }

  /** Judge the response in the ring's private copy and complete what it answers. */
  private finish(): void {
    const { responseWords } = this.ring;
    const id = (responseWords[RESPONSE_ID] as number) >>> 0; // a whole response was copied, as for all below
    const outcome = responseWords[RESPONSE_STATUS] as number;
    const wireOp = outcome & 0xff;
    if (responseWords[RESPONSE_ID + 1] !== 0 || !this.shadow.isAnswer(id, wireOp)) {
      this.broken = new ProtocolError(
        'BLKFRONT_BAD_RESPONSE',
        `Cannot use ${this.ring.name}: response ${id} to operation ${wireOp} answers nothing in flight`,
        { ring: this.ring.name, field: 'id', value: id, limit: this.shadow.ids },
      );
      return;
    }
    const status = outcome >> 16;
    const pageCount = this.grants.isPersistent ? 0 : this.shadow.pageCountOf(id);
    for (let i = 0; i < pageCount; i += 1) {
      if (!this.grants.done(this.shadow.pageOf(id, i))) {
        this.broken = new ProtocolError(
          'BLKFRONT_STILL_MAPPED',
          `Cannot use ${this.ring.name}: the back end answered request ${id} but keeps its pages`,
          { ring: this.ring.name, field: 'gref', value: id },
        );
        return;
      }
    }
    this.onComplete(this.shadow.remove(id), status === BLKIF_RSP_OKAY ? BLOCK_STATUS.okay : blockStatus(status));
  }
}

/** The one place where a wire status that is not okay becomes ours; an unknown one is an error like any other. */
function blockStatus(status: number): BlockStatus {
  switch (status) {
    case BLKIF_RSP_EOPNOTSUPP:
      return BLOCK_STATUS.unsupported;
    case BLKIF_RSP_ENOSPC:
      return BLOCK_STATUS.outOfSpace;
    case BLKIF_RSP_EROFS:
      return BLOCK_STATUS.readOnly;
    case BLKIF_RSP_EINVAL:
      return BLOCK_STATUS.outOfRange;
    default:
      return BLOCK_STATUS.error;
  }
}
