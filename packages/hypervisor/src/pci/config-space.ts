// Configuration space of one function: header, capability chain PCIe → MSI-X, BARs, and what a write may change.
// PCI Local Bus specification 3.0 §6 (header, MSI-X §6.8.2), PCI Express base specification §7.5.3 (PCIe capability).

/** Bytes of configuration space, extended part included. */
export const CONFIG_BYTES = 4096;

/** Offsets of registers in configuration space. */
export const PCI = {
  vendorId: 0x00,
  deviceId: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendorId: 0x2c,
  subsystemId: 0x2e,
  capabilities: 0x34,
  interruptLine: 0x3c,
  express: 0x40,
  expressDeviceCapabilities: 0x44,
  expressDeviceControl: 0x48,
  expressDeviceStatus: 0x4a,
  msix: 0x80,
  msixControl: 0x82,
  msixTable: 0x84,
  msixPending: 0x88,
} as const;

/** Command register bits. */
export const PCI_COMMAND = { memory: 2, busMaster: 4, interruptDisable: 0x400 } as const;
/** Device Control bit 15: initiate function level reset. */
export const PCI_EXP_DEVCTL_FLR = 0x8000;
/** Device Status bit 5: transactions pending. */
export const PCI_EXP_DEVSTA_TRPND = 0x20;
/** MSI-X message control bits. */
export const MSIX_CONTROL = { functionMask: 0x4000, enable: 0x8000 } as const;
/** The BAR that holds the MSI-X table (at 0) and the pending bits (at MSIX_PBA_OFFSET). */
export const MSIX_BAR = 4;
/** Offset of the pending bit array in MSIX_BAR. */
export const MSIX_PBA_OFFSET = 0x800;
/** Bytes of MSIX_BAR. */
export const MSIX_BAR_BYTES = 4096;

const STATUS_CAPABILITIES = 0x10;
const CAP_EXPRESS = 0x10;
const CAP_MSIX = 0x11;
const DEVCAP_FLR = 1 << 28;
const BAR_64BIT = 4;

/** What configuration space tells about a function. */
export interface PciIdentity {
  /** Vendor id. */
  readonly vendorId: number;
  /** Device id. */
  readonly deviceId: number;
  /** Class code, 24 bits: base class, sub-class, programming interface. */
  readonly classCode: number;
  /** Bytes of each memory BAR by index: powers of two, 0 = none. All are 64-bit, so indices are even; 4 is MSI-X. */
  readonly barBytes: readonly number[];
  /** MSI-X vectors, 0 … 64. */
  readonly vectors: number;
}

/** Configuration space over platform memory: it outlives the domains that use the function. */
export class ConfigSpace {
  private readonly view: DataView;
  private readonly identity: PciIdentity;

  /** Use `bytes` (4096) for the function described by `identity`; the contents stay as they are until reset(). */
  constructor(bytes: Uint8Array, identity: PciIdentity) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, CONFIG_BYTES);
    this.identity = identity;
  }

  /** Power-on contents. BARs get `barBase`, as firmware would place them. */
  reset(barBase: number): void {
    const { view, identity } = this;
    new Uint8Array(view.buffer, view.byteOffset, CONFIG_BYTES).fill(0);
    this.put16(PCI.vendorId, identity.vendorId);
    this.put16(PCI.deviceId, identity.deviceId);
    this.put32(PCI.revision, (identity.classCode << 8) | 1);
    this.put16(PCI.status, STATUS_CAPABILITIES);
    this.put16(PCI.subsystemVendorId, identity.vendorId);
    this.put16(PCI.subsystemId, identity.deviceId);
    view.setUint8(PCI.capabilities, PCI.express);
    const next = identity.vectors > 0 ? PCI.msix : 0;
    this.put32(PCI.express, CAP_EXPRESS | (next << 8) | (2 << 16)); // version 2, endpoint
    this.put32(PCI.expressDeviceCapabilities, DEVCAP_FLR);
    if (identity.vectors > 0) {
      this.put32(PCI.msix, CAP_MSIX | ((identity.vectors - 1) << 16));
      this.put32(PCI.msixTable, MSIX_BAR);
      this.put32(PCI.msixPending, MSIX_PBA_OFFSET | MSIX_BAR);
    }
    let base = barBase;
    for (let index = 0; index < 6; index += 2) {
      const bytes = this.barBytes(index);
      if (bytes === 0) continue;
      base = Math.ceil(base / bytes) * bytes;
      this.put32(PCI.bar0 + index * 4, ((base % 2 ** 32) | BAR_64BIT) >>> 0);
      this.put32(PCI.bar0 + index * 4 + 4, Math.floor(base / 2 ** 32));
      base += bytes;
    }
  }

  /** Bytes of BAR `index`; 0 if there is none. */
  barBytes(index: number): number {
    if (index === MSIX_BAR && this.identity.vectors > 0) return MSIX_BAR_BYTES;
    return this.identity.barBytes[index] ?? 0;
  }

  /** Read 1, 2 or 4 bytes; all ones outside the space or unaligned. */
  read(offset: number, widthBytes: 1 | 2 | 4): number {
    if (!isAligned(offset, widthBytes)) return 2 ** (8 * widthBytes) - 1;
    if (widthBytes === 1) return this.view.getUint8(offset);
    return widthBytes === 2 ? this.view.getUint16(offset, true) : this.view.getUint32(offset, true);
  }

  /** Write 1, 2 or 4 bytes; read-only bits keep their value, what lies outside is ignored. */
  write(offset: number, widthBytes: 1 | 2 | 4, value: number): void {
    if (!isAligned(offset, widthBytes)) return;
    for (let i = 0; i < widthBytes; i++) {
      const at = offset + i;
      const mask = this.writableByte(at);
      const old = this.view.getUint8(at);
      this.view.setUint8(at, (old & ~mask) | ((value >>> (8 * i)) & mask));
    }
  }

  /** Set or clear a status bit that only the device changes. */
  setDeviceBit16(offset: number, mask: number, isSet: boolean): void {
    const old = this.view.getUint16(offset, true);
    this.put16(offset, isSet ? old | mask : old & ~mask);
  }

  private writableByte(at: number): number {
    if (at >= PCI.bar0 && at < PCI.bar0 + 24) {
      const index = ((at - PCI.bar0) >>> 3) << 1;
      const bytes = this.barBytes(index);
      const shift = ((at - PCI.bar0) & 7) * 8;
      return bytes === 0 ? 0 : Number((-BigInt(bytes) >> BigInt(shift)) & 0xffn); // not hot: address bits above size
    }
    switch (at) {
      case PCI.command:
        return PCI_COMMAND.memory | PCI_COMMAND.busMaster;
      case PCI.command + 1:
        return PCI_COMMAND.interruptDisable >>> 8;
      case PCI.interruptLine:
      case PCI.expressDeviceControl:
      case PCI.expressDeviceControl + 1:
        return at === PCI.expressDeviceControl + 1 ? 0x7f : 0xff; // bit 15 always reads 0
      case PCI.msixControl + 1:
        return this.identity.vectors > 0 ? 0xc0 : 0;
      default:
        return 0;
    }
  }

  private put16(offset: number, value: number): void {
    this.view.setUint16(offset, value, true);
  }

  private put32(offset: number, value: number): void {
    this.view.setUint32(offset, value, true);
  }
}

function isAligned(offset: number, widthBytes: number): boolean {
  return Number.isInteger(offset) && offset >= 0 && offset <= CONFIG_BYTES - widthBytes && offset % widthBytes === 0;
}
