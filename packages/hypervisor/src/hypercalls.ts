// The narrow interface between one domain and the hypervisor. Drivers get this and nothing more.
import type { DomId, EvtchnPort, FrameNumber, GrantHandle, GrantRef } from './ids.ts';
import type { NativeCopy } from './memory/native-copy.ts';
import type { PciAccess } from './pci/pci-access.ts';

/** Consecutive frames of one extent: one contiguous view of memory. */
export interface FrameRun {
  /** First machine frame; the others follow by one. */
  readonly first: FrameNumber;
  /** Number of frames, at least 1. */
  readonly frames: number;
  /** The memory itself, `frames * 4096` bytes over a shared buffer. */
  readonly bytes: Uint8Array;
}

/** Status of one grant operation; 0 is success, all others are negative. xen/include/public/grant_table.h, GNTST_* */
export const GNTST = {
  okay: 0,
  general_error: -1,
  bad_domain: -2,
  bad_gntref: -3,
  bad_handle: -4,
  bad_virt_addr: -5,
  bad_dev_addr: -6,
  no_device_space: -7,
  permission_denied: -8,
  bad_page: -9,
  bad_copy_arg: -10,
  address_too_big: -11,
  eagain: -12,
  no_space: -13,
} as const;
/** One of the values of {@link GNTST}. */
export type GntStatus = (typeof GNTST)[keyof typeof GNTST];

/** Map for DMA by this domain's devices: the frame appears in its I/O page table. */
export const GNTMAP_device_map = 1;
/** Map for access by this domain's program. */
export const GNTMAP_host_map = 2;
/** Map for reading only. */
export const GNTMAP_readonly = 4;

/** One grant to map; the hypervisor fills in the second half. */
export interface MapOp {
  /** The granting domain. */
  dom: DomId;
  /** Its grant. */
  ref: GrantRef;
  /** GNTMAP_* bits; host_map, device_map or both. */
  flags: number;
  /** Out: outcome; the fields below are only meaningful when it is GNTST.okay. */
  status: GntStatus;
  /** Out: names the mapping until it is unmapped. */
  handle: GrantHandle;
  /** Out: the machine frame; with device_map its bus address is `frame * 4096`. */
  frame: FrameNumber;
}

/** One mapping to undo, wholly or only its host or device part. */
export interface UnmapOp {
  /** As given by map. */
  handle: GrantHandle;
  /** GNTMAP_host_map, GNTMAP_device_map or both: the parts to undo. */
  flags: number;
  /** Out: outcome. */
  status: GntStatus;
}

/** One side of a grant copy: a foreign grant, or a frame of the caller. */
export type CopySide =
  | { readonly dom: DomId; readonly ref: GrantRef; readonly offset: number }
  | { readonly frame: FrameNumber; readonly offset: number };

/** One copy of at most a page between two sides. */
export interface CopyOp {
  /** Where the bytes come from. */
  source: CopySide;
  /** Where they go. */
  dest: CopySide;
  /** Bytes; neither side may leave its page. */
  lengthBytes: number;
  /** Out: outcome. */
  status: GntStatus;
}

/** Why a domain ends; sched.h SHUTDOWN_*. */
export const SHUTDOWN = { poweroff: 0, reboot: 1, suspend: 2, crash: 3 } as const;
/** One of the values of {@link SHUTDOWN}. */
export type ShutdownReason = (typeof SHUTDOWN)[keyof typeof SHUTDOWN];

/**
 * The hypercalls of one domain, running on the caller's thread over shared tables. Rebuilt in a worker from plain data.
 *
 * Every refusal is a status or a HypercallError; nothing here blocks except `allocateFrames`, which may ask the host
 * thread and is bounded.
 */
export interface Hypercalls {
  /** The calling domain. */
  readonly domid: DomId;
  /** Its generation: (domid, generation) is its identity. */
  readonly generation: number;

  // ---- memory

  /**
   * Take zeroed, contiguous frames from memory that only this domain and `peer` ever hold (`peer` = own domid: private).
   * Owned frames are in this domain's I/O page table at bus address `frame * 4096`, for devices assigned to it.
   * @throws HypercallError ENOMEM over this domain's limit; ESRCH no such peer; EINVAL frames not 1 … 4096
   */
  allocateFrames(peer: DomId, frames: number): FrameRun;
  /** Give frames back. Frames with a grant that could not be ended stay in quarantine until it ends. */
  freeFrames(run: FrameRun): void;

  // ---- grants

  /**
   * Let `peer` map or copy a frame of ours. @returns a free grant reference
   * @throws HypercallError GNTST_no_space when the table is full; EPERM when the frame is not ours
   */
  grantAccess(peer: DomId, frame: FrameNumber, isReadonly: boolean): GrantRef;
  /** End a grant by compare-exchange. @returns false if the peer still maps it: the frame must not be reused */
  endAccess(ref: GrantRef): boolean;
  /** Map each grant; outcome in each operation. Never throws for what a peer did. */
  mapGrants(ops: readonly MapOp[]): void;
  /**
   * Unmap each handle; outcome in each operation. `general_error` for a device part means that the device has not
   * confirmed yet: the grant stays pinned until it has, and the rest then happens by itself. Not to be asked again.
   */
  unmapGrants(ops: readonly UnmapOp[]): void;
  /** Copy between grants and own frames; outcome in each operation. */
  copyGrants(ops: readonly CopyOp[]): void;
  /** The memory of a host mapping; `frames` > 1 when the following handles map the following frames of one extent. */
  mappedBytes(handle: GrantHandle, frames?: number): Uint8Array;
  /**
   * Map grants whose frames are one contiguous run in one step (rings, large buffers).
   * @returns the handles to unmap, all of them, to undo it (a run may have a single one), and one view of it all, or the status of the first refusal with nothing left mapped
   */
  mapRun(
    dom: DomId,
    refs: readonly GrantRef[],
    flags: number,
  ): { readonly status: GntStatus; readonly handles: readonly GrantHandle[]; readonly run: FrameRun | undefined };

  /** What copies natively between extents, where they lie in WebAssembly memories; a machine may have none. */
  readonly nativeCopy?: NativeCopy;

  // ---- event channels

  /** Make a port that `remote` may bind to. @throws HypercallError ENOSPC */
  allocUnbound(remote: DomId): EvtchnPort;
  /** Bind to a port that `remote` made for us. @throws HypercallError ENOENT, EINVAL */
  bindInterdomain(remote: DomId, remotePort: EvtchnPort): EvtchnPort;
  /** Close a port of ours; the other end keeps an unbound port. Idempotent. */
  closePort(port: EvtchnPort): void;
  /** Raise the event at the other end. A closed or unbound channel swallows it. */
  notify(port: EvtchnPort): void;
  /** Hold back (true) or let through (false) the events of a port; a pending one fires on unmask. */
  setMask(port: EvtchnPort, isMasked: boolean): void;
  /** An event of `port` brought no work: told by whoever judges its peer, kept among the port's counters. */
  countSpurious(port: EvtchnPort): void;
  /** Hand every pending, unmasked port to `dispatch`, clearing it first. @returns the number dispatched */
  pollEvents(dispatch: (port: EvtchnPort) => void): number;
  /** This domain's doorbell: sample `Atomics.load(words, index)`, make the final check, wait on it. */
  readonly doorbell: { readonly words: Int32Array; readonly index: number };

  // ---- devices

  /** The PCI functions assigned to this domain. */
  readonly pci: PciAccess;

  // ---- life

  /** Whether the toolstack has paused this domain: its kernel does nothing until it is resumed; the doorbell tells. */
  readonly isPaused: boolean;

  /** Announce why this domain ends; the thread is expected to return soon after. */
  shutdown(reason: ShutdownReason): void;
}
