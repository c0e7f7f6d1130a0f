// The negotiation before a client may use an export: options in, replies out.
import type { Disk } from '../block/disk.ts';
import {
  BASE_ALLOCATION,
  type Field,
  MAX_PAYLOAD,
  message,
  NBD_FLAG,
  NBD_INFO,
  NBD_OPT,
  NBD_REP,
  OPTION_REPLY_MAGIC,
} from './nbd-protocol.ts';
import type { ZeroRanges } from './zero-ranges.ts';

/** The disk that is served, and what it is called. */
export interface NbdExport {
  readonly name: string;
  readonly disk: Disk;
  /** What of the disk is known to be zero, shared by all its connections; without it everything counts as data. */
  readonly zeroes?: ZeroRanges;
}

/** What happens after an option. */
export type OptionOutcome = 'next' | 'transmission' | 'close';

const PREFERRED_BLOCK = 4096;
const decoder = new TextDecoder();

/** What a disk can do, in the protocol's flags. Every connection shares the disk, so a flush covers them all. */
export function transmissionFlags(disk: Disk): number {
  let flags: number = NBD_FLAG.HAS_FLAGS | NBD_FLAG.SEND_DF | NBD_FLAG.CAN_MULTI_CONN;
  if (disk.isReadOnly) return flags | NBD_FLAG.READ_ONLY;
  flags |= NBD_FLAG.SEND_WRITE_ZEROES;
  if (disk.hasFlush) flags |= NBD_FLAG.SEND_FLUSH | NBD_FLAG.SEND_FUA;
  if (disk.hasDiscard) flags |= NBD_FLAG.SEND_TRIM;
  return flags;
}

/** Negotiates with one client. */
export class NbdOptions {
  /** The client wants structured replies. */
  hasStructuredReplies = false;
  /** The client has selected `base:allocation`. */
  hasAllocationContext = false;
  /** The client wants no padding after an old-style export reply. */
  hasNoZeroes = false;
  private readonly target: NbdExport;
  private readonly send: (bytes: Uint8Array) => void;

  constructor(target: NbdExport, send: (bytes: Uint8Array) => void) {
    this.target = target;
    this.send = send;
  }

  /** Answer one option; `data` is all that came with it. */
  answer(option: number, data: Uint8Array): OptionOutcome {
    switch (option) {
      case NBD_OPT.EXPORT_NAME:
        return this.exportName(data);
      case NBD_OPT.ABORT:
        this.reply(option, NBD_REP.ACK);
        return 'close';
      case NBD_OPT.LIST:
        return this.list(data);
      case NBD_OPT.INFO:
      case NBD_OPT.GO:
        return this.info(option, data);
      case NBD_OPT.STRUCTURED_REPLY:
        return this.structured(data);
      case NBD_OPT.LIST_META_CONTEXT:
      case NBD_OPT.SET_META_CONTEXT:
        return this.metaContext(option, data);
      default:
        return this.refuse(option, NBD_REP.ERR_UNSUP, 'this option is not supported');
    }
  }

  private exportName(data: Uint8Array): OptionOutcome {
    if (!this.isOurs(decoder.decode(data))) return 'close'; // this option has no error reply
    const { disk } = this.target;
    const zeroes = new Uint8Array(this.hasNoZeroes ? 0 : 124);
    this.send(message([disk.capacityBytes, 8], [transmissionFlags(disk), 2], zeroes));
    return 'transmission';
  }

  private list(data: Uint8Array): OptionOutcome {
    if (data.byteLength !== 0) return this.refuse(NBD_OPT.LIST, NBD_REP.ERR_INVALID, 'it takes no data');
    const name = new TextEncoder().encode(this.target.name);
    this.reply(NBD_OPT.LIST, NBD_REP.SERVER, message([name.byteLength, 4], name));
    this.reply(NBD_OPT.LIST, NBD_REP.ACK);
    return 'next';
  }

  private info(option: number, data: Uint8Array): OptionOutcome {
    const reader = new OptionReader(data);
    const name = reader.text(reader.u32());
    const count = reader.u16();
    for (let i = 0; i < count; i += 1) reader.u16(); // what is wanted; we tell all there is
    if (!reader.isExact) return this.refuse(option, NBD_REP.ERR_INVALID, 'its length makes no sense');
    if (!this.isOurs(name)) return this.refuse(option, NBD_REP.ERR_UNKNOWN, 'there is no such export');
    const { disk } = this.target;
    const told = (...fields: readonly Field[]) => this.reply(option, NBD_REP.INFO, message(...fields));
    told([NBD_INFO.EXPORT, 2], [disk.capacityBytes, 8], [transmissionFlags(disk), 2]);
    told([NBD_INFO.NAME, 2], this.target.name);
    told(
      [NBD_INFO.BLOCK_SIZE, 2],
      [disk.blockBytes, 4],
      [Math.max(PREFERRED_BLOCK, disk.blockBytes), 4],
      [MAX_PAYLOAD, 4],
    );
    this.reply(option, NBD_REP.ACK);
    return option === NBD_OPT.GO ? 'transmission' : 'next';
  }

  private structured(data: Uint8Array): OptionOutcome {
    if (data.byteLength !== 0) return this.refuse(NBD_OPT.STRUCTURED_REPLY, NBD_REP.ERR_INVALID, 'it takes no data');
    this.hasStructuredReplies = true;
    this.reply(NBD_OPT.STRUCTURED_REPLY, NBD_REP.ACK);
    return 'next';
  }

  private metaContext(option: number, data: Uint8Array): OptionOutcome {
    if (!this.hasStructuredReplies)
      return this.refuse(option, NBD_REP.ERR_INVALID, 'it needs structured replies first');
    const reader = new OptionReader(data);
    const name = reader.text(reader.u32());
    const count = reader.u32();
    const queries: string[] = [];
    for (let i = 0; i < count && reader.isGood; i += 1) queries.push(reader.text(reader.u32()));
    if (!reader.isExact) return this.refuse(option, NBD_REP.ERR_INVALID, 'its length makes no sense');
    if (!this.isOurs(name)) return this.refuse(option, NBD_REP.ERR_UNKNOWN, 'there is no such export');
    const isListing = option === NBD_OPT.LIST_META_CONTEXT;
    const isWanted =
      queries.includes(BASE_ALLOCATION.name) || (isListing && (count === 0 || queries.includes('base:')));
    if (!isListing) this.hasAllocationContext = isWanted;
    if (isWanted) {
      this.reply(option, NBD_REP.META_CONTEXT, message([isListing ? 0 : BASE_ALLOCATION.id, 4], BASE_ALLOCATION.name));
    }
    this.reply(option, NBD_REP.ACK);
    return 'next';
  }

  /** The empty name is the default export. */
  private isOurs(name: string): boolean {
    return name === '' || name === this.target.name;
  }

  private refuse(option: number, error: number, why: string): OptionOutcome {
    this.reply(option, error, new TextEncoder().encode(why));
    return 'next';
  }

  private reply(option: number, type: number, data: Uint8Array = new Uint8Array(0)): void {
    this.send(message([OPTION_REPLY_MAGIC, 8], [option, 4], [type, 4], [data.byteLength, 4], data));
  }
}

/** Reads the fields of an option; whatever does not fit makes it bad, never throws. */
class OptionReader {
  isGood = true;
  private readonly view: DataView;
  private at = 0;

  constructor(data: Uint8Array) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  /** Whether everything fitted and nothing is left. */
  get isExact(): boolean {
    return this.isGood && this.at === this.view.byteLength;
  }

  u16(): number {
    return this.advance(2) ? this.view.getUint16(this.at - 2) : 0;
  }

  u32(): number {
    return this.advance(4) ? this.view.getUint32(this.at - 4) : 0;
  }

  text(bytes: number): string {
    if (!this.advance(bytes)) return '';
    return decoder.decode(new Uint8Array(this.view.buffer, this.view.byteOffset + this.at - bytes, bytes).slice());
  }

  private advance(bytes: number): boolean {
    this.isGood = this.isGood && bytes <= this.view.byteLength - this.at;
    if (this.isGood) this.at += bytes;
    return this.isGood;
  }
}
