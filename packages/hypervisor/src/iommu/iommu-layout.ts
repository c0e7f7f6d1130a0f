// Where everything of the IOMMU lies in its one shared buffer: contexts, spaces, page tables, units, remap entries.
//
// Writers: [HOST] the toolstack's thread, [DOMAIN] any thread running a hypercall, [UNIT] the thread that steps devices.
//
//   contexts   one word per routing id                                       [HOST]
//   spaces     owner, generation, root table page [HOST, DOMAIN: 0 → page], mask of units that may cache it [UNIT]
//   owners     one word per table page: 0 free, else space + 1               [DOMAIN claims, HOST frees]
//   units      owner, queue indices, fault status, invalidation queue, fault records
//   remap      interrupt remap entries, four words each                      [DOMAIN claims, HOST frees]
//   tables     table pages of 1024 words                                     [DOMAIN]
//
// VT-d entries are 64 bits of 9-bit levels. Ours are one 32-bit word of 10-bit levels, three of them: a word is the most
// that commits at once for a thread that may be terminated between two stores. The low bits keep VT-d's meaning.
import { InvariantError } from 'sharedarraybuffer-ring';

/** DMA may read the page: bit 0 of an entry. VT-d specification, second-stage paging entries. */
export const IO_READ = 1;
/** DMA may write the page: bit 1 of an entry. */
export const IO_WRITE = 2;

/** An address space for DMA: one per domain, the tag of its IOTLB entries. Space 0 is quarantine and maps nothing. */
export type IoSpace = number & { readonly __ioSpace: never };
/** The space of functions that nobody owns. */
export const QUARANTINE_SPACE = 0 as IoSpace; // the brand has no run-time part

/** Bus pages of a space: three levels of 10 bits. */
export const BUS_PAGES = 2 ** 30;
/** Entries in a table page, and the bits that select one. */
export const TABLE_ENTRIES = 1024;
/** log2 of TABLE_ENTRIES. */
export const TABLE_BITS = 10;

/** Descriptors in a unit's invalidation queue. */
export const INVALIDATION_SLOTS = 64;
/** Words per invalidation descriptor: sequence, type, argument, first page, pages. */
export const INVALIDATION_WORDS = 8;
/** Fault records of a unit. */
export const FAULT_RECORDS = 8;
/** Words of a fault record (128 bits). */
export const FAULT_WORDS = 4;

/** Word offsets inside a space row. */
export const SPACE = { owner: 0, generation: 1, root: 2, units: 3, words: 4 } as const;
/** Word offsets inside a unit. */
export const UNIT = {
  owner: 0,
  tail: 1,
  head: 2,
  faultStatus: 3,
  faultNext: 4,
  faultsDropped: 5,
  faultsTotal: 6,
  queue: 16,
  faults: 16 + INVALIDATION_SLOTS * INVALIDATION_WORDS,
  words: 16 + INVALIDATION_SLOTS * INVALIDATION_WORDS + FAULT_RECORDS * FAULT_WORDS,
} as const;
/** Words of an interrupt remap entry. */
export const REMAP_WORDS = 4;

const MAGIC = 0x494f_4d55; // "IOMU"
const HEADER_WORDS = 16;
const ROUTING_IDS = 65_536;

/** How large an IOMMU is. */
export interface IommuSize {
  /** Address spaces, quarantine included; 2 … 4096. */
  readonly spaces: number;
  /** Table pages for all spaces together; each maps 1024 pages, upper levels apart. */
  readonly tablePages: number;
  /** Threads that step devices; 1 … 31. */
  readonly units: number;
  /** Interrupt remap entries; at most 65536. */
  readonly interrupts: number;
}

/** The regions of the shared buffer: word offsets and the words themselves. */
export interface IommuRegions extends IommuSize {
  /** All words. */
  readonly words: Int32Array;
  /** First word of the context entries. */
  readonly contexts: number;
  /** First word of the space rows. */
  readonly spaceRows: number;
  /** First word of the table page owners. */
  readonly owners: number;
  /** First word of the units. */
  readonly unitRows: number;
  /** First word of the remap entries. */
  readonly remap: number;
  /** First word of the table pages. */
  readonly tables: number;
}

const DEFAULTS: IommuSize = { spaces: 256, tablePages: 2048, units: 8, interrupts: 1024 };

function regionsOf(words: Int32Array, size: IommuSize): IommuRegions {
  const contexts = HEADER_WORDS;
  const spaceRows = contexts + ROUTING_IDS;
  const owners = spaceRows + size.spaces * SPACE.words;
  const unitRows = owners + size.tablePages;
  const remap = unitRows + size.units * UNIT.words;
  const tables = remap + size.interrupts * REMAP_WORDS;
  return { ...size, words, contexts, spaceRows, owners, unitRows, remap, tables };
}

/**
 * Create the shared tables of an IOMMU: plain data that every boot carries.
 * @throws RangeError for a size out of range
 */
export function createIommuTables(size: Partial<IommuSize> = {}): SharedArrayBuffer {
  const full = { ...DEFAULTS, ...size };
  const { spaces, tablePages, units, interrupts } = full;
  if (
    spaces < 2 ||
    spaces > 4096 ||
    units < 1 ||
    units > 31 ||
    tablePages < 1 ||
    interrupts < 1 ||
    interrupts > 65_536
  ) {
    throw new RangeError(`Cannot create IOMMU tables of ${JSON.stringify(full)}: a size is out of range`);
  }
  const probe = regionsOf(new Int32Array(0), full);
  const buffer = new SharedArrayBuffer((probe.tables + tablePages * TABLE_ENTRIES) * 4);
  const words = new Int32Array(buffer);
  words.set([MAGIC, spaces, tablePages, units, interrupts]);
  return buffer;
}

/** Find the regions in a buffer made by createIommuTables. @throws InvariantError if it was not */
export function openIommuTables(buffer: SharedArrayBuffer): IommuRegions {
  const words = new Int32Array(buffer);
  const [magic, spaces = 0, tablePages = 0, units = 0, interrupts = 0] = words.subarray(0, 5);
  if (magic !== MAGIC) throw new InvariantError('IOMMU_TABLES', 'Cannot open IOMMU tables: not a table buffer');
  return regionsOf(words, { spaces, tablePages, units, interrupts });
}
