// The disk as a guest program sees it, the same under every way to the device.
import { BLOCK_OP, BLOCK_STATUS, type BlockOp } from '@splitring/device';
import { type Clock, PAGE_SHIFT, PAGE_SIZE } from '@splitring/hypervisor';
import { SECTOR_BYTES } from '@splitring/hypervisor/io';
import { blockError, codeOfStatus } from './block-error.ts';
import { DiskEngine } from './disk-engine.ts';
import { DiskOperation } from './disk-operation.ts';
import type { DiskQueue } from './disk-queue.ts';
import type { BlockCounters, GuestBlockDevice } from './guest-block-device.ts';
import type { PagePool } from './page-pool.ts';

/** What a disk is made of. */
export interface DiskOptions {
  /** Name for people: `xvda`. */
  readonly name: string;
  readonly device: GuestBlockDevice;
  readonly pool: PagePool;
  readonly clock: Clock;
  /** Have the domain polled soon: requests are waiting to be published. */
  readonly requestPoll: () => void;
  /** Poll the domain until `isDone`; undefined where nothing may block, and the synchronous calls throw. */
  readonly waitUntil: ((isDone: () => boolean) => void) | undefined;
}

/** How one request is made; everything is optional. */
export interface DiskRequestOptions {
  /** Give up after so many milliseconds with `BLOCK_TIMEOUT`. */
  readonly timeoutMs?: number;
  /** Give up when aborted; the call rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Options of a write. */
export interface DiskWriteOptions extends DiskRequestOptions {
  /** Have the data on the medium before the call completes. */
  readonly isDurable?: boolean;
}

/** A place on the disk: a byte offset, safe integer or bigint. */
export type DiskOffset = number | bigint;

/**
 * A disk. Offsets and lengths are bytes and multiples of `blockBytes`.
 *
 * A caller's mistake (a wrong range, a foreign type) throws RangeError or TypeError at once and changes nothing. What the
 * device refuses or fails ends in a {@link BlockError}, for that request alone. Buffers belong to the disk until the call
 * completes. Buffers from `allocate` travel without being copied.
 *
 * @example
 * await disk.write(4096, bytes);
 * await disk.flush(); // everything written before is on the medium now
 * disk.readSync(4096, bytes);
 */
export class Disk {
  readonly name: string;
  /** Called when size or abilities of the disk have changed. */
  onChange: () => void = () => {};
  private readonly engine: DiskEngine;
  private readonly options: DiskOptions;

  constructor(options: DiskOptions) {
    this.name = options.name;
    this.options = options;
    this.engine = new DiskEngine(options.device, options.pool, options.clock);
    options.device.onChange = () => this.onChange();
  }

  /** The machine to be polled; whoever makes the disk adds it to the kernel. */
  get machine(): DiskEngine {
    return this.engine;
  }

  /** Size in bytes now; a disk may grow or shrink while in use. */
  get capacityBytes(): number {
    return this.options.device.capacitySectors * SECTOR_BYTES;
  }

  /** Unit of every access in bytes. */
  get blockBytes(): number {
    return this.options.device.logicalBlockBytes;
  }

  /** Unit that the medium writes without reading first, in bytes. */
  get physicalBlockBytes(): number {
    return this.options.device.physicalBlockBytes;
  }

  /** Whether writes are refused. */
  get isReadOnly(): boolean {
    return this.options.device.isReadOnly;
  }

  /** Whether `flush` is offered. Without it, nothing on this disk can be made durable. */
  get hasFlush(): boolean {
    return this.options.device.hasFlush;
  }

  /** Whether `discard` is offered. */
  get hasDiscard(): boolean {
    return this.options.device.hasDiscard;
  }

  /** Unit of `discard` in bytes: only whole ones, counted from `discardAlignmentBytes`, are sure to be given back. */
  get discardGranularityBytes(): number {
    return this.options.device.discardGranularityBytes;
  }

  /** Byte at which the first unit of `discard` begins. */
  get discardAlignmentBytes(): number {
    return this.options.device.discardAlignmentBytes;
  }

  /** Whether the medium may be taken out: `onChange` tells. */
  get isRemovable(): boolean {
    return this.options.device.isRemovable;
  }

  /** Operations under way. */
  get inFlight(): number {
    return this.engine.inFlight;
  }

  /** Operations that wait for room: the back-pressure. */
  get waiting(): number {
    return this.engine.waitingCount;
  }

  /** Requests, notifications and publications so far: requests of a size that the device takes, not calls. */
  get counters(): Readonly<BlockCounters> {
    return this.options.device.counters;
  }

  /** Bytes that `allocate` and copied requests share and that are free now. */
  get freeBufferBytes(): number {
    return Math.max(0, this.options.pool.freePages) * PAGE_SIZE;
  }

  /**
   * Take a buffer whose data moves without being copied: whole pages, zero or not, that start at a page boundary. A
   * request with part of a page lets the back end see all of that page.
   * @returns undefined if there is no such room now
   */
  allocate(lengthBytes: number): Uint8Array | undefined {
    if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 1) {
      throw new RangeError(`Cannot allocate ${lengthBytes} bytes: not a positive integer`);
    }
    const { pool } = this.options;
    const first = pool.take(Math.ceil(lengthBytes / PAGE_SIZE));
    return first < 0 ? undefined : pool.run.bytes.subarray(first * PAGE_SIZE, first * PAGE_SIZE + lengthBytes);
  }

  /** Give back a buffer from `allocate`. Requests in flight keep it until they are done. */
  release(buffer: Uint8Array): void {
    const { pool } = this.options;
    const offset = pool.offsetOf(buffer);
    if (offset < 0 || !pool.isTaken(offset, buffer.byteLength)) {
      throw new TypeError('Cannot release this buffer: it is not allocated from this disk');
    }
    const first = offset >> PAGE_SHIFT;
    pool.giveBackZeroed(first, Math.ceil((offset + buffer.byteLength) / PAGE_SIZE) - first);
  }

  /** The disk without comfort, for programs that count nanoseconds. Ordering with the methods here is the caller's. */
  openQueue(): DiskQueue {
    return this.engine.openQueue(this.options.waitUntil);
  }

  /** Read into a buffer, or into several one after the other. */
  read(offset: DiskOffset, into: Uint8Array | readonly Uint8Array[], options?: DiskRequestOptions): Promise<void> {
    return this.run(this.transfer(BLOCK_OP.read, offset, into, false), options);
  }

  /** Read, blocking this thread. */
  readSync(offset: DiskOffset, into: Uint8Array | readonly Uint8Array[], timeoutMs?: number): void {
    this.runSync(this.transfer(BLOCK_OP.read, offset, into, false), timeoutMs);
  }

  /** Write a buffer, or several one after the other. Done means accepted, not durable: see `flush` and `isDurable`. */
  write(offset: DiskOffset, from: Uint8Array | readonly Uint8Array[], options?: DiskWriteOptions): Promise<void> {
    return this.run(this.transfer(BLOCK_OP.write, offset, from, options?.isDurable === true), options);
  }

  /** Write, blocking this thread. */
  writeSync(offset: DiskOffset, from: Uint8Array | readonly Uint8Array[], options?: Omit<DiskWriteOptions, 'signal'>) {
    this.runSync(this.transfer(BLOCK_OP.write, offset, from, options?.isDurable === true), options?.timeoutMs);
  }

  /** Make durable every write called before, finished or not. A disk without flush refuses: it never pretends. */
  flush(options?: DiskRequestOptions): Promise<void> {
    return this.run(this.flushOperation(), options);
  }

  /** Flush, blocking this thread. */
  flushSync(timeoutMs?: number): void {
    this.runSync(this.flushOperation(), timeoutMs);
  }

  /** Tell that a range is no longer wanted; what it reads as afterwards is not defined. */
  discard(offset: DiskOffset, lengthBytes: number, options?: DiskRequestOptions): Promise<void> {
    return this.run(this.range(BLOCK_OP.discard, offset, lengthBytes), options);
  }

  /** Discard, blocking this thread. */
  discardSync(offset: DiskOffset, lengthBytes: number, timeoutMs?: number): void {
    this.runSync(this.range(BLOCK_OP.discard, offset, lengthBytes), timeoutMs);
  }

  /** Make a range read as zeros. */
  writeZeroes(offset: DiskOffset, lengthBytes: number, options?: DiskRequestOptions): Promise<void> {
    return this.run(this.range(BLOCK_OP.writeZeroes, offset, lengthBytes), options);
  }

  /** Write zeros, blocking this thread. */
  writeZeroesSync(offset: DiskOffset, lengthBytes: number, timeoutMs?: number): void {
    this.runSync(this.range(BLOCK_OP.writeZeroes, offset, lengthBytes), timeoutMs);
  }

  private run(operation: DiskOperation, options: DiskRequestOptions | undefined): Promise<void> {
    const signal = options?.signal;
    if (signal?.aborted) return Promise.reject(signal.reason);
    this.setDeadline(operation, options?.timeoutMs);
    return new Promise((resolve, reject) => {
      const abort = () => this.engine.giveUp(operation, 'BLOCK_CANCELLED');
      operation.onDone = () => {
        signal?.removeEventListener('abort', abort);
        if (operation.givenUp === 'BLOCK_CANCELLED') reject(signal?.reason);
        else if (operation.givenUp !== undefined || operation.status !== BLOCK_STATUS.okay)
          reject(this.error(operation));
        else resolve();
      };
      signal?.addEventListener('abort', abort);
      this.begin(operation);
      this.options.requestPoll();
    });
  }

  private runSync(operation: DiskOperation, timeoutMs: number | undefined): void {
    const { waitUntil } = this.options;
    if (waitUntil === undefined) {
      throw new TypeError(`Cannot wait for ${this.name}: this domain lives on its event loop, use the promise instead`);
    }
    this.setDeadline(operation, timeoutMs);
    this.begin(operation);
    waitUntil(() => operation.isDone);
    if (operation.givenUp !== undefined || operation.status !== BLOCK_STATUS.okay) throw this.error(operation);
  }

  /** Hand the operation to the engine, or refuse it with the status that the device would give. */
  private begin(operation: DiskOperation): void {
    const isEmpty = operation.sectors === 0 && operation.op !== BLOCK_OP.flush;
    if (this.refuse(operation) || isEmpty) {
      operation.isDone = true;
      operation.onDone(operation);
    } else {
      this.engine.start(operation);
    }
  }

  private refuse(operation: DiskOperation): boolean {
    const { device } = this.options;
    if (device.isGone) operation.status = BLOCK_STATUS.aborted;
    else if (operation.isWriting && device.isReadOnly) operation.status = BLOCK_STATUS.readOnly;
    else if (operation.startSector > device.capacitySectors - operation.sectors) {
      operation.status = BLOCK_STATUS.outOfRange;
    } else if (operation.op === BLOCK_OP.discard && !device.hasDiscard) operation.status = BLOCK_STATUS.unsupported;
    else if ((operation.op === BLOCK_OP.flush || this.isUnforceable(operation)) && !device.hasFlush) {
      operation.status = BLOCK_STATUS.unsupported;
    }
    return operation.status !== BLOCK_STATUS.okay;
  }

  private isUnforceable(operation: DiskOperation): boolean {
    return operation.isForceUnitAccess && !this.options.device.hasForceUnitAccess;
  }

  private setDeadline(operation: DiskOperation, timeoutMs: number | undefined): void {
    if (timeoutMs === undefined) return;
    if (!(timeoutMs >= 0)) throw new RangeError(`Cannot wait ${timeoutMs} ms: not a number from 0 up`);
    operation.deadlineMs = this.options.clock.nowMs() + timeoutMs;
  }

  private flushOperation(): DiskOperation {
    return new DiskOperation(BLOCK_OP.flush, 0, 0);
  }

  private transfer(
    op: BlockOp,
    offset: DiskOffset,
    buffers: Uint8Array | readonly Uint8Array[],
    isForceUnitAccess: boolean,
  ): DiskOperation {
    const parts = buffers instanceof Uint8Array ? [buffers] : buffers;
    let lengthBytes = 0;
    for (const part of parts) {
      if (!(part instanceof Uint8Array)) throw new TypeError('Cannot use this buffer: not a Uint8Array');
      lengthBytes += part.byteLength;
    }
    const { startSector, sectors } = this.sectorRange(offset, lengthBytes);
    return new DiskOperation(op, startSector, sectors, parts, isForceUnitAccess, this.poolOffset(parts));
  }

  /** Where the one buffer lies in the pool, if the device can move its data straight from and to there. */
  private poolOffset(parts: readonly Uint8Array[]): number {
    const { pool } = this.options;
    const part = parts[0];
    const offset = parts.length === 1 && part !== undefined && part.byteLength > 0 ? pool.offsetOf(part) : -1;
    if (offset < 0 || part === undefined) return -1;
    if (!pool.isTaken(offset, part.byteLength)) {
      throw new TypeError('Cannot use this buffer: it was released');
    }
    return offset % SECTOR_BYTES === 0 ? offset : -1;
  }

  private range(op: BlockOp, offset: DiskOffset, lengthBytes: number): DiskOperation {
    const { startSector, sectors } = this.sectorRange(offset, lengthBytes);
    // Without help from the device, zeros are written like anything else.
    const isPlainWrite = op === BLOCK_OP.writeZeroes && !this.options.device.hasWriteZeroes;
    return new DiskOperation(isPlainWrite ? BLOCK_OP.write : op, startSector, sectors);
  }

  private sectorRange(offset: DiskOffset, lengthBytes: number): { startSector: number; sectors: number } {
    const from = Number(offset);
    const unit = this.blockBytes;
    if (!Number.isSafeInteger(from) || from < 0 || from % unit !== 0) {
      throw new RangeError(`Cannot access ${this.name} at ${offset}: not a multiple of ${unit} from 0 up`);
    }
    if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 0 || lengthBytes % unit !== 0) {
      throw new RangeError(`Cannot access ${lengthBytes} bytes of ${this.name}: not a multiple of ${unit} from 0 up`);
    }
    return { startSector: from / SECTOR_BYTES, sectors: lengthBytes / SECTOR_BYTES };
  }

  private error(operation: DiskOperation) {
    const names = ['read', 'write', 'flush', 'discard', 'zero'] as const; // by BlockOp
    return blockError(operation.givenUp ?? codeOfStatus(operation.status), {
      disk: this.name,
      operation: names[operation.op],
      offset: operation.startSector * SECTOR_BYTES,
      lengthBytes: operation.lengthBytes,
    });
  }
}
