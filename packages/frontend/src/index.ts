export { type BlockFrontendOptions, createBlockFrontend } from './block/blkfront.ts';
export { BlockError, type BlockErrorCode } from './block/block-error.ts';
export {
  Disk,
  type DiskOffset,
  type DiskOptions,
  type DiskRequestOptions,
  type DiskWriteOptions,
} from './block/disk.ts';
export { DiskQueue } from './block/disk-queue.ts';
export type { BlockCounters, GuestBlockDevice } from './block/guest-block-device.ts';
export { PagePool } from './block/page-pool.ts';
export { defineGuest, type GuestContext, type GuestProgram } from './guest/guest-program.ts';
export { type GuestRuntimeOptions, runGuest } from './guest/guest-runtime.ts';
export type { NbdExport } from './nbd/nbd-options.ts';
export { type NbdPeer, NbdSession } from './nbd/nbd-session.ts';
export { ZeroRanges } from './nbd/zero-ranges.ts';
export { formatMacAddress, parseMacAddress } from './net/mac-address.ts';
export type { NicCounters } from './net/net-counters.ts';
export { createNetFrontend, type NetFrontendOptions } from './net/netfront.ts';
export type { Nic } from './net/nic.ts';
export type { RxFrame } from './net/rx-frame.ts';
export type { TxOffload } from './net/tx-offload.ts';
