// One call to a disk on its way: a range, its buffers, and how much of it is issued and answered.
// hot path: bench/src/block
import { BLOCK_OP, BLOCK_STATUS, type BlockOp, type BlockStatus } from '@splitring/device';
import { SECTOR_BYTES } from '@splitring/hypervisor/io';
import type { BlockErrorCode } from './block-error.ts';

/** Whose memory the data of an operation travels in. */
const COPIED = -1;

/** State of one operation; the engine and the lists that it stands in write here. */
export class DiskOperation {
  readonly op: BlockOp;
  readonly startSector: number;
  readonly sectors: number;
  readonly isForceUnitAccess: boolean;
  /** The caller's buffers, in order; together `sectors * 512` bytes. */
  readonly parts: readonly Uint8Array[];
  /** Byte offset in the page pool where the one buffer lies that needs no copying, or -1. */
  readonly poolOffset: number;
  /** Called once, when the outcome is known. */
  onDone: (operation: DiskOperation) => void = () => {};
  /** Clock time at which the caller gives up, or Infinity. */
  deadlineMs = Number.POSITIVE_INFINITY;
  /** Sectors for which a request is out. */
  issuedSectors = 0;
  /** Requests in flight. */
  outstanding = 0;
  /** The first failure, or okay. */
  status: BlockStatus = BLOCK_STATUS.okay;
  /** The caller knows the outcome. */
  isDone = false;
  /** Why the caller has given up (timeout, abort), if it has: its buffers must not be touched any more. */
  givenUp: BlockErrorCode | undefined = undefined;
  /** Where it stands: in a list of the engine, or in none. */
  stage: 'new' | 'waiting' | 'started' | 'flushing' | 'over' = 'new';
  /** A write without buffers: of zeros. */
  readonly isZeroFill: boolean;
  /** Place in the order of starting, int32. */
  sequence = 0;
  /** Neighbours in the list of started or waiting operations. */
  previous: DiskOperation | undefined = undefined;
  next: DiskOperation | undefined = undefined;

  constructor(
    op: BlockOp,
    startSector: number,
    sectors: number,
    parts: readonly Uint8Array[] = [],
    isForceUnitAccess = false,
    poolOffset: number = COPIED,
  ) {
    this.op = op;
    this.startSector = startSector;
    this.sectors = sectors;
    this.parts = parts;
    this.isZeroFill = op === BLOCK_OP.write && parts.length === 0;
    this.isForceUnitAccess = isForceUnitAccess;
    this.poolOffset = poolOffset;
  }

  /** Whether data moves at all. */
  get hasData(): boolean {
    return this.op === BLOCK_OP.read || this.op === BLOCK_OP.write;
  }

  /** Whether it changes the disk. */
  get isWriting(): boolean {
    return this.op !== BLOCK_OP.read && this.op !== BLOCK_OP.flush;
  }

  /** Whether two operations touch a common sector and one of them changes it. */
  conflictsWith(other: DiskOperation): boolean {
    if (!this.isWriting && !other.isWriting) return false;
    return this.startSector < other.startSector + other.sectors && other.startSector < this.startSector + this.sectors;
  }

  /** Fill `memory` from byte `from` of the caller's buffers. */
  copyOut(from: number, memory: Uint8Array): void {
    if (this.isZeroFill) memory.fill(0);
    else this.eachPart(from, memory.byteLength, (part, at) => memory.set(part, at));
  }

  /** Copy `memory` to byte `from` of the caller's buffers. */
  copyIn(from: number, memory: Uint8Array): void {
    this.eachPart(from, memory.byteLength, (part, at) => part.set(memory.subarray(at, at + part.byteLength)));
  }

  private eachPart(from: number, lengthBytes: number, copy: (part: Uint8Array, at: number) => void): void {
    const end = from + lengthBytes;
    let start = 0;
    for (const part of this.parts) {
      const low = Math.max(from, start);
      const high = Math.min(end, start + part.byteLength);
      if (low < high) copy(part.subarray(low - start, high - start), low - from);
      start += part.byteLength;
    }
  }

  /** Bytes that the caller asked for. */
  get lengthBytes(): number {
    return this.sectors * SECTOR_BYTES;
  }
}

/** Operations in order of arrival, each in at most one list. */
export class OperationList {
  head: DiskOperation | undefined = undefined;
  tail: DiskOperation | undefined = undefined;
  length = 0;

  /** Append. */
  push(operation: DiskOperation): void {
    operation.previous = this.tail;
    operation.next = undefined;
    if (this.tail === undefined) this.head = operation;
    else this.tail.next = operation;
    this.tail = operation;
    this.length += 1;
  }

  /** Take out from anywhere. */
  remove(operation: DiskOperation): void {
    if (operation.previous === undefined) this.head = operation.next;
    else operation.previous.next = operation.next;
    if (operation.next === undefined) this.tail = operation.previous;
    else operation.next.previous = operation.previous;
    operation.previous = undefined;
    operation.next = undefined;
    this.length -= 1;
  }
}
