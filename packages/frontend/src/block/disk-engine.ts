// Moves a disk's operations: splits them into commands, keeps overlapping ones in order, places flushes behind writes.
// hot path: bench/src/block
import {
  BLOCK_OP,
  BLOCK_STATUS,
  type BlockCommand,
  type BlockOp,
  type BlockStatus,
  newBlockCommand,
} from '@splitring/device';
import { type Clock, PAGE_SHIFT, PAGE_SIZE, type Stepped } from '@splitring/hypervisor';
import { SECTOR_BYTES, SECTORS_PER_PAGE } from '@splitring/hypervisor/io';
import type { BlockErrorCode } from './block-error.ts';
import { CommandTable } from './command-table.ts';
import { type DiskOperation, OperationList } from './disk-operation.ts';
import { DiskQueue, QUEUE_COOKIES } from './disk-queue.ts';
import type { GuestBlockDevice } from './guest-block-device.ts';
import { OverlapFilter } from './overlap-filter.ts';
import type { PagePool } from './page-pool.ts';

/** Commands in flight at most, whatever the device would take. */
const MAX_COMMANDS = 1024;

/**
 * The order it keeps: operations start in the order of the calls; one that touches a sector in flight waits if either
 * changes it, and what comes after waits behind it. A flush waits for every write called before it, and holds up nobody.
 */
export class DiskEngine implements Stepped {
  readonly device: GuestBlockDevice;
  readonly pool: PagePool;
  private readonly clock: Clock;
  private readonly commands = new CommandTable(MAX_COMMANDS);
  private readonly waiting = new OperationList();
  private readonly started = new OperationList();
  private readonly flushes = new OperationList();
  private readonly timed = new Set<DiskOperation>();
  private readonly anyTouched = new OverlapFilter();
  private readonly writeTouched = new OverlapFilter();
  private readonly command: BlockCommand;
  private sequence = 0;
  private hasStaged = false;
  private queue: DiskQueue | undefined;

  constructor(device: GuestBlockDevice, pool: PagePool, clock: Clock) {
    this.device = device;
    this.pool = pool;
    this.clock = clock;
    this.command = newBlockCommand();
    device.onComplete = (cookie, status) => this.completed(cookie, status);
  }

  /** Operations whose requests are out. */
  get inFlight(): number {
    return this.started.length + this.flushes.length;
  }

  /** Operations that wait for room, for memory, or for an overlapping one. */
  get waitingCount(): number {
    return this.waiting.length;
  }

  /** The queue of this disk for those who need no comfort; the same one each time. */
  openQueue(waitUntil?: (isDone: () => boolean) => void): DiskQueue {
    this.queue ??= new DiskQueue(this.device, this.pool, waitUntil);
    return this.queue;
  }

  /** Take in an operation; `poll` moves it. */
  start(operation: DiskOperation): void {
    operation.stage = 'waiting';
    this.waiting.push(operation);
    if (operation.poolOffset >= 0) this.holdBuffer(operation, 1);
    if (operation.deadlineMs !== Number.POSITIVE_INFINITY) this.timed.add(operation);
  }

  /** The caller no longer waits: it is told `why` at once; requests that are out run on without its buffers. */
  giveUp(operation: DiskOperation, why: BlockErrorCode): void {
    if (operation.isDone) return;
    operation.givenUp = why;
    this.tell(operation);
    if (operation.stage === 'waiting') {
      this.waiting.remove(operation);
      if (operation.outstanding === 0) this.end(operation);
      else this.enterStarted(operation);
    } else if (operation.stage === 'flushing' && operation.outstanding === 0) {
      this.flushes.remove(operation);
      this.end(operation);
    }
  }

  poll(): boolean {
    let hasWorked = this.device.poll();
    if (this.waiting.head !== undefined || this.flushes.head !== undefined) {
      if (this.device.isGone) this.refuseWaiting();
      this.issueWaiting();
      this.issueFlushes();
    }
    if (this.timed.size > 0 && this.expire()) hasWorked = true;
    if (this.hasStaged) {
      this.hasStaged = false;
      this.device.kick();
      hasWorked = true;
    }
    return hasWorked;
  }

  arm(): boolean {
    return this.device.arm?.() ?? false;
  }

  deadlineMs(): number {
    let earliest = this.device.deadlineMs?.() ?? Number.POSITIVE_INFINITY;
    for (const operation of this.timed) earliest = Math.min(earliest, operation.deadlineMs);
    return earliest;
  }

  expectsAnswer(): boolean {
    return this.device.expectsAnswer?.() ?? false;
  }

  needsEventLoop(): boolean {
    return this.device.needsEventLoop?.() ?? false;
  }

  /** The device is gone: what waits for it, for memory or for others would wait for ever. */
  private refuseWaiting(): void {
    for (const list of [this.waiting, this.flushes]) {
      for (let operation = list.head; operation !== undefined; ) {
        const next: DiskOperation | undefined = operation.next;
        operation.status = BLOCK_STATUS.aborted;
        if (operation.outstanding === 0) {
          list.remove(operation);
          this.end(operation);
        }
        operation = next;
      }
    }
  }

  private issueWaiting(): void {
    for (let operation = this.waiting.head; operation !== undefined; operation = this.waiting.head) {
      if (operation.op === BLOCK_OP.flush) {
        this.waiting.remove(operation);
        this.enterFlushes(operation);
      } else {
        if (operation.issuedSectors === 0 && this.hasConflict(operation)) return;
        if (!this.issue(operation)) return;
        // A device that is gone may have answered within the call.
        if (operation.stage !== 'waiting') continue;
        this.waiting.remove(operation);
        this.enterStarted(operation);
        if (operation.outstanding === 0) this.answered(operation);
      }
    }
  }

  /** Issue what is left of `operation`. @returns false if the device, the commands or the memory ran out */
  private issue(operation: DiskOperation): boolean {
    while (operation.issuedSectors < operation.sectors) {
      if (!(operation.hasData ? this.issueData(operation) : this.issueRange(operation, operation.op))) return false;
    }
    return true;
  }

  private issueData(operation: DiskOperation): boolean {
    const from = operation.issuedSectors * SECTOR_BYTES;
    const isDirect = operation.poolOffset >= 0;
    const at = isDirect ? operation.poolOffset + from : 0;
    const firstOffset = at & (PAGE_SIZE - 1);
    const maxPages = Math.min(this.device.maxPages, isDirect ? this.device.maxPages : this.pool.run.frames >> 2);
    const room = maxPages * SECTORS_PER_PAGE - firstOffset / SECTOR_BYTES;
    const sectors = Math.min(operation.sectors - operation.issuedSectors, room);
    if (sectors <= 0) return false; // no back end attached: nothing can be carried
    const pageCount = (firstOffset + sectors * SECTOR_BYTES + PAGE_SIZE - 1) >> PAGE_SHIFT;
    const firstPage = isDirect ? at >> PAGE_SHIFT : this.pool.take(pageCount);
    if (firstPage < 0) return false;
    if (!isDirect && operation.op === BLOCK_OP.write) {
      operation.copyOut(from, this.memory(firstPage, sectors));
    }
    const { command } = this;
    for (let i = 0; i < pageCount; i += 1) command.busPages[i] = this.pool.run.first + firstPage + i;
    command.pageCount = pageCount;
    command.firstOffset = firstOffset;
    const isIssued = this.submit(operation, operation.op, sectors, isDirect ? -1 : firstPage, pageCount);
    if (!isIssued && !isDirect) this.pool.giveBack(firstPage, pageCount);
    return isIssued;
  }

  private issueRange(operation: DiskOperation, op: BlockOp): boolean {
    this.command.pageCount = 0;
    this.command.firstOffset = 0;
    return this.submit(operation, op, op === BLOCK_OP.flush ? 0 : operation.sectors, -1, 0);
  }

  private submit(op: DiskOperation, kind: BlockOp, sectors: number, firstPage: number, pageCount: number): boolean {
    if (this.commands.isFull) return false;
    const { command, device } = this;
    command.op = kind;
    command.startSector = kind === BLOCK_OP.flush ? 0 : op.startSector + op.issuedSectors;
    command.sectors = sectors;
    command.isForceUnitAccess = op.isForceUnitAccess && kind === BLOCK_OP.write && device.hasForceUnitAccess;
    const cookie = this.commands.add(op, op.issuedSectors, sectors, firstPage, pageCount);
    command.cookie = cookie;
    op.outstanding += 1;
    op.issuedSectors += sectors;
    if (device.submit(command)) {
      this.hasStaged = true;
      return true;
    }
    op.outstanding -= 1;
    op.issuedSectors -= sectors;
    this.commands.remove(cookie);
    return false;
  }

  private completed(cookie: number, status: BlockStatus): void {
    if (cookie >= QUEUE_COOKIES) {
      this.queue?.completed(cookie - QUEUE_COOKIES, status);
      return;
    }
    const { commands } = this;
    const operation = commands.operationOf(cookie);
    if (operation === undefined) return; // a native device may complete what was given up at a reset
    const firstPage = commands.firstPageOf(cookie);
    if (firstPage >= 0) {
      const isWanted = operation.op === BLOCK_OP.read && status === BLOCK_STATUS.okay && !operation.isDone;
      if (isWanted) {
        operation.copyIn(commands.fromOf(cookie) * SECTOR_BYTES, this.memory(firstPage, commands.sectorsOf(cookie)));
      }
      this.pool.giveBack(firstPage, commands.pagesOf(cookie));
    }
    commands.remove(cookie);
    operation.outstanding -= 1;
    if (status !== BLOCK_STATUS.okay && operation.status === BLOCK_STATUS.okay) operation.status = status;
    if (operation.outstanding === 0 && operation.stage !== 'waiting') this.answered(operation);
  }

  /** Everything that was issued for `operation` is answered. */
  private answered(operation: DiskOperation): void {
    if (operation.stage === 'flushing') {
      this.flushes.remove(operation);
    } else {
      this.started.remove(operation);
      this.touch(operation, -1);
      const isUnforced = operation.isForceUnitAccess && !this.device.hasForceUnitAccess;
      if (isUnforced && operation.op === BLOCK_OP.write && operation.status === BLOCK_STATUS.okay) {
        this.enterFlushes(operation);
        return;
      }
    }
    this.end(operation);
  }

  private end(operation: DiskOperation): void {
    operation.stage = 'over';
    if (operation.poolOffset >= 0) this.holdBuffer(operation, -1);
    this.tell(operation);
  }

  private tell(operation: DiskOperation): void {
    if (operation.isDone) return;
    operation.isDone = true;
    this.timed.delete(operation);
    operation.onDone(operation);
  }

  private enterStarted(operation: DiskOperation): void {
    operation.stage = 'started';
    operation.sequence = this.sequence;
    this.sequence = (this.sequence + 1) | 0;
    this.started.push(operation);
    this.touch(operation, 1);
  }

  /** Queue a flush, or the flush of a write that the device cannot force. */
  private enterFlushes(operation: DiskOperation): void {
    operation.stage = 'flushing';
    operation.sequence = this.sequence;
    this.flushes.push(operation);
  }

  private issueFlushes(): void {
    for (let flush = this.flushes.head; flush !== undefined; ) {
      const next: DiskOperation | undefined = flush.next;
      if (flush.outstanding === 0 && !this.hasEarlierWrite(flush) && !this.issueRange(flush, BLOCK_OP.flush)) return;
      flush = next;
    }
  }

  private hasEarlierWrite(flush: DiskOperation): boolean {
    if (flush.op !== BLOCK_OP.flush) return false; // it follows its own write only
    for (let other = this.started.head; other !== undefined; other = other.next) {
      if (((other.sequence - flush.sequence) | 0) >= 0) return false; // in order: all others came later
      if (other.isWriting) return true;
    }
    return false;
  }

  private hasConflict(operation: DiskOperation): boolean {
    const filter = operation.isWriting ? this.anyTouched : this.writeTouched;
    if (!filter.mayTouch(operation.startSector, operation.sectors)) return false;
    for (let other = this.started.head; other !== undefined; other = other.next) {
      if (operation.conflictsWith(other)) return true;
    }
    return false;
  }

  private touch(operation: DiskOperation, change: 1 | -1): void {
    this.anyTouched.count(operation.startSector, operation.sectors, change);
    if (operation.isWriting) this.writeTouched.count(operation.startSector, operation.sectors, change);
  }

  private expire(): boolean {
    const now = this.clock.nowMs();
    let hasExpired = false;
    for (const operation of this.timed) {
      if (operation.deadlineMs > now) continue;
      this.giveUp(operation, 'BLOCK_TIMEOUT');
      hasExpired = true;
    }
    return hasExpired;
  }

  private holdBuffer(operation: DiskOperation, change: 1 | -1): void {
    const first = operation.poolOffset >> PAGE_SHIFT;
    const last = (operation.poolOffset + operation.lengthBytes - 1) >> PAGE_SHIFT;
    if (change === 1) this.pool.retain(first, last - first + 1);
    else this.pool.giveBack(first, last - first + 1);
  }

  private memory(firstPage: number, sectors: number): Uint8Array {
    const at = firstPage * PAGE_SIZE;
    return this.pool.run.bytes.subarray(at, at + sectors * SECTOR_BYTES);
  }
}
