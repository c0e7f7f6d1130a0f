// MSI-X of one function: table and pending bits in platform memory, delivery through interrupt remapping.
// PCI Local Bus specification 3.0 §6.8.2.
import type { DomId, EvtchnPort, RoutingId } from '../ids.ts';
import type { FaultLog } from '../iommu/fault-log.ts';
import type { InterruptRemap } from '../iommu/interrupt-remap.ts';
import { type FunctionRow, MSIX_WORDS } from './pci-platform.ts';

/** Event-channel ports as interrupts use them. */
export interface InterruptPorts {
  /** Make a port of this thread's domain that only interrupts raise. */
  allocate(): EvtchnPort;
  /** Raise a port of a domain; nothing happens if that generation is gone. */
  raise(domid: DomId, generation: number, port: EvtchnPort): void;
}

const DATA = 2;
const CONTROL = 3;
const VECTOR_MASKED = 1;

/** The MSI-X unit of one function. */
export class Msix {
  /** MSI-X enable and function mask, as configuration space has them. */
  isEnabled = false;
  /** All vectors held back. */
  isFunctionMasked = false;
  private readonly row: FunctionRow;
  private readonly routingId: RoutingId;
  private readonly vectors: number;
  private readonly remap: InterruptRemap;
  private readonly faults: FaultLog;
  private readonly ports: InterruptPorts;

  /** Use the table of `row`. */
  constructor(of: {
    readonly row: FunctionRow;
    readonly routingId: RoutingId;
    readonly vectors: number;
    readonly remap: InterruptRemap;
    readonly faults: FaultLog;
    readonly ports: InterruptPorts;
  }) {
    this.row = of.row;
    this.routingId = of.routingId;
    this.vectors = of.vectors;
    this.remap = of.remap;
    this.faults = of.faults;
    this.ports = of.ports;
  }

  /** All vectors masked, nothing pending, disabled. */
  reset(): void {
    this.row.msixTable.fill(0);
    this.row.msixPending.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) {
      this.row.msixTable[vector * MSIX_WORDS + CONTROL] = VECTOR_MASKED;
    }
    this.isEnabled = false;
    this.isFunctionMasked = false;
  }

  /** The device raises a vector: sent now, or remembered while masked. */
  raise(vector: number): void {
    if (!this.isEnabled || vector < 0 || vector >= this.vectors) return;
    if (this.isFunctionMasked || ((this.row.msixTable[vector * MSIX_WORDS + CONTROL] ?? 1) & VECTOR_MASKED) !== 0) {
      this.row.msixPending[vector >>> 5] = (this.row.msixPending[vector >>> 5] ?? 0) | (1 << (vector & 31));
      return;
    }
    this.send(vector);
  }

  /** Forget that a vector is pending: its cause is gone. */
  withdraw(vector: number): void {
    this.row.msixPending[vector >>> 5] = (this.row.msixPending[vector >>> 5] ?? 0) & ~(1 << (vector & 31));
  }

  /** Send what is pending and no longer masked. */
  sendPending(): void {
    if (!this.isEnabled || this.isFunctionMasked) return;
    for (let vector = 0; vector < this.vectors; vector++) {
      const bit = 1 << (vector & 31);
      const pending = this.row.msixPending[vector >>> 5] ?? 0;
      if ((pending & bit) === 0) continue;
      if (((this.row.msixTable[vector * MSIX_WORDS + CONTROL] ?? 1) & VECTOR_MASKED) !== 0) continue;
      this.row.msixPending[vector >>> 5] = pending & ~bit;
      this.send(vector);
    }
  }

  /** Read the table (word offset). */
  readTable(word: number): number {
    return word < this.vectors * MSIX_WORDS ? (this.row.msixTable[word] ?? 0) >>> 0 : 0;
  }

  /** Write the table (word offset); unmasking a vector sends what it held back. */
  writeTable(word: number, value: number): void {
    if (word >= this.vectors * MSIX_WORDS) return;
    this.row.msixTable[word] = value;
    if (word % MSIX_WORDS === CONTROL && (value & VECTOR_MASKED) === 0) this.sendPending();
  }

  /** Read the pending bits (word offset). */
  readPending(word: number): number {
    return (this.row.msixPending[word] ?? 0) >>> 0;
  }

  /** Program a vector and unmask it. */
  program(vector: number, address: number): void {
    const at = vector * MSIX_WORDS;
    this.row.msixTable[at] = address | 0;
    this.row.msixTable[at + 1] = 0;
    this.row.msixTable[at + DATA] = 0;
    this.writeTable(at + CONTROL, 0);
  }

  /** Set or clear the mask bit of a vector. */
  mask(vector: number, isMasked: boolean): void {
    this.writeTable(vector * MSIX_WORDS + CONTROL, isMasked ? VECTOR_MASKED : 0);
  }

  private send(vector: number): void {
    const at = vector * MSIX_WORDS;
    const address = (this.row.msixTable[at] ?? 0) >>> 0;
    const reason = this.remap.resolve(this.routingId, address, (this.row.msixTable[at + DATA] ?? 0) >>> 0);
    if (reason !== 0) {
      this.faults.record((address >>> 5) & 0x7fff, this.routingId, reason, false);
      return;
    }
    const { domid, generation, port } = this.remap.target;
    this.ports.raise(domid, generation, port);
  }
}
