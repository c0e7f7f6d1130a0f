// What a domain is started with: plain data and shared buffers, from which its thread rebuilds its hypercalls.

import type { DomId, EvtchnPort, FrameNumber } from '../ids.ts';
import type { ControlMessage } from './control-port.ts';
import type { Limits } from './limits.ts';

/** Where a domain finds its first two rings; the frames are granted to dom0 by the reserved references. */
export interface StartInfo {
  /** Page of the xenstore ring. */
  readonly storeFrame: FrameNumber;
  /** Event channel of the xenstore ring. */
  readonly storePort: EvtchnPort;
  /** Page of the console ring. */
  readonly consoleFrame: FrameNumber;
  /** Event channel of the console ring. */
  readonly consolePort: EvtchnPort;
}

/** Hand this to the thread of a domain, by `workerData`, a message or a plain call. */
export interface DomainBoot {
  /** The domain's number. */
  readonly domid: DomId;
  /** Which use of that number. */
  readonly generation: number;
  /** Capacities of the machine. */
  readonly limits: Limits;
  /** The shared tables. */
  readonly tables: SharedArrayBuffer;
  /** The grant table of every domid, guest-writable. */
  readonly grantTables: readonly SharedArrayBuffer[];
  /** The IOMMU tables. */
  readonly iommu: SharedArrayBuffer;
  /** The PCI table. */
  readonly pci: SharedArrayBuffer;
  /** Extents and event pages handed over before the start. */
  readonly memory: readonly ControlMessage[];
  /** The first rings; dom0 has none. */
  readonly start: StartInfo | undefined;
}
