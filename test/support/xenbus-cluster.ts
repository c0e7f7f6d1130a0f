// A driver domain (1), guests (2 …) and a toolstack, with device drivers that only record what they are asked to do.
import {
  attachDevice,
  type BackendHooks,
  createBackendDriver,
  createFrontendDriver,
  type DeviceAttachment,
  type DomId,
  type FrontendHooks,
  forgetDomain,
  prepareDomain,
  XenbusBackend,
  type XenbusDevice,
  XenbusFrontend,
} from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import { type RigDomain, StoreRig } from './store-rig.ts';

/** Resources of one end: what connects must be released exactly once. */
export class Connections {
  held = 0;
  most = 0;
  made = 0;

  take(): void {
    this.held += 1;
    this.made += 1;
    this.most = Math.max(this.most, this.held);
  }

  drop(): void {
    this.held = 0;
  }
}

/** One recorded device end. */
export interface RecordedEnd {
  readonly device: XenbusDevice;
  readonly connections: Connections;
  isRemoved: boolean;
}

export interface ClusterOptions {
  /** Device type; `vif` connects in netfront's way: the front end goes from Initialising to Connected. */
  readonly type?: 'vbd' | 'vif';
  /** The back end refuses its n-th connection (from 1) with a fatal error. */
  readonly failConnect?: number;
  /** The front end holds its answer to a drain until `finishDrain` is called. */
  readonly isSlowToDrain?: boolean;
}

export class XenbusCluster {
  readonly rig = new StoreRig();
  readonly log: string[] = [];
  readonly backs: RecordedEnd[] = [];
  readonly fronts: RecordedEnd[] = [];
  readonly buses = new Map<number, XenbusFrontend | XenbusBackend>();
  finishDrain: () => void = () => {};
  private readonly options: ClusterOptions;
  private connects = 0;

  constructor(options: ClusterOptions = {}) {
    this.options = options;
  }

  get type(): 'vbd' | 'vif' {
    return this.options.type ?? 'vbd';
  }

  /** Write a domain's home and connect it to the store, without any bus. */
  domain(domid: number): RigDomain {
    const reply = this.rig.ask<void>((then) => prepareDomain(this.rig.dom0, domid as DomId, `d${domid}`, then));
    if (!reply.ok) throw new Error(reply.error);
    return this.rig.domain(domid);
  }

  /** Start a driver domain. */
  driverDomain(domid = 1, domain = this.domain(domid)): RigDomain {
    const create = (device: XenbusDevice) => createBackendDriver(device, this.backHooks(device));
    this.buses.set(domid, new XenbusBackend(domain.kernel, [{ type: this.type, create }]));
    this.rig.pump();
    return domain;
  }

  /** Start a guest. */
  guest(domid = 2, domain = this.domain(domid)): RigDomain {
    const create = (device: XenbusDevice) => createFrontendDriver(device, this.frontHooks(device));
    this.buses.set(domid, new XenbusFrontend(domain.kernel, [{ type: this.type, create }]));
    this.rig.pump();
    return domain;
  }

  spec(front = 2, back = 1, id = '0'): DeviceAttachment {
    return { type: this.type, id, front: front as DomId, back: back as DomId };
  }

  attach(device = this.spec()): string {
    const reply = this.rig.ask<void>((then) => attachDevice(this.rig.dom0, device, then));
    return reply.ok ? 'ok' : reply.error;
  }

  /** Begin to attach; `turn()` moves it on. */
  attachQuietly(device = this.spec()): { isOver: boolean } {
    const progress = { isOver: false };
    attachDevice(this.rig.dom0, device, () => {
      progress.isOver = true;
    });
    while (!progress.isOver && this.rig.toolstack.poll());
    return progress;
  }

  /** Everybody gets one turn. */
  turn(): void {
    this.rig.server.poll();
    this.rig.toolstack.poll();
    for (const { kernel } of this.rig.domains.values()) kernel.poll();
  }

  /** A domain dies: its thread is gone, then the toolstack cleans up. */
  kill(domid: number): void {
    this.rig.destroy(domid);
    this.rig.ask<void>((then) => forgetDomain(this.rig.dom0, domid as DomId, then));
  }

  frontPath(device = this.spec()): string {
    return `/local/domain/${device.front}/device/${device.type}/${device.id}`;
  }

  backPath(device = this.spec()): string {
    return `/local/domain/${device.back}/backend/${device.type}/${device.front}/${device.id}`;
  }

  /** `front/back` states as they stand in the store, `-` for a missing one. */
  states(device = this.spec()): string {
    const [front, back] = [this.frontPath(device), this.backPath(device)].map((at) => this.rig.value(`${at}/state`));
    return `${front ?? '-'}/${back ?? '-'}`;
  }

  /** Write as the toolstack, outside any protocol. */
  set(path: string, value: string): void {
    this.rig.ask<void>((then) => this.rig.dom0.write(path, value, then));
  }

  private backHooks(device: XenbusDevice): BackendHooks {
    const end: RecordedEnd = { device, connections: new Connections(), isRemoved: false };
    this.backs.push(end);
    return {
      offer: (then) => then({ 'feature-x': 1 }),
      connect: (then) => {
        this.log.push('back connect');
        end.connections.take();
        this.connects += 1;
        if (this.connects === this.options.failConnect) device.fail(new SplitringError('BAD_KEYS', 'Cannot connect'));
        else device.readKeys('other', ['ring-ref'], (keys) => then({ sectors: keys['ring-ref'] === '8' ? 64 : 0 }));
      },
      disconnect: () => {
        this.log.push('back disconnect');
        end.connections.drop();
      },
      remove: () => {
        this.log.push('back remove');
        end.isRemoved = true;
      },
      connectsOn: this.type === 'vif' ? 4 : 3,
    };
  }

  private frontHooks(device: XenbusDevice): FrontendHooks {
    const end: RecordedEnd = { device, connections: new Connections(), isRemoved: false };
    this.fronts.push(end);
    return {
      handshake: (then) => {
        this.log.push('front handshake');
        end.connections.take();
        device.readKeys('other', ['feature-x'], (keys) => then({ 'ring-ref': keys['feature-x'] === '1' ? 8 : 9 }));
      },
      live: (then) => {
        this.log.push('front live');
        then();
      },
      changed: () => this.log.push('front changed'),
      drain: (then) => {
        this.log.push('front drain');
        if (this.options.isSlowToDrain) this.finishDrain = then;
        else then();
      },
      disconnect: () => {
        this.log.push('front disconnect');
        end.connections.drop();
      },
      remove: () => {
        this.log.push('front remove');
        end.isRemoved = true;
      },
      handshakeState: this.type === 'vif' ? 4 : 3,
    };
  }
}
