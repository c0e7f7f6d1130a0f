// Small pieces for tests of the hypervisor: a machine with two domains, and single calls instead of batches.
import {
  type CopySide,
  type DomainHypercalls,
  type FrameNumber,
  GNTMAP_host_map,
  GNTST,
  type GntStatus,
  type GrantHandle,
  type GrantRef,
  Hypervisor,
  type HypervisorOptions,
} from '@splitring/hypervisor';

/** Limits that make a machine quick to build. */
export const SMALL = { domains: 32, portsPerDomain: 32, grantFrames: 1, maptrackFrames: 1, extents: 64 };

/** A guest, a driver domain and a stranger. */
export class TestMachine {
  readonly hypervisor: Hypervisor;
  readonly guest: DomainHypercalls;
  readonly driver: DomainHypercalls;
  readonly stranger: DomainHypercalls;
  /** The guest's grant table, to be scribbled on. */
  readonly table: Int32Array;
  /** Every event page there is: guest-writable too. */
  readonly eventPages: SharedArrayBuffer[] = [];

  constructor(options: HypervisorOptions = {}) {
    this.hypervisor = new Hypervisor({ ...options, limits: { ...SMALL, ...options.limits } });
    const domain = this.hypervisor.createDomain({ name: 'guest', memoryBytes: 512 * 4096 });
    this.guest = this.hypervisor.attachInThread(domain);
    this.driver = this.domain('driver');
    this.stranger = this.domain('stranger');
    this.table = new Int32Array(domain.boot.grantTables[domain.domid] as SharedArrayBuffer); // one for every domid
    for (const one of domain.boot.memory) if (one.kind === 'event-page') this.eventPages.push(one.buffer);
  }

  /** One more domain. */
  domain(name: string): DomainHypercalls {
    return this.hypervisor.attachInThread(this.hypervisor.createDomain({ name }));
  }

  /** A frame of the guest granted to the driver. */
  grant(isReadonly = false): { frame: FrameNumber; ref: GrantRef; bytes: Uint8Array } {
    const { first, bytes } = this.guest.allocateFrames(this.driver.domid, 1);
    return { frame: first, ref: this.guest.grantAccess(this.driver.domid, first, isReadonly), bytes };
  }

  /** What a domain holds. */
  usage(domain: DomainHypercalls) {
    return this.hypervisor.inspect().find((one) => one.domid === domain.domid && one.generation === domain.generation);
  }
}

/** Map one grant. */
export function mapOne(
  by: DomainHypercalls,
  dom: number,
  ref: number,
  flags = GNTMAP_host_map,
): { status: GntStatus; handle: GrantHandle; frame: FrameNumber } {
  const op = {
    dom: dom as DomainHypercalls['domid'],
    ref: ref as GrantRef,
    flags,
    status: GNTST.general_error as GntStatus,
    handle: -1 as GrantHandle,
    frame: -1 as FrameNumber,
  };
  by.mapGrants([op]);
  return op;
}

/** Unmap one handle. */
export function unmapOne(by: DomainHypercalls, handle: GrantHandle, flags = 3): GntStatus {
  const op = { handle, flags, status: GNTST.general_error as GntStatus };
  by.unmapGrants([op]);
  return op.status;
}

/** Copy once. */
export function copyOne(by: DomainHypercalls, source: CopySide, dest: CopySide, lengthBytes: number): GntStatus {
  const op = { source, dest, lengthBytes, status: GNTST.general_error as GntStatus };
  by.copyGrants([op]);
  return op.status;
}
