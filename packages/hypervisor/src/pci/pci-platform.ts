// The PCI functions of the machine in platform memory: who owns each, who steps it, its configuration space and MSI-X
// table. Written by the toolstack (assignment) and by the thread that steps the function (registers).
import { InvariantError } from 'sharedarraybuffer-ring';
import { HypercallError } from '../error.ts';
import type { DomId, RoutingId } from '../ids.ts';
import { InterruptRemap } from '../iommu/interrupt-remap.ts';
import { IoInvalidator, type LocalUnit } from '../iommu/invalidation.ts';
import { IoPageTables } from '../iommu/io-page-tables.ts';
import { clearContext, releaseUnits, setContext } from '../iommu/iommu.ts';
import { QUARANTINE_SPACE } from '../iommu/iommu-layout.ts';
import { CONFIG_BYTES } from './config-space.ts';

/** Words of a function row. */
export const ROW = {
  routingId: 0,
  owner: 1,
  ownerGeneration: 2,
  stepper: 3,
  resetRequested: 4,
  resetDone: 5,
} as const;
/** Most MSI-X vectors of a function. */
export const MAX_VECTORS = 64;
/** Words of an MSI-X table entry: address low, address high, data, vector control. PCI 3.0 §6.8.2 */
export const MSIX_WORDS = 4;

const HEADER_BYTES = 64;
const MSIX_OFFSET = 1024;
const PBA_OFFSET = MSIX_OFFSET + MAX_VECTORS * MSIX_WORDS * 4;
const CONFIG_OFFSET = 4096;
const ROW_BYTES = CONFIG_OFFSET + CONFIG_BYTES;
const MAGIC = 0x5043_4962;

/** Build a routing id. @throws RangeError outside bus 0 … 255, device 0 … 31, function 0 … 7 */
export function routingId(bus: number, device: number, fn: number): RoutingId {
  if (bus >>> 8 !== 0 || device >>> 5 !== 0 || fn >>> 3 !== 0) {
    throw new RangeError(`Cannot name function ${bus}:${device}.${fn}: bus 0 … 255, device 0 … 31, function 0 … 7`);
  }
  return ((bus << 8) | (device << 3) | fn) as RoutingId; // 16 bits by the check
}

/** Write a routing id as `bb:dd.f`. */
export function formatRoutingId(id: RoutingId): string {
  const hex = (value: number) => value.toString(16).padStart(2, '0');
  return `${hex(id >>> 8)}:${hex((id >>> 3) & 31)}.${id & 7}`;
}

/** One function in platform memory. */
export interface FunctionRow {
  /** Words of ROW. */
  readonly words: Int32Array;
  /** MSI-X table, MSIX_WORDS words per vector. */
  readonly msixTable: Int32Array;
  /** Pending bits, one per vector. */
  readonly msixPending: Int32Array;
  /** Configuration space. */
  readonly config: Uint8Array;
}

/** Create platform memory for at most `functions` PCI functions: plain data for every boot. */
export function createPciTable(functions = 64): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(HEADER_BYTES + functions * ROW_BYTES);
  new Int32Array(buffer).set([MAGIC, functions]);
  return buffer;
}

/** The function rows of a table made by createPciTable. @throws InvariantError if it is not one */
export function openPciTable(buffer: SharedArrayBuffer): readonly FunctionRow[] {
  const [magic, functions = 0] = new Int32Array(buffer, 0, 2);
  if (magic !== MAGIC) throw new InvariantError('PCI_TABLE', 'Cannot open the PCI table: not a table buffer');
  return Array.from({ length: functions }, (_, index) => {
    const at = HEADER_BYTES + index * ROW_BYTES;
    return {
      words: new Int32Array(buffer, at, 16),
      msixTable: new Int32Array(buffer, at + MSIX_OFFSET, MAX_VECTORS * MSIX_WORDS),
      msixPending: new Int32Array(buffer, at + PBA_OFFSET, MAX_VECTORS / 32),
      config: new Uint8Array(buffer, at + CONFIG_OFFSET, CONFIG_BYTES),
    };
  });
}

/** Find the row of a function. */
export function findRow(rows: readonly FunctionRow[], id: RoutingId): FunctionRow | undefined {
  return rows.find((row) => Atomics.load(row.words, ROW.routingId) === id + 1);
}

/**
 * Assignment of functions to domains, for the toolstack; host thread only.
 *
 * A function is in quarantine (no mapping, every DMA faults) from `add` on and between owners.
 *
 * @example
 * const pci = new PciPlatform({ table: createPciTable(), iommu: createIommuTables() });
 * pci.add(routingId(0, 4, 0), ioDomain);
 * pci.assign(routingId(0, 4, 0), ioDomain, 1);
 */
export class PciPlatform {
  private readonly iommu: SharedArrayBuffer;
  private readonly rows: readonly FunctionRow[];
  private readonly tables: IoPageTables;
  private readonly invalidator: IoInvalidator;
  private readonly remap: InterruptRemap;

  /** @param buffers the shared tables, and the unit of this very thread if devices are stepped here (simulation) */
  constructor(buffers: {
    readonly table: SharedArrayBuffer;
    readonly iommu: SharedArrayBuffer;
    readonly localUnit?: LocalUnit;
  }) {
    this.iommu = buffers.iommu;
    this.rows = openPciTable(buffers.table);
    this.tables = new IoPageTables(buffers.iommu);
    this.invalidator = new IoInvalidator(buffers.iommu, buffers.localUnit);
    this.remap = new InterruptRemap(buffers.iommu);
  }

  /**
   * Add a function in quarantine. `stepper` is the domain whose thread runs the device model.
   * @throws HypercallError EEXIST, ENOSPC
   */
  add(id: RoutingId, stepper: DomId): void {
    if (findRow(this.rows, id) !== undefined) throw refusal('EEXIST', 'add', id, 'it is there already');
    const row = this.rows.find((each) => Atomics.load(each.words, ROW.routingId) === 0);
    if (row === undefined) throw refusal('ENOSPC', 'add', id, 'the PCI table is full');
    row.words.fill(0);
    row.config.fill(0xff);
    Atomics.store(row.words, ROW.stepper, stepper + 1);
    setContext(this.iommu, id, QUARANTINE_SPACE);
    Atomics.store(row.words, ROW.routingId, id + 1);
  }

  /** Hand the stepping of a function to another domain: the successor of one that died, before it boots. */
  setStepper(id: RoutingId, stepper: DomId): void {
    Atomics.store(this.rowOf(id, 'move').words, ROW.stepper, stepper + 1);
  }

  /**
   * Give a quarantined function to a domain.
   * @throws HypercallError ENODEV no such function, EBUSY it has an owner, ESRCH the domain has no I/O space
   */
  assign(id: RoutingId, domid: DomId, generation: number): void {
    const row = this.rowOf(id, 'assign');
    if (Atomics.load(row.words, ROW.owner) !== 0) throw refusal('EBUSY', 'assign', id, 'it has an owner');
    const space = this.tables.spaceOf(domid, generation);
    if (space === -1) throw refusal('ESRCH', 'assign', id, `domain ${domid} has no I/O space`);
    setContext(this.iommu, id, space);
    this.invalidator.invalidateContext(id);
    Atomics.store(row.words, ROW.ownerGeneration, generation | 0);
    Atomics.store(row.words, ROW.owner, domid + 1); // commit
  }

  /**
   * Take a function from its owner: interrupts unbound, context to quarantine, reset requested. Idempotent.
   * The owner's memory may be reused once `isSettled()`.
   */
  deassign(id: RoutingId): void {
    const row = this.rowOf(id, 'deassign');
    Atomics.store(row.words, ROW.owner, 0);
    this.remap.unbindSource(id);
    setContext(this.iommu, id, QUARANTINE_SPACE);
    this.invalidator.invalidateContext(id);
    Atomics.add(row.words, ROW.resetRequested, 1);
  }

  /** Remove a quarantined function from the machine. */
  remove(id: RoutingId): void {
    const row = this.rowOf(id, 'remove');
    this.deassign(id);
    clearContext(this.iommu, id);
    Atomics.store(row.words, ROW.routingId, 0);
  }

  /** Whether the units serve none of the contexts that were taken away, and `id`'s reset has been done; never blocks. */
  isSettled(id: RoutingId): boolean {
    const { words } = this.rowOf(id, 'settle');
    const isReset = Atomics.load(words, ROW.resetDone) === Atomics.load(words, ROW.resetRequested);
    return this.invalidator.isServed() && isReset;
  }

  /**
   * Clean up after a domain's fence: its units are gone, its functions go to quarantine, its interrupts are unbound, its
   * I/O space is returned. Functions that it stepped count as reset: their registers died with the thread.
   */
  afterFence(domid: DomId, generation: number): void {
    releaseUnits(this.iommu, domid);
    for (const row of this.rows) {
      const id = (Atomics.load(row.words, ROW.routingId) - 1) as RoutingId; // rows hold routing ids
      if (id < 0) continue;
      if (Atomics.load(row.words, ROW.owner) === domid + 1) this.deassign(id);
      if (Atomics.load(row.words, ROW.stepper) !== domid + 1) continue;
      row.config.fill(0xff);
      Atomics.store(row.words, ROW.resetDone, Atomics.load(row.words, ROW.resetRequested));
    }
    this.remap.unbindDomain(domid);
    const space = this.tables.spaceOf(domid, generation);
    if (space === -1) return;
    this.invalidator.invalidateSpace(space);
    this.tables.destroySpace(space);
  }

  /** The owner of a function, or undefined in quarantine. */
  ownerOf(id: RoutingId): DomId | undefined {
    const owner = Atomics.load(this.rowOf(id, 'look up').words, ROW.owner);
    return owner === 0 ? undefined : ((owner - 1) as DomId); // rows hold domids
  }

  private rowOf(id: RoutingId, verb: string): FunctionRow {
    const row = findRow(this.rows, id);
    if (row === undefined) throw refusal('ENODEV', verb, id, 'there is no such function');
    return row;
  }
}

function refusal(code: string, verb: string, id: RoutingId, why: string): HypercallError {
  return new HypercallError(code, `Cannot ${verb} PCI function ${formatRoutingId(id)}: ${why}`, { routingId: id });
}
