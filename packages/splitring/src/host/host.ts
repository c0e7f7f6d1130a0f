// The host: one machine with its driver domains, to which guests are added.

import { bridgeCounterNames, diskCounterNames } from '@splitring/backend';
import { type Domain, type DomainUsage, type RoutingId, routingId, SharedCounters } from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import type { DriverRole, GuestRole, ThreadBoot } from '../domain/thread-boot.ts';
import {
  type CheckedDriverDomain,
  type CheckedHost,
  checkDomain,
  checkHost,
  type DomainConfig,
  type HostConfig,
} from './config.ts';
import { type DomainOutcome, outcomeOf, RunningGuest } from './domain.ts';
import { type DiskStorage, prepareStorage } from './images.ts';
import { memorySource } from './memory-source.ts';
import { OfferedBridges } from './offered-bridges.ts';
import { OfferedDisks } from './offered-disks.ts';
import { planUplinks } from './plan-uplinks.ts';
import { type PlannedDevice, refuseEnded, requestOf } from './planned-device.ts';
import { type HostPlatform, realPlatform } from './platform.ts';
import { Toolstack } from './toolstack.ts';
import { type UplinkState, UplinkStates } from './uplink-states.ts';

const MIB = 2 ** 20;

/**
 * A machine. Close it: its driver domains hold images and threads.
 *
 * @example
 * const host = await createHost({ driverDomains: [{ name: 'io', disks: { vol0: { image: 'vol0.img', size: '256MiB' } } }] });
 * try {
 *   const db = await host.createDomain({ name: 'db', program, disks: [{ name: 'xvda', from: 'vol0' }] });
 *   await db.exited;
 * } finally {
 *   await host.close();
 * }
 */
export class Host implements AsyncDisposable {
  /** Receives the lines that domains write to their consoles. */
  onConsole: (domain: string, line: string) => void = () => {};
  /** Told of every uplink that loses its peer, and of those that have it again. */
  onUplink: (uplink: UplinkState) => void = () => {};
  readonly #platform: HostPlatform;
  readonly #toolstack: Toolstack;
  readonly #uplinks: UplinkStates;
  readonly #disks: OfferedDisks;
  readonly #bridges: OfferedBridges;
  readonly #storage: DiskStorage[] = [];
  readonly #drivers: RunningGuest[] = [];
  readonly #guests = new Set<RunningGuest>();
  /** Guests that are being built. */
  readonly #starting = new Set<Promise<RunningGuest>>();
  readonly #messageCounts: (() => number)[] = [];
  /** One word per kind of domain: empty polls before a sleep. */
  readonly #spinPolls = {
    driver: new Int32Array(new SharedArrayBuffer(4)),
    guest: new Int32Array(new SharedArrayBuffer(4)),
  };
  #running = 0;
  #failure: unknown;
  #nextDevice = 0;
  #isClosed = false;

  /** Use `createHost`. */
  constructor(platform: HostPlatform, extents: CheckedHost['extents']) {
    this.#platform = platform;
    this.#toolstack = new Toolstack(platform, memorySource(extents), (error) => {
      this.#failure = error;
      for (const guest of [...this.#guests, ...this.#drivers]) guest.destroy();
    });
    this.#disks = new OfferedDisks(this.#toolstack);
    this.#bridges = new OfferedBridges(platform.random);
    this.#toolstack.onConsole = (domain, line) => this.onConsole(domain, line);
    this.#uplinks = new UplinkStates(this.#toolstack, (uplink) => {
      if (!this.#isClosed) this.onUplink(uplink);
    });
  }

  /** Messages that went over control channels so far: none for I/O, only for control operations. */
  get controlMessages(): number {
    return this.#messageCounts.reduce((sum, count) => sum + count(), 0);
  }

  /** What each domain holds now: frames, grants, mappings, ports. Domain 0 is among them. */
  inspect(): readonly DomainUsage[] {
    return this.#toolstack.hypervisor.inspect();
  }

  /** The uplinks of all driver domains, and which of them have lost their peer. */
  get uplinks(): readonly UplinkState[] {
    return this.#uplinks.list();
  }

  /**
   * The driver domains. Their counters tell what the disks do, by name and measure: `vol0.requests`, `.sectors`,
   * `.commands`, `.notifications`, `.refusals`, `.failures`.
   */
  get driverDomains(): readonly RunningGuest[] {
    return this.#drivers;
  }

  /** Capacity of a disk in bytes. @throws SplitringError NO_SUCH_DISK */
  diskBytes(name: string): number {
    return this.#disks.find(name).storage.sizeBytes;
  }

  /**
   * Give a disk's image another size while it is in use. Guests that have all of it see it grow; slices stay as they
   * are. It shrinks only where no running guest uses what would be cut off.
   *
   * @param size bytes, or text such as `512MiB`; a multiple of 512
   * @returns the size in bytes, once the driver domain serves it; guests are told at the same moment
   * @throws SplitringError NO_SUCH_DISK, BAD_SIZE, DISK_IN_USE, DISK_FIXED_SIZE (in memory), DISK_READ_ONLY,
   * HOST_CLOSED, DRIVER_DOMAIN_FAILED; MediumError when the image cannot have that size. Nothing has changed then, but
   * for DRIVER_DOMAIN_FAILED, which says what has
   */
  resizeDisk(name: string, size: string | number): Promise<number> {
    if (this.#isClosed) {
      return Promise.reject(new SplitringError('HOST_CLOSED', `Cannot resize ${name}: the host is closed`));
    }
    return this.#disks.resize(name, size);
  }

  /** Start a driver domain. Used by `createHost`. */
  async startDriverDomain(config: CheckedDriverDomain): Promise<void> {
    const { hypervisor } = this.#toolstack;
    const disks: DriverRole['disks'][number][] = [];
    const storage = new Map<string, DiskStorage>();
    for (const [name, disk] of Object.entries(config.disks)) {
      const ready = await prepareStorage(name, disk);
      this.#storage.push(ready);
      storage.set(name, ready);
      const id = this.#nextFunction();
      disks.push({ name, routingId: id, image: ready.image, memory: ready.memory, isReadonly: disk.readonly });
    }
    const { bridges, captures } = config;
    const { functions, ...network } = planUplinks(config.uplinks, bridges, () => this.#nextFunction());
    const counters = SharedCounters.create([
      ...Object.keys(config.disks).flatMap(diskCounterNames),
      ...config.bridges.flatMap(bridgeCounterNames),
    ]);
    const { buffer, names } = counters;
    const domain = this.#build(config.name);
    for (const id of [...disks.map((disk) => disk.routingId), ...functions]) {
      hypervisor.pci.add(id, domain.domid);
      hypervisor.pci.assign(id, domain.domid, domain.generation);
    }
    const driver = await this.#start(
      domain,
      { kind: 'driver', disks, bridges, counters: { buffer, names }, ...network, captures },
      config.memory,
      [],
      counters,
    );
    this.#drivers.push(driver);
    const ready = this.#toolstack.nodeExists(`/local/domain/${domain.domid}/data/ready`);
    const early = await Promise.race([ready, driver.exited]);
    if (early !== undefined) {
      throw new SplitringError(
        early.code ?? 'DRIVER_DOMAIN_FAILED',
        `Cannot start driver domain ${config.name}: ${early.message}`,
      );
    }
    for (const [name, each] of storage) {
      this.#disks.offer({ name, driver, storage: each, isReadonly: config.disks[name]?.readonly === true });
    }
    for (const bridge of config.bridges) this.#bridges.offer(bridge, driver);
    this.#uplinks.follow(domain, config.uplinks, driver.exited);
  }

  /**
   * Build a domain, attach its devices, and start its program.
   * @throws SplitringError BAD_CONFIG, NO_SUCH_DISK, NO_SUCH_BRIDGE, DRIVER_DOMAIN_ENDED, HOST_CLOSED; nothing is left behind then
   */
  async createDomain(config: DomainConfig): Promise<RunningGuest> {
    const checked = checkDomain(config);
    if (this.#isClosed) throw new SplitringError('HOST_CLOSED', `Cannot create ${checked.name}: the host is closed`);
    const { name } = checked;
    const disks = this.#disks.plan(name, checked.disks); // refuses before anything is built
    const cards = this.#bridges.plan(name, checked.nics);
    const domain = this.#build(name);
    const endUses = [this.#disks.use(name, checked.disks), this.#bridges.use(name, cards)];
    const counters = SharedCounters.create(checked.counters);
    const role: GuestRole = {
      kind: 'guest',
      program: checked.program,
      args: checked.args,
      disks: checked.disks.map((disk) => disk.name),
      nics: cards.length,
      counters: { buffer: counters.buffer, names: counters.names },
    };
    const release = () => {
      for (const end of endUses) end();
    };
    const starting = this.#start(domain, role, checked.memory, [...disks, ...cards], counters).then(
      (guest) => {
        this.#guests.add(guest);
        void guest.exited.then(() => {
          this.#guests.delete(guest);
          release();
        });
        return guest;
      },
      (error: unknown) => {
        release();
        throw error;
      },
    );
    this.#starting.add(starting);
    return starting.finally(() => this.#starting.delete(starting));
  }

  /**
   * End every guest, then the driver domains, and let go of the images. Idempotent.
   * @param deadlineMs how long a domain may take to end by itself
   */
  close(deadlineMs = 5000): Promise<void> {
    return this.end(deadlineMs, false);
  }

  /** As `close`; `isAbandoned` also removes images that were made just now. Used by `createHost` when it fails. */
  async end(deadlineMs: number, isAbandoned: boolean): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#starting);
    await Promise.all([...this.#guests].map((guest) => guest.shutdown(deadlineMs)));
    await Promise.all(this.#drivers.map((driver) => driver.shutdown(deadlineMs)));
    this.#toolstack.stop();
    await Promise.all(this.#storage.splice(0).map((storage) => storage.release(isAbandoned)));
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #nextFunction(): RoutingId {
    const id = routingId(this.#nextDevice >>> 5, this.#nextDevice & 31, 0); // 32 devices on each bus
    this.#nextDevice += 1;
    return id;
  }

  #build(name: string): Domain {
    return this.#toolstack.hypervisor.createDomain({ name });
  }

  async #start(
    domain: Domain,
    role: ThreadBoot['role'],
    heapBytes: number | undefined,
    devices: readonly PlannedDevice[],
    counters = SharedCounters.create([]),
  ): Promise<RunningGuest> {
    const { domid, name } = domain;
    const attached: PlannedDevice[] = [];
    try {
      await this.#toolstack.introduce(domain, role.kind === 'driver');
      for (const device of devices) {
        refuseEnded(name, device.driver);
        attached.push(device);
        await this.#toolstack.attach(requestOf(device, domid));
      }
    } catch (error) {
      await this.#takeBack(domain, attached);
      throw error;
    }
    const control = this.#platform.connect(this.#toolstack.hypervisor, domain);
    this.#messageCounts.push(control.messages);
    const boot: ThreadBoot = {
      name,
      hypervisor: domain.boot,
      control: control.port,
      role,
      spinPolls: this.#spinPolls[role.kind],
    };
    this.#countRunning(1);
    const running = this.#platform.domains.start({
      domid,
      name,
      program: this.#platform.threadEntry,
      boot,
      transfer: control.port === undefined ? [] : [control.port],
      heapLimitMiB: heapBytes === undefined ? undefined : Math.max(16, Math.ceil(heapBytes / MIB)),
    });
    const exited = running.fence.then(async (exit): Promise<DomainOutcome> => {
      control.close();
      this.#countRunning(-1);
      await this.#takeBack(domain, devices);
      return outcomeOf(exit);
    });
    return new RunningGuest({
      domid,
      name,
      counters,
      running,
      exited,
      askToShutDown: () => this.#toolstack.askToShutDown(domid),
    });
  }

  /** Nothing of the domain runs any more: its back ends let go, then all it held is taken back. */
  async #takeBack(domain: Domain, devices: readonly PlannedDevice[]): Promise<void> {
    const detach = (device: PlannedDevice) =>
      this.#toolstack.detach(requestOf(device, domain.domid), device.driver.hasEnded);
    await Promise.all(devices.map(detach));
    await this.#toolstack.bury(domain);
  }

  #countRunning(change: 1 | -1): void {
    this.#running += change;
    for (const kind of ['driver', 'guest'] as const) {
      this.#spinPolls[kind][0] = this.#platform.spinPolls(kind, this.#running);
    }
  }
}

/**
 * Make a host and start its driver domains.
 * @throws SplitringError BAD_CONFIG; MediumError when an image cannot be used. Nothing is left behind then
 */
export async function createHost(config: HostConfig = {}, platform: HostPlatform = realPlatform()): Promise<Host> {
  const checked = checkHost(config);
  const host = new Host(platform, checked.extents);
  try {
    for (const driverDomain of checked.driverDomains) await host.startDriverDomain(driverDomain);
    return host;
  } catch (error) {
    await host.end(0, true);
    throw error;
  }
}
