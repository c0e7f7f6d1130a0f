// Merges neighbouring requests of one ring into one device command.
// hot path: bench/src/block
import { type BlockCommand, newBlockCommand } from '@splitring/device';
import { SECTORS_PER_PAGE } from '@splitring/hypervisor/io';
import { type BlkifParser, spanFirst } from './blkif-parser.ts';

/** Requests of this many pages gain nothing from being merged. */
const LARGE_PAGES = 32;
/** A command of neighbours is not cut in two by the end of a turn before it has so many pages. */
const WORTHWHILE_PAGES = 32;

/** The command that is being built, and the requests that it carries: a chain from `firstSlot` to `lastSlot`. */
export class CommandBuilder {
  readonly command: BlockCommand;
  /** First request carried, or −1. */
  firstSlot: number;
  /** Last request carried. */
  lastSlot: number;
  private readonly maxPages: number;

  /** Merge up to `maxPages` pages. */
  constructor(maxPages: number) {
    this.command = newBlockCommand();
    this.firstSlot = -1;
    this.lastSlot = -1;
    this.maxPages = maxPages;
  }

  /** Whether nothing is being built. */
  get isEmpty(): boolean {
    return this.firstSlot < 0;
  }

  /** Whether neighbours were merged into the command, and a few more would do it good. */
  get isGrowing(): boolean {
    return this.lastSlot !== this.firstSlot && this.firstSlot >= 0 && this.command.pageCount < WORTHWHILE_PAGES;
  }

  /** Whether the parsed request, which starts at device sector `start`, continues the command. */
  canTake(parser: BlkifParser, start: number): boolean {
    const { command } = this;
    return (
      this.firstSlot >= 0 &&
      command.op === parser.op &&
      command.startSector + command.sectors === start &&
      command.isForceUnitAccess === parser.isForceUnitAccess &&
      command.pageCount + parser.count <= this.maxPages &&
      parser.count < LARGE_PAGES &&
      spanFirst(parser.spans[0] as number) === 0 && // it has a segment
      // The command must end with its page for another to follow.
      ((command.firstOffset >> 9) + command.sectors) % SECTORS_PER_PAGE === 0
    );
  }

  /** Begin a command with the parsed request; `append` follows. */
  begin(parser: BlkifParser, start: number, slot: number): void {
    const { command } = this;
    this.firstSlot = slot;
    command.op = parser.op;
    command.startSector = start;
    command.sectors = 0;
    command.isForceUnitAccess = parser.isForceUnitAccess;
    command.firstOffset = spanFirst(parser.spans[0] as number) << 9; // it has a segment
    command.pageCount = 0;
  }

  /** Add the pages of the parsed request, which are `frames`. */
  append(parser: BlkifParser, frames: Int32Array, slot: number): void {
    const { command } = this;
    const { count } = parser;
    const { busPages } = command;
    const base = command.pageCount;
    for (let i = 0; i < count; i += 1) busPages[base + i] = frames[i] as number; // one for each segment
    command.pageCount = base + count;
    command.sectors += parser.sectors;
    this.lastSlot = slot;
  }

  /** The command is submitted: begin anew. */
  clear(): void {
    this.firstSlot = -1;
  }
}
