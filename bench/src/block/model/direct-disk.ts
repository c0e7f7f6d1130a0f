// A disk without a controller: the back end's commands read and write the image, straight from and to the guest's pages.
//
// The like path that the modeled hardware is measured against: no submission or completion queue, no PRPs, no doorbell,
// no interrupt, no I/O page table. It works at the same moments: eight commands when it is kicked, eight in each poll.
import {
  BLOCK_OP,
  BLOCK_STATUS,
  type BlockCommand,
  type BlockDevice,
  ImageFile,
  newBlockCommand,
} from '@splitring/device';
import { type DomainHypercalls, EXTENT_SHIFT, extentOffset, type FrameNumber, PAGE_SIZE } from '@splitring/hypervisor';

const TAGS = 256;
const BURST = 8;
const SECTOR_BYTES = 512;

/** Reads and writes only, of whole pages: what the benchmark asks for. */
export class DirectDisk implements BlockDevice {
  readonly logicalBlockBytes = 512;
  readonly physicalBlockBytes = 4096;
  readonly isReadOnly = false;
  readonly hasDiscard = false;
  readonly maxPages = 256;
  onComplete: BlockDevice['onComplete'] = () => {};
  private readonly image: ImageFile;
  private readonly hypercalls: DomainHypercalls;
  private readonly extents: (Uint8Array | undefined)[] = [];
  /** Staged, carried out and told, in this order, each by a counter modulo the tags. */
  private readonly commands: readonly BlockCommand[];
  private readonly statuses = new Uint8Array(TAGS);
  private staged = 0;
  private done = 0;
  private told = 0;

  constructor(path: string, hypercalls: DomainHypercalls) {
    this.image = new ImageFile({ path });
    this.hypercalls = hypercalls;
    this.commands = Array.from({ length: TAGS }, newBlockCommand);
  }

  get capacitySectors(): number {
    return this.image.capacityBytes / SECTOR_BYTES;
  }

  get freeTags(): number {
    return TAGS - (this.staged - this.told);
  }

  submit(command: BlockCommand): boolean {
    if (this.freeTags === 0) return false;
    const mine = this.commands[this.staged % TAGS] as BlockCommand; // in range
    mine.op = command.op;
    mine.startSector = command.startSector;
    mine.sectors = command.sectors;
    mine.cookie = command.cookie;
    mine.pageCount = command.pageCount;
    for (let i = 0; i < command.pageCount; i += 1) mine.busPages[i] = command.busPages[i] as number; // pageCount of them
    this.staged += 1;
    return true;
  }

  kick(): void {
    for (let left = BURST; left > 0 && this.done < this.staged; left -= 1) {
      const at = this.done % TAGS;
      this.statuses[at] = this.carryOut(this.commands[at] as BlockCommand); // in range
      this.done += 1;
    }
  }

  poll(): boolean {
    const hasWorked = this.told < this.done;
    while (this.told < this.done) {
      const at = this.told % TAGS;
      this.told += 1;
      this.onComplete((this.commands[at] as BlockCommand).cookie, this.statuses[at] === 0 ? 0 : BLOCK_STATUS.error); // in range
    }
    this.kick();
    return hasWorked || this.told < this.done;
  }

  private carryOut(command: BlockCommand): number {
    const position = command.startSector * SECTOR_BYTES;
    const { busPages, pageCount, op } = command;
    const first = busPages[0] as FrameNumber; // it carries data; the back end gave a frame
    let following = 1;
    while (following < pageCount && busPages[following] === first + following) following += 1;
    if (following === pageCount) {
      const extent = this.extentOf(first);
      const offset = extentOffset(first);
      const length = pageCount * PAGE_SIZE;
      return op === BLOCK_OP.read
        ? this.image.read(position, extent, offset, length)
        : this.image.write(position, extent, offset, length);
    }
    const views = busPages.slice(0, pageCount).map((page) => {
      const at = extentOffset(page as FrameNumber); // as above
      return this.extentOf(page as FrameNumber).subarray(at, at + PAGE_SIZE);
    });
    return op === BLOCK_OP.read ? this.image.readVector(position, views) : this.image.writeVector(position, views);
  }

  private extentOf(frame: FrameNumber): Uint8Array {
    const extent = frame >>> EXTENT_SHIFT;
    const known = this.extents[extent];
    if (known !== undefined) return known;
    const bytes = this.hypercalls.memory.extent(extent)?.bytes;
    if (bytes === undefined) throw new RangeError(`Cannot reach frame ${frame}: its extent is not held here`);
    this.extents[extent] = bytes;
    return bytes;
  }
}
