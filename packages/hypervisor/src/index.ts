export type { DomainExit, DomainHost, RunningDomain } from './domain/domain-host.ts';
export { EventLoopPump, type IdleOptions, pumpUntil, runDomain, type Schedule } from './domain/idle-loop.ts';
export { DomainKernel, type DomainKernelOptions } from './domain-kernel.ts';
export { HypercallError } from './error.ts';
export {
  type CopyOp,
  type CopySide,
  type FrameRun,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  type GntStatus,
  type Hypercalls,
  type MapOp,
  SHUTDOWN,
  type ShutdownReason,
  type UnmapOp,
} from './hypercalls.ts';
export {
  DOM0,
  DOMID_FIRST_RESERVED,
  DOMID_IO,
  DOMID_SELF,
  type DomId,
  type EvtchnPort,
  EXTENT_SHIFT,
  type FrameNumber,
  type GrantHandle,
  type GrantRef,
  PAGE_SHIFT,
  PAGE_SIZE,
  type RoutingId,
} from './ids.ts';
export type { Kernel } from './kernel.ts';
export type { BusMaster, DeviceModel, Mmio, PciAccess, PciFunction } from './pci/pci-access.ts';
export type { Clock, Random, Stepped } from './stepped.ts';
export type { DeviceClass, KeyValues, XenbusDevice, XenbusDriver } from './xenbus/xenbus-device.ts';
export type { StoreCallback, StoreReply, XenstoreClient, XenstoreTransaction } from './xenstore/client.ts';
