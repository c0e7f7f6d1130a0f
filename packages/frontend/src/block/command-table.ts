// The commands that a disk has out, by cookie.
// hot path: bench/src/block
import type { DiskOperation } from './disk-operation.ts';

/** One array per field; a cookie is an index, in use from `add` to `remove`. */
export class CommandTable {
  private readonly free: Int32Array;
  private freeCount: number;
  private readonly operations: (DiskOperation | undefined)[];
  private readonly from: Float64Array;
  private readonly sectors: Float64Array;
  private readonly firstPage: Int32Array;
  private readonly pages: Int32Array;

  /** Make a table of `size` commands. */
  constructor(size: number) {
    this.free = Int32Array.from({ length: size }, (_, i) => size - 1 - i);
    this.freeCount = size;
    this.operations = new Array(size).fill(undefined);
    this.from = new Float64Array(size);
    this.sectors = new Float64Array(size);
    this.firstPage = new Int32Array(size);
    this.pages = new Int32Array(size);
  }

  /** Whether no cookie is free. */
  get isFull(): boolean {
    return this.freeCount === 0;
  }

  /** Record a command for `sectors` of `operation` from its sector `from` on. @returns its cookie */
  add(operation: DiskOperation, from: number, sectors: number, firstPage: number, pages: number): number {
    this.freeCount -= 1;
    const cookie = this.free[this.freeCount] as number; // the caller checked isFull
    this.operations[cookie] = operation;
    this.from[cookie] = from;
    this.sectors[cookie] = sectors;
    this.firstPage[cookie] = firstPage;
    this.pages[cookie] = pages;
    return cookie;
  }

  /** Forget a command. */
  remove(cookie: number): void {
    this.operations[cookie] = undefined;
    this.free[this.freeCount] = cookie;
    this.freeCount += 1;
  }

  /** Whose command it is; undefined if the cookie is not in use. */
  operationOf(cookie: number): DiskOperation | undefined {
    return this.operations[cookie];
  }

  /** First sector within the operation. */
  fromOf(cookie: number): number {
    return this.from[cookie] as number; // in range: the cookie is in use
  }

  /** Sectors it moves. */
  sectorsOf(cookie: number): number {
    return this.sectors[cookie] as number; // likewise
  }

  /** First pool page taken for it, or -1 if the data lies in the caller's own pool buffer. */
  firstPageOf(cookie: number): number {
    return this.firstPage[cookie] as number; // likewise
  }

  /** Pool pages taken for it. */
  pagesOf(cookie: number): number {
    return this.pages[cookie] as number; // likewise
  }
}
