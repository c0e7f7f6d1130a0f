// One ring of a guest's disk, from the back end's side: copy → parse → validate → execute → finish.
// hot path: bench/src/block
// long file: the stations of one request share its ring, its table and the command being built
import { BLOCK_OP, BLOCK_STATUS, type BlockCommand, type BlockStatus, newBlockCommand } from '@splitring/device';
import type { EvtchnPort, Hypercalls } from '@splitring/hypervisor';
import {
  BLKIF_RSP_EINVAL,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_EROFS,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  BLKIF_SLOT_BYTES,
  blkifResponse,
  SECTOR_BYTES,
} from '@splitring/hypervisor/io';
import { BackRing } from 'sharedarraybuffer-ring';
import { type BlkbackCounters, newCounters } from './blkback-counters.ts';
import type { BlkbackQueueOptions } from './blkback-queue-options.ts';
import { BlkifParser, USUAL_REQUEST_BYTES } from './blkif-parser.ts';
import { CommandBuilder } from './command-builder.ts';
import type { CommandSink } from './command-sink.ts';
import type { DiskSlice } from './disk-slice.ts';
import { PeerGrants } from './peer-grants.ts';
import { PieceCutter } from './piece-cutter.ts';
import type { RateLimit } from './rate-limit.ts';
import { RequestTable, type TakenRequest } from './request-table.ts';
import { Standing } from './standing.ts';
import { visibleStatus, wireStatus } from './wire-status.ts';

/** Words of a response; `operation`, a byte of padding and `status` share one. */
const ID = blkifResponse.offsets.id >> 2;
const OPERATION = blkifResponse.offsets.operation >> 2;
/** Cost of a request besides its pages, in pages: what a request costs however small it is. */
const REQUEST_COST = 2;
/** Answers of a ring that is alone which are published together, unless the turn ends before. */
const ALONE_BATCH = 8;

/** Turns for which answers are held back at most while more of their batch are expected. */
const MOST_HELD_TURNS = 16;

/** The ring's end, its requests, and the command that neighbours are being merged into. */
export class BlkbackQueue {
  readonly port: EvtchnPort;
  readonly counters: BlkbackCounters;
  /** Set when the guest sent rubbish: whoever schedules slows it down, and clears this. */
  hasMisbehaved: boolean;
  /** No request is taken before this time. */
  pausedUntilMs: number;
  /** Kept by whoever schedules. */
  readonly standing: Standing;
  /** What device cookies of this queue carry above the slot; set by whoever schedules. */
  cookieBase: number;
  /** What may still be taken in this turn, in cost units; the last request may take it below zero. */
  credit: number;
  /** Answers that are published together while neighbours are served as well; 0: few, as soon as they are there. */
  publishAt: number;
  /** Device commands that a turn may begin; set by whoever schedules. */
  turnCommands: number;
  /** No more requests are taken: the connection ends when the last one in flight is done. */
  isClosing: boolean;
  readonly limit: RateLimit | undefined;
  readonly weight: number;
  private readonly hypercalls: Hypercalls;
  private readonly ring: BackRing;
  readonly slice: DiskSlice;
  private readonly sink: CommandSink;
  private readonly parser: BlkifParser;
  private readonly grants: PeerGrants;
  private readonly requests: RequestTable;
  private readonly cutter: PieceCutter;
  private readonly frames: Int32Array;
  private readonly hasErrorDetail: boolean;
  private readonly builder: CommandBuilder;
  private readonly flush: BlockCommand = { ...newBlockCommand(), op: BLOCK_OP.flush };
  /** Request that came whole but leaves in pieces, not all of which are submitted; −1 if there is none. */
  private cutSlot: number;
  /** Barrier that holds back all that follows; −1 if there is none. */
  private barrierSlot: number;
  private barrierPhase: 'drain' | 'flush' | 'write';
  private staged: number;
  /** Turns for which answers have been held back. */
  private heldTurns: number;
  /** Device commands that this turn may still begin. */
  private room: number;
  /** Size of the disk, and the bits that aligned sectors leave clear; looked at once per turn. */
  private capacity: number;
  private readonly blockMask: number;

  constructor(options: BlkbackQueueOptions) {
    const { hypercalls, dom, offered, slice } = options;
    this.hypercalls = hypercalls;
    this.port = options.port;
    this.slice = slice;
    this.limit = options.limit;
    this.weight = options.weight;
    this.sink = options.sink;
    this.ring = new BackRing(options.ring, BLKIF_SLOT_BYTES, { name: options.name, requestBytes: USUAL_REQUEST_BYTES });
    this.grants = new PeerGrants(hypercalls, dom, options.isPersistent, options.maxPersistent);
    this.parser = new BlkifParser(this.ring, offered, (ref) => this.grants.segmentPage(ref));
    this.requests = new RequestTable(this.ring.slots);
    this.cutter = new PieceCutter(slice.device);
    this.frames = new Int32Array(this.parser.refs.length);
    this.hasErrorDetail = options.hasErrorDetail;
    this.counters = newCounters();
    this.hasMisbehaved = false;
    this.pausedUntilMs = 0;
    this.standing = new Standing();
    this.cookieBase = 0;
    this.credit = 0;
    this.publishAt = 0;
    this.turnCommands = 1;
    this.isClosing = false;
    this.builder = new CommandBuilder(Math.min(options.mergePages, slice.device.maxPages));
    this.cutSlot = -1;
    this.barrierSlot = -1;
    this.barrierPhase = 'drain';
    this.staged = 0;
    this.heldTurns = 0;
    this.room = 0;
    this.capacity = 0;
    this.blockMask = slice.blockSectors - 1; // a power of two
  }

  /** Why the guest cannot be believed any more. */
  get broken() {
    return this.ring.broken;
  }

  /** Requests taken so far, modulo 2^32. */
  get taken(): number {
    return this.ring.inspect().cons;
  }

  /** Requests taken and not answered. */
  get inFlight(): number {
    return this.requests.count;
  }

  /** Requests that wait in the ring, plus one for a request that is only half submitted; 0 if there is nothing to do. */
  pending(): number {
    if (this.isClosing) return 0;
    const held = this.cutSlot >= 0 || this.barrierSlot >= 0 ? 1 : 0;
    const available = this.ring.availableRequests();
    return available > 0 ? available + held : held;
  }

  /**
   * Take requests until `credit` is spent, the device is full or the ring is empty. A command that is growing by
   * neighbours is finished beyond that. Everything taken is submitted.
   * @returns whether anything was done
   */
  take(): boolean {
    let hasWorked = this.cutSlot >= 0 && this.submitPieces();
    if (this.barrierSlot >= 0 && this.cutSlot < 0) hasWorked = this.moveBarrier() || hasWorked;
    this.room = Math.min(this.turnCommands, this.sink.freeCommands);
    this.capacity = this.slice.capacitySectors;
    while (this.cutSlot < 0 && this.barrierSlot < 0 && this.mayTake) {
      if (!this.ring.takeRequest()) break;
      this.handle();
      hasWorked = true;
    }
    this.submitBuild();
    return hasWorked;
  }

  /** A device command that was submitted for `slot` is complete. Submits nothing. */
  completed(slot: number, status: BlockStatus): void {
    const { requests } = this;
    if (requests.at(slot).outstanding === 0) return; // a device may answer late what a reset has taken back
    for (let at = slot; at >= 0; ) {
      const request = requests.at(at);
      at = request.next;
      this.finishCommand(request, status);
    }
    if (this.staged >= (this.publishAt || ALONE_BATCH)) this.publish();
  }

  /**
   * Publish what is staged, unless neighbours are served as well and more of the batch is about to be answered: waking a
   * guest costs as much as ten reads. Some turns later it is published anyway, and at once if `isIdle`: nothing else is
   * to be done.
   * @returns whether answers are held back: another turn must follow
   */
  endTurn(isIdle: boolean): boolean {
    if (this.staged === 0) return false;
    const isBatchUnderWay = this.publishAt > 0 && this.requests.count > 0 && !isIdle;
    if (!isBatchUnderWay || this.heldTurns === MOST_HELD_TURNS) {
      this.publish();
      return false;
    }
    this.heldTurns += 1;
    return true;
  }

  /** Publish the answers that are staged; notify if the guest asked for it. */
  private publish(): void {
    this.staged = 0;
    this.heldTurns = 0;
    this.counters.publishes += 1;
    if (this.isClosing || !this.ring.pushResponses()) return;
    this.counters.notificationsSent += 1;
    this.hypercalls.notify(this.port);
  }

  /** Before sleeping: ask for a notification, then look again. @returns true if there is something to do */
  arm(): boolean {
    return !this.isClosing && this.ring.broken === undefined && this.ring.finalCheck();
  }

  /** Take no more requests and answer none; what is in flight runs to its end, after which `inFlight` is 0. */
  close(): void {
    if (this.isClosing) return;
    this.isClosing = true;
    const { barrierSlot, cutSlot } = this;
    if (cutSlot >= 0) {
      this.cutSlot = -1;
      this.finishCommand(this.requests.at(cutSlot), BLOCK_STATUS.aborted);
    } else if (barrierSlot >= 0 && this.barrierPhase === 'drain') {
      this.answer(this.requests.at(barrierSlot));
    } else if (barrierSlot >= 0 && this.barrierPhase === 'flush') {
      this.finishCommand(this.requests.at(barrierSlot), BLOCK_STATUS.aborted);
    }
  }

  /** Pages that are kept mapped from request to request. */
  get keptPages(): number {
    return this.grants.keptPages;
  }

  /** Unmap what is kept. Only when `inFlight` is 0. */
  release(): void {
    this.grants.releaseAll();
  }

  /** Whether credit, rate limit and the device let one more request be taken. */
  private get mayTake(): boolean {
    const isDue = this.credit > 0 || this.builder.isGrowing;
    return isDue && this.room > 0 && (this.limit === undefined || this.limit.hasTokens);
  }

  private handle(): void {
    const { parser } = this;
    let status = parser.parse();
    const request = this.requests.add(parser.idLow, parser.idHigh, parser.wireOp);
    if (status === BLKIF_RSP_OKAY) status = this.validate();
    if (status === BLKIF_RSP_OKAY) status = this.map(request);
    this.charge(request, status === BLKIF_RSP_OKAY ? parser.count : 0);
    if (status !== BLKIF_RSP_OKAY) {
      this.counters.refusals += 1;
      if (status !== BLKIF_RSP_EOPNOTSUPP) this.hasMisbehaved = true;
      request.status = status;
      this.answer(request);
    } else {
      this.execute(request);
    }
  }

  /** Account for a request of so many pages: once, when it is taken. */
  private charge(request: TakenRequest, pages: number): void {
    const cost = REQUEST_COST + pages;
    this.credit -= cost;
    if (pages > 0 && !this.parser.isForceUnitAccess) {
      request.load = cost;
      this.sink.load += cost;
    }
    this.limit?.charge(pages === 0 ? 0 : this.parser.sectors * SECTOR_BYTES);
  }

  /** Range, rights and alignment. After this nothing about the request is checked again. */
  private validate(): number {
    const { parser, capacity } = this;
    if (parser.op === BLOCK_OP.flush) return BLKIF_RSP_OKAY;
    const { startSector, sectors } = parser;
    if (parser.op !== BLOCK_OP.read && this.slice.isReadOnly) return BLKIF_RSP_EROFS;
    // Written so that NaN, which stands for 2^53 and above, fails; no sum of two of the guest's numbers.
    if (!(sectors <= capacity && startSector <= capacity - sectors)) return BLKIF_RSP_EINVAL;
    if (((startSector | sectors) & this.blockMask) !== 0) return BLKIF_RSP_EINVAL;
    return BLKIF_RSP_OKAY;
  }

  private map(request: TakenRequest): number {
    const { parser } = this;
    if (parser.count === 0) return BLKIF_RSP_OKAY;
    if (this.grants.isPersistent && this.grants.lookupAll(parser.refs, this.frames, parser.count))
      return BLKIF_RSP_OKAY;
    const handles = this.grants.resolve(parser.refs, this.frames, parser.count, parser.op === BLOCK_OP.read);
    this.grants.segmentPagesDone();
    if (handles === false) return BLKIF_RSP_ERROR;
    if (handles !== undefined) this.requests.transient.set(request.slot, handles);
    return BLKIF_RSP_OKAY;
  }

  private execute(request: TakenRequest): void {
    const { parser, counters } = this;
    if (parser.op === BLOCK_OP.read) {
      counters.reads += 1;
      counters.sectorsRead += parser.sectors;
    } else if (parser.op === BLOCK_OP.write) {
      counters.writes += 1;
      counters.sectorsWritten += parser.sectors;
    } else if (parser.op === BLOCK_OP.flush) counters.flushes += 1;
    else counters.discards += 1;
    if (parser.isBarrier) {
      this.submitBuild();
      this.barrierSlot = request.slot;
      this.barrierPhase = 'drain';
      this.moveBarrier();
    } else if (parser.count > 0 && !parser.hasGaps && parser.count <= this.slice.device.maxPages) {
      this.build(request);
    } else {
      this.submitBuild();
      this.cut(request);
      this.room = Math.min(this.room - 1, this.sink.freeCommands);
    }
  }

  private submitBuild(): void {
    const { builder } = this;
    if (builder.isEmpty) return;
    // There is room: it was set aside when the command was begun.
    builder.command.cookie = this.cookieBase + builder.firstSlot;
    this.sink.submit(builder.command);
    this.counters.commands += 1;
    builder.clear();
  }

  /** Append the request to the command being built, or begin a new one with it. */
  private build(request: TakenRequest): void {
    const { builder, parser, frames } = this;
    const start = this.slice.firstSector + parser.startSector;
    if (builder.canTake(parser, start)) {
      this.requests.at(builder.lastSlot).next = request.slot;
    } else {
      this.submitBuild();
      this.room -= 1;
      builder.begin(parser, start, request.slot);
    }
    builder.append(parser, frames, request.slot);
    request.outstanding = 1;
  }

  /** Send a request in several commands: segments with gaps, ranges larger than the device takes, flushes. */
  private cut(request: TakenRequest): void {
    this.cutter.begin(this.parser, this.frames, this.slice.firstSector);
    this.cutSlot = request.slot;
    request.outstanding = 1; // ours, until all pieces are out
    this.submitPieces();
  }

  private submitPieces(): boolean {
    const request = this.requests.at(this.cutSlot);
    let hasWorked = false;
    while (this.cutter.hasNext) {
      const command = this.cutter.next();
      command.cookie = this.cookieBase + request.slot;
      if (!this.sink.submit(command)) {
        this.cutter.putBack();
        return hasWorked;
      }
      this.counters.commands += 1;
      request.outstanding += 1;
      hasWorked = true;
    }
    this.cutSlot = -1;
    this.finishCommand(request, BLOCK_STATUS.okay);
    return true;
  }

  /** A barrier: wait for all before it, flush, write durably, and only then let others follow. */
  private moveBarrier(): boolean {
    const request = this.requests.at(this.barrierSlot);
    if (this.barrierPhase === 'drain') {
      if (this.requests.count > 1 || this.sink.freeCommands === 0) return false;
      request.outstanding = 2; // the flush, and ours until the write is out
      this.barrierPhase = 'flush';
      this.flush.cookie = this.cookieBase + request.slot;
      this.sink.submit(this.flush);
      return true;
    }
    if (this.barrierPhase === 'flush' && request.outstanding === 1) {
      this.barrierPhase = 'write';
      const isFailed = request.status !== BLKIF_RSP_OKAY;
      if (this.parser.count > 0 && !isFailed) {
        this.cutter.begin(this.parser, this.frames, this.slice.firstSector);
        this.cutSlot = request.slot;
        this.submitPieces();
      } else {
        this.finishCommand(request, BLOCK_STATUS.okay);
      }
      return true;
    }
    return false;
  }

  private finishCommand(request: TakenRequest, status: BlockStatus): void {
    if (status !== BLOCK_STATUS.okay && request.status === BLKIF_RSP_OKAY) {
      request.status = wireStatus(status);
      this.counters.failures += 1;
    }
    request.outstanding -= 1;
    if (request.outstanding === 0) this.answer(request);
  }

  private answer(request: TakenRequest): void {
    const { requests, ring } = this;
    if (requests.transient.size > 0) this.unmapTransient(request.slot);
    if (request.slot === this.barrierSlot) this.barrierSlot = -1;
    const at = ring.stageResponse() >> 2; // there is one for each request taken
    const { words } = ring;
    const status = visibleStatus(request.status, this.hasErrorDetail);
    // Whole words, padding too, so that nothing of ours leaks (XSA-216).
    words[at + ID] = request.idLow;
    words[at + ID + 1] = request.idHigh;
    words[at + OPERATION] = request.wireOp | (status << 16);
    words[at + OPERATION + 1] = 0;
    this.sink.load -= request.load;
    requests.remove(request);
    this.staged += 1;
  }

  private unmapTransient(slot: number): void {
    const handles = this.requests.transient.get(slot);
    if (handles === undefined) return;
    this.requests.transient.delete(slot);
    this.grants.unmap(handles);
  }
}
