export type { DomainExit, DomainHost, RunningDomain } from './domain/domain-host.ts';
export { EventLoopPump, type EventLoopPumpOptions, type Schedule } from './domain/event-loop-pump.ts';
export { type IdleOptions, pumpUntil, runDomain } from './domain/idle-loop.ts';
export { type MemorySource, separateBuffers } from './domain/memory-builder.ts';
export { SharedCounters } from './domain/shared-counters.ts';
export type { Domain, DomainSpec, StartRing } from './domain/start-rings.ts';
export type { DomainUsage } from './domain/usage.ts';
export { sharedWasmMemory, wasmMemoryPerExtent, wasmMemorySource } from './domain/wasm-memory.ts';
export { DomainHypercalls } from './domain-hypercalls.ts';
export { DomainKernel, type DomainKernelOptions } from './domain-kernel.ts';
export { HypercallError } from './error.ts';
export type { PortCounters } from './event/event-delivery.ts';
export type { PortStatus } from './event/event-ports.ts';
export { EOI_MOST_MS, EOI_TICK_MS, type ThrottleCounters } from './event/event-throttle.ts';
export { PORT } from './event/port-word.ts';
export { NR_VIRQS, VIRQ } from './event/virq.ts';
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
export { attach, Hypervisor, type HypervisorOptions } from './hypervisor.ts';
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
export { FAULT_REASON, FaultLog, type FaultRecord, FSTS_PFO, FSTS_PPF } from './iommu/fault-log.ts';
export { InterruptRemap, type InterruptTarget, msiAddress } from './iommu/interrupt-remap.ts';
export { INVALIDATION_TIMEOUT_MS, IoInvalidator, type LocalUnit } from './iommu/invalidation.ts';
export { IoPageTables } from './iommu/io-page-tables.ts';
export { clearContext, Iommu, Requester, releaseUnits, setContext } from './iommu/iommu.ts';
export {
  createIommuTables,
  IO_READ,
  IO_WRITE,
  type IommuSize,
  type IoSpace,
  QUARANTINE_SPACE,
} from './iommu/iommu-layout.ts';
export type { Kernel } from './kernel.ts';
export type { DomainBoot, StartInfo } from './memory/boot.ts';
export type { ControlMessage, ControlPort, ControlRequest, ControlSink } from './memory/control-port.ts';
export type { Limits } from './memory/limits.ts';
export {
  canCopyBetweenMemories,
  NativeCopy,
  type NativeCopyFunction,
} from './memory/native-copy.ts';
export type { SharedWasmMemory } from './memory/wasm-backing.ts';
export {
  MSIX_BAR,
  MSIX_CONTROL,
  MSIX_PBA_OFFSET,
  PCI,
  PCI_COMMAND,
  PCI_EXP_DEVCTL_FLR,
  PCI_EXP_DEVSTA_TRPND,
  type PciIdentity,
} from './pci/config-space.ts';
export { type DmaMemory, extentOffset } from './pci/dma-views.ts';
export type { InterruptPorts } from './pci/msix.ts';
export type { BusMaster, DeviceModel, Mmio, PciAccess, PciFunction } from './pci/pci-access.ts';
export { FLR_DELAY_MS, PciBus, type PciBusOptions } from './pci/pci-bus.ts';
export { createPciTable, formatRoutingId, PciPlatform, routingId } from './pci/pci-platform.ts';
export type { Clock, Random, Stepped } from './stepped.ts';
export {
  BACKEND_STEPS,
  type BackendHooks,
  createBackendDriver,
  type KeyEntries,
} from './xenbus/backend-driver.ts';
export { XenbusBackend, XenbusFrontend } from './xenbus/bus.ts';
export { type DetachHost, type DetachOptions, type DetachOutcome, detachDevice } from './xenbus/detach.ts';
export { createFrontendDriver, FRONTEND_ACTIONS, type FrontendHooks } from './xenbus/frontend-driver.ts';
export { parseKey } from './xenbus/keys.ts';
export {
  attachDevice,
  type DeviceAttachment,
  type DevicePaths,
  devicePaths,
  forgetDomain,
  prepareDomain,
  reattachDevice,
} from './xenbus/toolstack.ts';
export type { DeviceClass, KeyValues, XenbusDevice, XenbusDriver } from './xenbus/xenbus-device.ts';
export type { StoreCallback, StoreReply, XenstoreClient, XenstoreTransaction } from './xenstore/client.ts';
export type { StorePeer } from './xenstore/connection.ts';
export { DirectXenstoreClient } from './xenstore/direct-client.ts';
export { MemoryStore, type StoreAudit } from './xenstore/memory-store.ts';
export { type RingClientOptions, RingXenstoreClient } from './xenstore/ring-client.ts';
export { type ConnectionReport, XenstoreServer, type XenstoreServerOptions } from './xenstore/server.ts';
export {
  DEFAULT_QUOTAS,
  DRIVER_DOMAIN_QUOTAS,
  type Store,
  type StoreEventSink,
  type StoreListing,
  type StoreQuotas,
  type StoreSession,
} from './xenstore/store.ts';
