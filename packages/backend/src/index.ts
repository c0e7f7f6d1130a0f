export {
  type BlockBackend,
  type BlockConnection,
  createBlockBackend,
} from './block/blkback.ts';
export type { BlkbackCounters } from './block/blkback-counters.ts';
export type { BlockBackendOptions } from './block/block-backend-options.ts';
export type { DiskTarget } from './block/disk-slice.ts';
export { type DiskMeasure, diskCounterNames } from './block/disk-statistics.ts';
export { type DriverDomain, type DriverDomainOptions, startDriverDomain } from './driver-domain.ts';
export {
  Bridge,
  type BridgeLink,
  type BridgeOptions,
  type BridgePort,
  type FrameTap,
  type LinkOptions,
  VERDICT,
  type Verdict,
} from './net/bridge.ts';
export type { BridgeCounters } from './net/bridge-counters.ts';
export { bridgeCounterNames } from './net/bridge-statistics.ts';
export { type CardDriver, CardUplink, type CardUplinkCounters } from './net/card-uplink.ts';
export { Frame, type FramePage } from './net/frame.ts';
export type { NetSchedulerOptions } from './net/net-scheduler.ts';
export { createNetBackend, type NetBackendOptions } from './net/netback.ts';
export { type CaptureOptions, PcapngCapture } from './net/pcapng.ts';
export { frameForStream, STREAM_HEADER_BYTES, StreamDecoder } from './net/stream-framing.ts';
export { type FrameCarrier, Uplink, type UplinkCounters, type UplinkOptions } from './net/uplink.ts';
export type { Vif } from './net/vif.ts';
export type { VifCounters } from './net/vif-counters.ts';
export { decapsulate, encapsulate, VXLAN_HEADER_BYTES, VXLAN_PORT } from './net/vxlan.ts';
