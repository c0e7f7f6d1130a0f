export {
  BLOCK_OP,
  BLOCK_STATUS,
  type BlockCommand,
  type BlockDevice,
  type BlockOp,
  type BlockStatus,
  newBlockCommand,
} from './block-device.ts';
export { NicDriver, type NicDriverOptions, type NicKernel } from './driver/nic-driver.ts';
export type { NicOffload, NicReceiveInfo } from './driver/nic-rings.ts';
export { type NamespaceInfo, NvmeDisk } from './driver/nvme-disk.ts';
export { NvmeDriver, type NvmeDriverOptions } from './driver/nvme-driver.ts';
export {
  type Fault,
  type FaultKind,
  type FaultOperation,
  FaultPlan,
  type FaultRule,
} from './media/fault-plan.ts';
export { ImageFile, type ImageFileOptions } from './media/image-file.ts';
export { holdImage, type ImageHold } from './media/image-hold.ts';
export { MEDIUM_STATUS, type Medium, type MediumStatus } from './media/medium.ts';
export { MediumError } from './media/medium-error.ts';
export { MemoryMedium, type MemoryMediumOptions } from './media/memory-medium.ts';
export { createWriteCache, WriteCache } from './media/write-cache.ts';
export { addChecksum, foldChecksum, internetChecksum } from './net/internet-checksum.ts';
export { fillChecksum, hasGoodChecksums, pseudoHeaderSum, segmentTcp } from './net/offload.ts';
export {
  createPacketHeaders,
  ETHERTYPE,
  IPPROTO,
  type PacketHeaders,
  parseHeaders,
  read16,
  read32,
  write16,
  write32,
} from './net/packet-headers.ts';
export { insertTag, removeTag } from './net/vlan-tag.ts';
export {
  EmbeddedSwitch,
  SwitchPort,
  type SwitchPortCounters,
  type SwitchSourceCounters,
} from './nic/embedded-switch.ts';
export {
  type Cable,
  createCable,
  type EthernetWire,
  type LinkFaults,
  type WireCounters,
  WireEnd,
} from './nic/ethernet-wire.ts';
export type { LinkRule, LinkRuleKind } from './nic/link-rules.ts';
export { Nic82576, type NicOptions } from './nic/nic-82576.ts';
export type { NicModelCounters } from './nic/nic-counters.ts';
export { NIC_CTRL, NIC_QUEUE, NIC_RCTL, NIC_REG, NIC_STATUS } from './nic/nic-registers.ts';
export type { DiskTimingOptions } from './nvme/disk-timing.ts';
export { Namespace } from './nvme/namespace.ts';
export { NvmeController, type NvmeOptions } from './nvme/nvme-controller.ts';
