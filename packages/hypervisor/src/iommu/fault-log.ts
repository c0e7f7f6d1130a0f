// Fault records of one unit: eight, with an overflow bit, as VT-d has them. The unit records, anyone reads and clears.
import { FAULT_RECORDS, FAULT_WORDS, type IommuRegions, openIommuTables, UNIT } from './iommu-layout.ts';

/** Why a request was refused. VT-d specification, "Fault Reason Encodings". */
export const FAULT_REASON = {
  rootNotPresent: 0x1,
  contextNotPresent: 0x2,
  contextInvalid: 0x3,
  addressBeyondWidth: 0x4,
  writeNotPermitted: 0x5,
  readNotPermitted: 0x6,
  interruptReservedBits: 0x20,
  interruptIndexBeyondTable: 0x21,
  interruptEntryNotPresent: 0x22,
  interruptCompatibilityBlocked: 0x25,
  interruptSourceCheckFailed: 0x26,
} as const;

/** Primary fault overflow: faults were dropped until this bit is cleared. FSTS bit 0 */
export const FSTS_PFO = 1;
/** A fault record is pending. FSTS bit 1 */
export const FSTS_PPF = 2;

/** One DMA or interrupt that was refused. */
export interface FaultRecord {
  /** Bus page of the access; the remap index for an interrupt. */
  readonly busPage: number;
  /** Routing id of the requester. */
  readonly sourceId: number;
  /** One of FAULT_REASON. */
  readonly reason: number;
  /** Whether the device read memory (true) or wrote it. */
  readonly isRead: boolean;
}

const F_BIT = 0x8000_0000 | 0;
const TYPE_READ = 1 << 30;
// A source may fill half of the records: a storming device hides its own faults, not those of the others.
const PER_SOURCE = FAULT_RECORDS / 2;

/**
 * The fault records of one unit.
 *
 * Shared words: records and status, written by the unit; the reader clears F bits and the overflow bit.
 */
export class FaultLog {
  private readonly words: Int32Array;
  private readonly unit: number;

  /** Attach to the log of unit `unit`. */
  constructor(tables: SharedArrayBuffer | IommuRegions, unit: number) {
    const regions = tables instanceof SharedArrayBuffer ? openIommuTables(tables) : tables;
    this.words = regions.words;
    this.unit = regions.unitRows + unit * UNIT.words;
  }

  /** Record a fault [UNIT]; dropped and counted while overflow is set or the source has its share pending. */
  record(busPage: number, sourceId: number, reason: number, isRead: boolean): void {
    const { words, unit } = this;
    Atomics.add(words, unit + UNIT.faultsTotal, 1);
    const next = words[unit + UNIT.faultNext] ?? 0;
    const at = this.at(next);
    const status = Atomics.load(words, unit + UNIT.faultStatus);
    const isFull = (Atomics.load(words, at + 3) & F_BIT) !== 0;
    if (isFull) Atomics.or(words, unit + UNIT.faultStatus, FSTS_PFO);
    if (isFull || (status & FSTS_PFO) !== 0 || this.pendingOf(sourceId) >= PER_SOURCE) {
      Atomics.add(words, unit + UNIT.faultsDropped, 1);
      return;
    }
    words[at] = busPage << 12;
    words[at + 1] = busPage >>> 20;
    words[at + 2] = sourceId;
    Atomics.store(words, at + 3, F_BIT | (isRead ? TYPE_READ : 0) | reason); // commit
    words[unit + UNIT.faultNext] = (next + 1) % FAULT_RECORDS;
  }

  /** Take and clear all pending records, oldest first, and the overflow bit. */
  take(): FaultRecord[] {
    const { words, unit } = this;
    const records: FaultRecord[] = [];
    const oldest = words[unit + UNIT.faultNext] ?? 0;
    for (let i = 0; i < FAULT_RECORDS; i++) {
      const at = this.at((oldest + i) % FAULT_RECORDS);
      const control = Atomics.load(words, at + 3);
      if ((control & F_BIT) === 0) continue;
      records.push({
        busPage: ((words[at] ?? 0) >>> 12) | ((words[at + 1] ?? 0) << 20),
        sourceId: (words[at + 2] ?? 0) & 0xffff,
        reason: control & 0xff,
        isRead: (control & TYPE_READ) !== 0,
      });
      Atomics.and(words, at + 3, ~F_BIT);
    }
    Atomics.and(words, unit + UNIT.faultStatus, ~FSTS_PFO);
    return records;
  }

  /** FSTS: overflow bit 0, pending bit 1, index of the first pending record in bits 8 … 15. */
  get status(): number {
    const overflow = Atomics.load(this.words, this.unit + UNIT.faultStatus) & FSTS_PFO;
    const oldest = this.words[this.unit + UNIT.faultNext] ?? 0;
    for (let i = 0; i < FAULT_RECORDS; i++) {
      const index = (oldest + i) % FAULT_RECORDS;
      if ((Atomics.load(this.words, this.at(index) + 3) & F_BIT) !== 0) return overflow | FSTS_PPF | (index << 8);
    }
    return overflow;
  }

  /** Faults since the unit exists, those without a record included. */
  get total(): number {
    return Atomics.load(this.words, this.unit + UNIT.faultsTotal) >>> 0;
  }

  /** Faults that found no record. */
  get dropped(): number {
    return Atomics.load(this.words, this.unit + UNIT.faultsDropped) >>> 0;
  }

  private at(index: number): number {
    return this.unit + UNIT.faults + index * FAULT_WORDS;
  }

  private pendingOf(sourceId: number): number {
    let pending = 0;
    for (let i = 0; i < FAULT_RECORDS; i++) {
      const at = this.at(i);
      if ((Atomics.load(this.words, at + 3) & F_BIT) !== 0 && this.words[at + 2] === sourceId) pending++;
    }
    return pending;
  }
}
