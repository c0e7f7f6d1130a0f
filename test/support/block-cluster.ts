// The whole house below the block path on this thread: hypervisor, xenstore, toolstack, NVMe controller and driver.
import { type BlockBackend, type BlockBackendOptions, createBlockBackend } from '@splitring/backend';
import {
  type FaultPlan,
  type Medium,
  MemoryMedium,
  NvmeController,
  type NvmeDisk,
  NvmeDriver,
} from '@splitring/device';
import { type BlockFrontendOptions, createBlockFrontend, type Disk } from '@splitring/frontend';
import {
  attachDevice,
  type DomainHypercalls,
  type DomId,
  detachDevice,
  Hypervisor,
  prepareDomain,
  routingId,
  XenbusBackend,
  XenbusFrontend,
  type XenstoreClient,
} from '@splitring/hypervisor';
import { vbdNumber } from '@splitring/hypervisor/io';
import { type RigDomain, StoreRig } from './store-rig.ts';

/** How a cluster is made. */
export interface BlockClusterOptions {
  readonly media?: readonly Medium[];
  readonly backend?: Partial<BlockBackendOptions>;
  readonly queueEntries?: number;
  readonly faults?: FaultPlan;
  readonly ioTimeoutMs?: number;
  /** What the driver domain gets for its xenstore. */
  readonly storeOf?: ((store: XenstoreClient) => XenstoreClient) | undefined;
}

/** A guest with one disk. */
export interface ClusterGuest {
  readonly hypercalls: DomainHypercalls;
  readonly domain: RigDomain;
  readonly disk: Disk;
}

/** How a guest of the cluster is made. */
export type GuestOptions = Partial<BlockFrontendOptions> & { readonly backKeys?: Record<string, string> };

const NVME = routingId(0, 4, 0);

/** A driver domain `io` with one NVMe controller whose namespaces are the disks `vol1`, `vol2` … */
export class BlockCluster {
  readonly rig = new StoreRig();
  readonly hypervisor = new Hypervisor();
  readonly io: DomainHypercalls;
  readonly backend: BlockBackend;
  readonly controller: NvmeController;
  readonly driver: NvmeDriver;
  /** Called before each step; throws to pull the plug. */
  onStep: () => void = () => {};
  private readonly disks = new Map<string, NvmeDisk>();

  constructor(options: BlockClusterOptions = {}) {
    const domain = this.hypervisor.createDomain({ name: 'io' });
    this.io = this.hypervisor.attachInThread(domain);
    this.hypervisor.pci.add(NVME, domain.domid);
    this.hypervisor.pci.assign(NVME, domain.domid, domain.generation);
    const ordinary = this.rig.storeOf;
    this.rig.storeOf = options.storeOf ?? ordinary;
    const { kernel } = this.introduce(this.io, 'io');
    this.rig.storeOf = ordinary;
    const bus = this.io.startPciBus(this.rig.clock);
    const media = options.media ?? [new MemoryMedium(new SharedArrayBuffer(4 << 20))];
    const faulty = options.faults === undefined ? {} : { faults: options.faults, clock: this.rig.clock };
    this.controller = bus.plug(NVME, (master) => new NvmeController(master, { media, ...faulty }));
    kernel.add(bus);
    this.driver = new NvmeDriver(kernel, this.io.pci.open(NVME), {
      queuePairs: 1,
      queueEntries: options.queueEntries ?? 256,
      ioTimeoutMs: options.ioTimeoutMs ?? 30_000,
    });
    kernel.add(this.driver);
    this.run(() => this.driver.state !== 'starting');
    for (const index of media.keys()) this.disks.set(`vol${index + 1}`, this.driver.openDisk(index + 1, 0));
    this.backend = createBlockBackend({
      disk: (params) => {
        const device = this.disks.get(params);
        return device && { device };
      },
      ...options.backend,
    });
    new XenbusBackend(kernel, [this.backend]);
  }

  /** Add a guest and run until its disk `xvda` is there; `early` gets the guest before it has one. */
  guest(options: GuestOptions = {}, early?: (hypercalls: DomainHypercalls) => void): ClusterGuest {
    const { hypercalls, domain, disks } = this.attachGuest(options, early);
    this.run(() => disks.length > 0);
    return { hypercalls, domain, disk: disks[0] as Disk }; // run() has seen it
  }

  /** Add a guest with a disk attached, whatever becomes of it. @returns it, and its disks as they come */
  attachGuest(options: GuestOptions = {}, early: (hypercalls: DomainHypercalls) => void = () => {}) {
    const hypercalls = this.hypervisor.attachInThread(this.hypervisor.createDomain({ name: 'guest' }));
    early(hypercalls);
    const domain = this.introduce(hypercalls, `guest${hypercalls.domid}`);
    const disks: Disk[] = [];
    const onDisk = (made: Disk) => disks.push(made);
    const waitUntil = (isDone: () => boolean) => this.run(isDone);
    const frontend = createBlockFrontend({ onDisk, waitUntil, bufferBytes: 1 << 20, ...options });
    new XenbusFrontend(domain.kernel, [frontend]);
    this.plug(hypercalls.domid, options.backKeys);
    return { hypercalls, domain, disks };
  }

  /** Attach a guest's disk. */
  plug(domid: DomId, backKeys?: Record<string, string>): void {
    this.rig.ask<void>((then) => attachDevice(this.rig.dom0, this.spec(domid, backKeys), then));
  }

  /** Run for `ms` of the cluster's clock. */
  rest(ms: number): void {
    const endMs = this.rig.clock.nowMs() + ms;
    this.run(() => this.rig.clock.nowMs() >= endMs);
  }

  /** Unplug a guest's disk. @returns how it ended */
  unplug(guest: Pick<ClusterGuest, 'hypercalls'>): string {
    const spec = this.spec(guest.hypercalls.domid);
    const reply = this.rig.ask<string>((then) => detachDevice(this.rig.toolstack, spec, {}, then));
    return reply.ok ? reply.value : reply.error;
  }

  /** Poll everything until `isDone`. */
  run(isDone: () => boolean): void {
    for (let steps = 0; steps < 50_000; steps += 1) {
      if (isDone()) return;
      if (!this.step()) this.rig.clock.advance(0.25);
    }
    throw new Error('the cluster does not come to rest');
  }

  /** Run until `promise` is settled. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settled = () => {
      isSettled = true;
    };
    promise.then(settled, settled);
    for (let steps = 0; !isSettled && steps < 50_000; steps += 1) {
      if (!this.step()) {
        this.rig.clock.advance(0.25);
        // Flushes of real files come back over the event loop.
        await new Promise((resolve) => setImmediate(resolve));
      }
      await Promise.resolve();
    }
    if (!isSettled) throw new Error('the cluster does not come to rest');
    return promise;
  }

  private step(): boolean {
    this.onStep();
    let hasWorked = this.rig.server.poll();
    if (this.rig.toolstack.poll()) hasWorked = true;
    for (const { kernel } of this.rig.domains.values()) if (kernel.poll()) hasWorked = true;
    return hasWorked;
  }

  private introduce(hypercalls: DomainHypercalls, name: string): RigDomain {
    this.rig.ask<void>((then) => prepareDomain(this.rig.dom0, hypercalls.domid, name, then));
    return this.rig.domain(hypercalls.domid, hypercalls);
  }

  private spec(front: DomId, backKeys: Record<string, string> = {}) {
    const id = String(vbdNumber('xvda'));
    return { type: 'vbd', id, front, back: this.io.domid, backKeys: { params: 'vol1', mode: 'w', ...backKeys } };
  }
}
