// Interrupt remapping: which function may raise which interrupt, and where it goes.
//
// An entry keeps VT-d's fields where they mean the same: word 0 present (bit 0) and vector (here a 16-bit event-channel
// port, bits 16 … 31), word 1 destination (domid + 1), word 2 source id with validation type (bits 18 … 19, 1 = check
// all of it), word 3 the destination's generation. Word 1 is claimed by compare-exchange, word 0 commits.
import type { DomId, EvtchnPort, RoutingId } from '../ids.ts';
import { FAULT_REASON } from './fault-log.ts';
import { type IommuRegions, openIommuTables, REMAP_WORDS } from './iommu-layout.ts';

const PRESENT = 1;
const VALIDATE_SOURCE = 1 << 18;
// MSI address in remappable format: VT-d specification, "Remappable Interrupt Request Format".
const MSI_BASE = 0xfee0_0000;
const MSI_REMAPPABLE = 1 << 4;

/** Where an interrupt goes. */
export interface InterruptTarget {
  /** The domain. */
  domid: DomId;
  /** Its generation. */
  generation: number;
  /** The event-channel port to raise. */
  port: EvtchnPort;
}

/** The MSI address that carries a remap handle. */
export function msiAddress(handle: number): number {
  return (MSI_BASE | MSI_REMAPPABLE | ((handle & 0x7fff) << 5) | ((handle >>> 15) << 2)) >>> 0;
}

/** The interrupt remap table. Entries are made by the hypercalls of the function's owner and removed by the host. */
export class InterruptRemap {
  private readonly regions: IommuRegions;
  /** Filled by resolve() when it returns 0. */
  readonly target: InterruptTarget = { domid: 0 as DomId, generation: 0, port: 0 as EvtchnPort }; // scratch, overwritten

  /** Attach to the shared tables. */
  constructor(buffer: SharedArrayBuffer) {
    this.regions = openIommuTables(buffer);
  }

  /** Make an entry. @returns its handle, or −1 when the table is full */
  bind(sourceId: RoutingId, domid: DomId, generation: number, port: EvtchnPort): number {
    const { words, interrupts } = this.regions;
    for (let handle = 0; handle < interrupts; handle++) {
      const at = this.at(handle);
      if (Atomics.compareExchange(words, at + 1, 0, domid + 1) !== 0) continue;
      Atomics.store(words, at + 2, sourceId | VALIDATE_SOURCE);
      Atomics.store(words, at + 3, generation | 0);
      Atomics.store(words, at, PRESENT | (port << 16)); // commit
      return handle;
    }
    return -1;
  }

  /** Remove the entries of a function. [HOST, or the owner's thread] */
  unbindSource(sourceId: RoutingId): void {
    this.freeWhere((at) => (Atomics.load(this.regions.words, at + 2) & 0xffff) === sourceId);
  }

  /** Remove the entries that lead to a domain, half-made ones included; after its fence. [HOST] */
  unbindDomain(domid: DomId): void {
    this.freeWhere((at) => Atomics.load(this.regions.words, at + 1) === domid + 1);
  }

  /**
   * Remap one message of requester `sourceId`.
   * @returns 0 with the destination in `target`, or the fault reason (FAULT_REASON.interrupt…)
   */
  resolve(sourceId: number, address: number, data: number): number {
    if (address >>> 20 !== MSI_BASE >>> 20 || (address & MSI_REMAPPABLE) === 0) {
      return FAULT_REASON.interruptCompatibilityBlocked;
    }
    if (data !== 0 || (address & 3) !== 0) return FAULT_REASON.interruptReservedBits;
    const handle = ((address >>> 5) & 0x7fff) | ((address & 4) << 13);
    if (handle >= this.regions.interrupts) return FAULT_REASON.interruptIndexBeyondTable;
    const { words } = this.regions;
    const at = this.at(handle);
    const entry = Atomics.load(words, at);
    if ((entry & PRESENT) === 0) return FAULT_REASON.interruptEntryNotPresent;
    if ((Atomics.load(words, at + 2) & 0xffff) !== sourceId) return FAULT_REASON.interruptSourceCheckFailed;
    this.target.domid = (Atomics.load(words, at + 1) - 1) as DomId; // written by bind from a DomId
    this.target.generation = Atomics.load(words, at + 3);
    this.target.port = (entry >>> 16) as EvtchnPort; // as above
    return 0;
  }

  private freeWhere(matches: (at: number) => boolean): void {
    const { words, interrupts } = this.regions;
    for (let handle = 0; handle < interrupts; handle++) {
      const at = this.at(handle);
      if (Atomics.load(words, at + 1) === 0 || !matches(at)) continue;
      Atomics.store(words, at, 0);
      Atomics.store(words, at + 2, 0);
      Atomics.store(words, at + 1, 0); // free only now
    }
  }

  private at(handle: number): number {
    return this.regions.remap + handle * REMAP_WORDS;
  }
}
