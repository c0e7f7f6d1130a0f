// Registers of the Intel 82576 that model and driver use, by their public names. Intel 82576 datasheet, chapter 8.

/** Offsets in BAR 0. */
export const NIC_REG = {
  CTRL: 0x0000,
  STATUS: 0x0008,
  GPIE: 0x1514,
  EICS: 0x1520,
  EIMS: 0x1524,
  EIMC: 0x1528,
  EIAC: 0x152c,
  EIAM: 0x1530,
  EICR: 0x1580,
  EITR: 0x1680,
  IVAR: 0x1700,
  IVAR_MISC: 0x1740,
  RCTL: 0x0100,
  TCTL: 0x0400,
  RXCSUM: 0x5000,
  RLPML: 0x5004,
  MTA: 0x5200,
  RAL: 0x5400,
  RAH: 0x5404,
  VFTA: 0x5600,
  MRQC: 0x5818,
  RETA: 0x5c00,
  RSSRK: 0x5c80,
  MPC: 0x4010,
  GPRC: 0x4074,
  BPRC: 0x4078,
  MPRC: 0x407c,
  GPTC: 0x4080,
  GORCL: 0x4088,
  GOTCL: 0x4090,
  RNBC: 0x40a0,
  RUC: 0x40a4,
  ROC: 0x40ac,
  TPR: 0x40d0,
  RXQ: 0xc000,
  TXQ: 0xe000,
} as const;

/** Offsets within one queue's block of 64 bytes, from RXQ or TXQ. */
export const NIC_QUEUE = { BAL: 0x00, BAH: 0x04, LEN: 0x08, SRRCTL: 0x0c, HEAD: 0x10, TAIL: 0x18, DCTL: 0x28 } as const;
/** Bytes of one queue's block. */
export const NIC_QUEUE_STRIDE = 0x40;
/** Queue enabled, in RXDCTL and TXDCTL. */
export const QUEUE_ENABLE = 1 << 25;

/** Bits of CTRL. */
export const NIC_CTRL = { setLinkUp: 1 << 6, reset: 1 << 26, vlanMode: 1 << 30 } as const;
/** Bits of STATUS. */
export const NIC_STATUS = { fullDuplex: 1, linkUp: 2, speed1000: 1 << 7 } as const;
/** Bits of RCTL. */
export const NIC_RCTL = {
  enable: 1 << 1,
  unicastPromiscuous: 1 << 3,
  multicastPromiscuous: 1 << 4,
  longPackets: 1 << 5,
  acceptBroadcast: 1 << 15,
  vlanFilter: 1 << 18,
} as const;
/** Transmit enable in TCTL. */
export const TCTL_ENABLE = 1 << 1;
/** An address register holds an address. */
export const RAH_VALID = 0x8000_0000;
/** A vector entry of IVAR is in use. */
export const IVAR_VALID = 0x80;
/** Receive-side scaling in MRQC. */
export const MRQC_RSS = 2;
/** What MRQC lets into the hash: addresses, with ports where it says so. */
export const MRQC_FIELDS = {
  tcpIpv4: 1 << 16,
  ipv4: 1 << 17,
  ipv6: 1 << 20,
  tcpIpv6: 1 << 21,
  udpIpv4: 1 << 22,
  udpIpv6: 1 << 23,
} as const;

/** Descriptors are 16 bytes in both directions. */
export const DESCRIPTOR_BYTES = 16;
/** Transmit descriptor types and command bits, in the second 64-bit word's low half. */
export const TXD = {
  typeContext: 2 << 20,
  typeData: 3 << 20,
  typeMask: 15 << 20,
  eop: 1 << 24,
  insertFcs: 1 << 25,
  reportStatus: 1 << 27,
  extended: 1 << 29,
  vlan: 1 << 30,
  segment: 0x8000_0000 | 0,
  /** In the high half: done, offloads. */
  done: 1,
  ipChecksum: 1 << 8,
  l4Checksum: 1 << 9,
  payloadShift: 14,
} as const;
/** Receive write-back bits, in the second word's low half. */
export const RXD = {
  done: 1,
  eop: 2,
  vlan: 8,
  l4Checked: 1 << 5,
  ipChecked: 1 << 6,
  l4Error: 1 << 29,
  ipError: 1 << 30,
} as const;

/** Queue pairs of the model. */
export const NIC_QUEUES = 8;
/** MSI-X vectors of the model. */
export const NIC_VECTORS = 10;
/** Exact addresses that the filter holds. */
export const NIC_ADDRESSES = 16;
