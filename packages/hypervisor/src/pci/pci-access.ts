// The two sides of a PCI function: what a native driver sees of it, and what a device model sees of the bus.
import type { EvtchnPort, FrameNumber, RoutingId } from '../ids.ts';
import type { PciIdentity } from './config-space.ts';

/** Memory-mapped registers of one BAR. Plain calls where driver and device share a thread, exits where they do not. */
export interface Mmio {
  /** Size of the BAR in bytes. */
  readonly lengthBytes: number;
  /** Whether the device is stepped by another thread: what it writes to memory must be loaded atomically then. */
  readonly isRemote: boolean;
  /** Read a 32-bit register; offset a multiple of 4, below `lengthBytes`. */
  read32(offset: number): number;
  /** Write a 32-bit register. */
  write32(offset: number, value: number): void;
}

/** One assigned PCI function as its driver sees it. */
export interface PciFunction {
  /** bus:device.function. */
  readonly routingId: RoutingId;
  /** Read 1, 2 or 4 bytes of configuration space. */
  configRead(offset: number, widthBytes: 1 | 2 | 4): number;
  /** Write 1, 2 or 4 bytes of configuration space. */
  configWrite(offset: number, widthBytes: 1 | 2 | 4, value: number): void;
  /** The registers behind BAR `index` (0 … 5). */
  bar(index: number): Mmio;
  /** Route MSI-X vector `vector` to a new event-channel port of this domain, through interrupt remapping. */
  bindVector(vector: number): EvtchnPort;
  /** Hold back (true) or let through (false) a vector; one raised meanwhile fires on unmasking. */
  maskVector(vector: number, isMasked: boolean): void;
}

/** What a domain can do with PCI. */
export interface PciAccess {
  /** Functions assigned to this domain now. */
  list(): readonly RoutingId[];
  /** Open one. @throws HypercallError ENODEV if it is not (or no longer) ours */
  open(routingId: RoutingId): PciFunction;
}

/** The bus as a device model sees it: DMA through the IOMMU, interrupts through remapping. */
export interface BusMaster {
  /** Who we are on the bus. */
  readonly routingId: RoutingId;
  /**
   * Translate the page at bus address `busPage * 4096` for one access.
   * @returns the machine frame, or −1 after recording a fault
   */
  translate(busPage: number, isWrite: boolean): FrameNumber | -1;
  /**
   * Translate the first `count` of `busPages`, one access each, and write the machine frames to `frames`.
   * @returns how many were translated: fewer than `count` after recording a fault
   */
  translateAll(busPages: Int32Array, count: number, isWrite: boolean, frames: Int32Array): number;
  /** Whether the driver runs on another thread than the model: what it polls must be stored atomically then. */
  readonly isDriverRemote: boolean;
  /** Changes whenever views from before must not be used any more: an extent was retired and its number may come back. */
  readonly viewEpoch: number;
  /** The memory behind a frame that `translate` returned, as a cached 4096-byte view. */
  pageBytes(frame: FrameNumber): Uint8Array;
  /** The whole extent that holds the frame, which starts at `extentOffset(frame)`: one view for any run, never made anew. */
  extentBytes(frame: FrameNumber): Uint8Array;
  /** Raise MSI-X vector `vector`. */
  interrupt(vector: number): void;
  /** The cause of a vector was dealt with while it was masked: unmasking must not fire for it. PCI 3.0 §6.8.3.5 */
  withdraw(vector: number): void;
}

/** A device model: the hardware behind one PCI function, stepped by exactly one thread. */
export interface DeviceModel {
  /** Identity and capabilities for configuration space. */
  readonly identity: PciIdentity;
  /** A driver reads a register. */
  read32(bar: number, offset: number): number;
  /** A driver writes a register (a doorbell among them). */
  write32(bar: number, offset: number, value: number): void;
  /** Do bounded work: fetch commands, move data, complete. */
  poll(): boolean;
  /** Whether requests are under way: "transactions pending" in configuration space. */
  isBusy(): boolean;
  /** Whether asynchronous work (a flush off-thread) needs this thread's event loop. */
  needsEventLoop(): boolean;
  /** Clock time of the next timed work (latency model), or Infinity. */
  deadlineMs(): number;
  /** Function-level reset: registers to defaults, outstanding DMA dropped; media and volatile caches stay. */
  reset(): void;
}
