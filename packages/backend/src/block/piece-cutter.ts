// Cuts a request that no single device command can carry into several that can.
import { BLOCK_OP, type BlockCommand, type BlockDevice, newBlockCommand } from '@splitring/device';
import { SECTOR_BYTES, SECTORS_PER_PAGE } from '@splitring/hypervisor/io';
import { type BlkifParser, spanFirst, spanSectors } from './blkif-parser.ts';

/** Most sectors of a discard or zeroing in one command: 32 MiB, so that none holds the device for long. */
const MAX_RANGE_SECTORS = 65_536;

/**
 * Yields one command after the other. A device command takes pages that are full but the first and the last, so a new
 * piece begins wherever a segment starts or ends inside its page.
 */
export class PieceCutter {
  private readonly maxPages: number;
  private readonly command: BlockCommand;
  private parser: BlkifParser | undefined;
  private frames: Int32Array;
  private segment: number;
  private sector: number;
  private sectorsLeft: number;
  private lastSegment: number;
  private lastSectors: number;

  constructor(device: BlockDevice) {
    this.maxPages = device.maxPages;
    this.command = newBlockCommand();
    this.parser = undefined;
    this.frames = new Int32Array(0);
    this.segment = 0;
    this.sector = 0;
    this.sectorsLeft = 0;
    this.lastSegment = 0;
    this.lastSectors = 0;
  }

  /** Begin with the request in `parser`, which must stay as it is until `hasNext` is false. */
  begin(parser: BlkifParser, frames: Int32Array, firstSector: number): void {
    this.parser = parser;
    this.frames = frames;
    this.segment = 0;
    this.sector = parser.op === BLOCK_OP.flush ? 0 : firstSector + parser.startSector;
    this.sectorsLeft = parser.op === BLOCK_OP.flush ? -1 : parser.sectors; // a flush is one command without sectors
  }

  /** Whether there is another piece. */
  get hasNext(): boolean {
    return this.sectorsLeft !== 0;
  }

  /** The next piece; valid until the next call. */
  next(): BlockCommand {
    const { command, parser } = this;
    if (parser === undefined) return command; // begin() was called: see hasNext
    command.op = parser.op;
    command.startSector = this.sector;
    command.isForceUnitAccess = parser.isForceUnitAccess;
    command.pageCount = 0;
    command.firstOffset = 0;
    command.sectors = 0;
    this.lastSegment = this.segment;
    if (parser.count > 0) this.fillPages(parser);
    else if (this.sectorsLeft > 0) command.sectors = Math.min(this.sectorsLeft, MAX_RANGE_SECTORS);
    this.lastSectors = command.sectors;
    this.sector += command.sectors;
    this.sectorsLeft = this.sectorsLeft < 0 ? 0 : this.sectorsLeft - command.sectors;
    return command;
  }

  /** The device had no room for the last piece: yield it again. */
  putBack(): void {
    this.segment = this.lastSegment;
    this.sector -= this.lastSectors;
    this.sectorsLeft = this.lastSectors === 0 ? -1 : this.sectorsLeft + this.lastSectors;
  }

  private fillPages(parser: BlkifParser): void {
    const { command } = this;
    command.firstOffset = spanFirst(parser.spans[this.segment] as number) * SECTOR_BYTES; // a piece is left: in range
    while (this.segment < parser.count && command.pageCount < this.maxPages) {
      const span = parser.spans[this.segment] as number; // below `count`
      const first = spanFirst(span);
      const sectors = spanSectors(span);
      if (command.pageCount > 0 && first !== 0) return;
      command.busPages[command.pageCount] = this.frames[this.segment] as number;
      command.pageCount += 1;
      command.sectors += sectors;
      this.segment += 1;
      if (first + sectors !== SECTORS_PER_PAGE) return;
    }
  }
}
