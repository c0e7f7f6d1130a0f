// Identify data structures. NVM Express base specification 1.4 §5.15.2
import type { Namespace } from './namespace.ts';
import { NVME_VERSION } from './nvme-registers.ts';

/** Bytes of every identify data structure. */
export const IDENTIFY_BYTES = 4096;
/** PCI vendor id of Xen platform devices. */
export const VENDOR_ID = 0x5853;

function page(): { readonly bytes: Uint8Array; readonly view: DataView } {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  return { bytes, view: new DataView(bytes.buffer) };
}

function ascii(bytes: Uint8Array, at: number, lengthBytes: number, text: string): void {
  const padded = text.padEnd(lengthBytes).slice(0, lengthBytes);
  for (let i = 0; i < lengthBytes; i++) bytes[at + i] = padded.charCodeAt(i) & 0x7f;
}

/** Identify Controller (CNS 01h), figure 247. */
export function identifyController(of: {
  readonly serial: string;
  readonly mdts: number;
  readonly namespaces: number;
  readonly hasVolatileCache: boolean;
  readonly abortLimit: number;
  readonly asyncEventLimit: number;
}): Uint8Array {
  const { bytes, view } = page();
  view.setUint16(0, VENDOR_ID, true);
  view.setUint16(2, VENDOR_ID, true);
  ascii(bytes, 4, 20, of.serial);
  ascii(bytes, 24, 40, 'Splitring NVMe');
  ascii(bytes, 64, 8, '0.1');
  bytes[72] = 6; // RAB: 64 commands
  bytes[77] = of.mdts;
  view.setUint32(80, NVME_VERSION, true);
  view.setUint32(92, 1 << 8, true); // OAES: namespace attribute notices
  bytes[111] = 1; // CNTRLTYPE: I/O controller
  bytes[258] = of.abortLimit - 1;
  bytes[259] = of.asyncEventLimit - 1;
  bytes[512] = 0x66; // SQES
  bytes[513] = 0x44; // CQES
  view.setUint32(516, of.namespaces, true);
  view.setUint16(520, (1 << 2) | (1 << 3), true); // ONCS: dataset management, write zeroes
  bytes[525] = (of.hasVolatileCache ? 1 : 0) | (3 << 1); // VWC: present; flush of all namespaces is supported
  ascii(bytes, 768, 256, '');
  const subnqn = `nqn.2014-08.org.nvmexpress:splitring:${of.serial}`;
  bytes.fill(0, 768, 1024);
  ascii(bytes, 768, subnqn.length, subnqn);
  return bytes;
}

/** Identify Namespace (CNS 00h), figure 245; all zero for a namespace that is not there. */
export function identifyNamespace(namespace: Namespace | undefined): Uint8Array {
  const { bytes, view } = page();
  if (namespace === undefined) return bytes;
  const { medium, blocks, blockShift } = namespace;
  for (const at of [0, 8, 16]) {
    view.setUint32(at, blocks % 2 ** 32, true); // NSZE, NCAP, NUSE
    view.setUint32(at + 4, Math.floor(blocks / 2 ** 32), true);
  }
  bytes[24] = 1 << 4; // NSFEAT: NPWG and friends are given
  bytes[33] = 1; // DLFEAT: deallocated blocks read zeroes
  const granule = Math.max(1, medium.physicalBlockBytes / medium.blockBytes);
  view.setUint16(64, granule - 1, true); // NPWG
  view.setUint16(66, granule - 1, true); // NPWA
  bytes[99] = medium.isReadOnly ? 1 : 0; // NSATTR: write protected
  bytes[130] = blockShift; // LBAF0: LBADS
  return bytes;
}

/** Active Namespace ID list (CNS 02h): ids above `after`, ascending. */
export function identifyActive(namespaces: readonly Namespace[], after: number): Uint8Array {
  const { bytes, view } = page();
  let at = 0;
  for (const { nsid } of namespaces) {
    if (nsid <= after || at === IDENTIFY_BYTES) continue;
    view.setUint32(at, nsid, true);
    at += 4;
  }
  return bytes;
}

/** Namespace Identification Descriptor list (CNS 03h): one EUI-64 made of vendor and namespace id. */
export function identifyDescriptors(namespace: Namespace): Uint8Array {
  const { bytes, view } = page();
  bytes[0] = 1; // NIDT: EUI-64
  bytes[1] = 8; // NIDL
  view.setUint32(4, VENDOR_ID, false);
  view.setUint32(8, namespace.nsid, false);
  return bytes;
}
