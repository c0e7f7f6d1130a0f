// A driver domain with a bridge and guests with cards, connected by the real hypervisor, xenstore and xenbus, on one thread.
import { Bridge, createNetBackend, type NetBackendOptions, type Vif } from '@splitring/backend';
import { createNetFrontend, type NetFrontendOptions, type Nic } from '@splitring/frontend';
import {
  attachDevice,
  type DetachOptions,
  type DomainHypercalls,
  type DomId,
  detachDevice,
  Hypervisor,
  type HypervisorOptions,
  prepareDomain,
  XenbusBackend,
  XenbusFrontend,
} from '@splitring/hypervisor';
import { type RigDomain, StoreRig } from './store-rig.ts';

/** One guest and its first card. */
export interface ClusterGuest {
  readonly domid: DomId;
  readonly hypercalls: DomainHypercalls;
  readonly domain: RigDomain;
  readonly nics: Nic[];
  readonly mac: Uint8Array;
}

export class NetCluster {
  readonly hypervisor: Hypervisor;
  readonly rig = new StoreRig();
  readonly driver: DomainHypercalls;
  readonly driverDomain: RigDomain;
  readonly bridge: Bridge;
  readonly guests: ClusterGuest[] = [];
  /** Cards at their back ends, in the order of connecting. */
  readonly vifs: Vif[] = [];

  constructor(options: Partial<NetBackendOptions> = {}, machine: HypervisorOptions = {}) {
    this.hypervisor = new Hypervisor(machine);
    this.driver = this.hypervisor.attachInThread(this.hypervisor.createDomain({ name: 'net' }));
    this.driverDomain = this.join(this.driver);
    this.bridge = new Bridge('lan0', this.rig.clock);
    const bridge = (name: string) => (name === 'lan0' ? this.bridge : undefined);
    const { kernel } = this.driverDomain;
    kernel.add(this.bridge);
    const onVif = (vif: Vif, isConnected: boolean) => void (isConnected && this.vifs.push(vif));
    new XenbusBackend(kernel, [createNetBackend({ bridge, onVif, ...options })]);
  }

  /** Add a guest with a card, connected unless something refuses. */
  guest(front: Partial<NetFrontendOptions> = {}, backKeys: Record<string, string> = {}): ClusterGuest {
    const hypercalls = this.hypervisor.attachInThread(this.hypervisor.createDomain({ name: 'guest' }));
    const domain = this.join(hypercalls);
    const nics: Nic[] = [];
    const onNic = (nic: Nic) => nics.push(nic);
    new XenbusFrontend(domain.kernel, [createNetFrontend({ onNic, ...front })]);
    const mac = Uint8Array.of(0, 0x16, 0x3e, 0, 0, hypercalls.domid);
    const guest = { domid: hypercalls.domid, hypercalls, domain, nics, mac };
    this.guests.push(guest);
    this.plug(guest, backKeys);
    return guest;
  }

  /** Plug a card in. */
  plug(guest: ClusterGuest, backKeys: Record<string, string> = {}): void {
    const text = Array.from(guest.mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
    const spec = { ...this.spec(guest), frontKeys: { mac: text }, backKeys: { bridge: 'lan0', ...backKeys } };
    const reply = this.rig.ask<void>((then) => attachDevice(this.rig.dom0, spec, then));
    if (!reply.ok) throw new Error(reply.error);
  }

  /** Unplug it. @returns how that ended */
  unplug(guest: ClusterGuest, options: Partial<DetachOptions> = {}): string {
    const reply = this.rig.ask<string>((then) => detachDevice(this.rig.toolstack, this.spec(guest), options, then));
    return reply.ok ? reply.value : reply.error;
  }

  /** The first card of a guest. */
  nic(guest: ClusterGuest): Nic {
    const [nic] = guest.nics;
    if (nic === undefined) throw new Error('there is no card');
    return nic;
  }

  private spec(guest: ClusterGuest) {
    return { type: 'vif', id: '0', front: guest.domid, back: this.driver.domid };
  }

  private join(hypercalls: DomainHypercalls): RigDomain {
    const domain = this.rig.domain(hypercalls.domid, hypercalls);
    const reply = this.rig.ask<void>((then) =>
      prepareDomain(this.rig.dom0, hypercalls.domid, `d${hypercalls.domid}`, then),
    );
    if (!reply.ok) throw new Error(reply.error);
    return domain;
  }
}
