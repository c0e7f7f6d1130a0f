// Domain 0 at work: its kernel, the xenstore server, and the promises that make its callbacks pleasant.
import {
  attachDevice,
  type Domain,
  DomainKernel,
  type DomId,
  DRIVER_DOMAIN_QUOTAS,
  detachDevice,
  forgetDomain,
  Hypervisor,
  type MemorySource,
  MemoryStore,
  prepareDomain,
  type XenstoreClient,
  XenstoreServer,
} from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import { ConsoleReader } from './console-reader.ts';
import type { HostPlatform } from './platform.ts';

/** A device to attach: xenstore keys of both ends besides those that every device has. */
export interface DeviceRequest {
  readonly type: 'vbd' | 'vif';
  readonly id: string;
  readonly front: DomId;
  readonly back: DomId;
  readonly frontKeys: Readonly<Record<string, string>>;
  readonly backKeys: Readonly<Record<string, string>>;
}

/** Longest wait for a back end to let go of a guest that has ended. */
const DETACH_TIMEOUT_MS = 2000;

/** Domain 0. */
export class Toolstack {
  /** The machine. */
  readonly hypervisor: Hypervisor;
  /** Receives console lines of all domains. */
  onConsole: (domain: string, line: string) => void = () => {};
  private readonly platform: HostPlatform;
  private readonly server: XenstoreServer;
  private readonly kernel: DomainKernel;
  private readonly store: XenstoreClient;
  private readonly mover: { readonly stop: () => void };
  private readonly consoles = new Map<DomId, ConsoleReader>();

  /** Start domain 0; `onError` gets a failure of its kernel, which is ours. @throws RangeError without such memory */
  constructor(platform: HostPlatform, memory: MemorySource, onError: (error: unknown) => void) {
    this.hypervisor = new Hypervisor({ memory });
    this.platform = platform;
    const { clock, random } = platform;
    this.server = new XenstoreServer({ store: new MemoryStore(), clock });
    const client = this.server.directClient();
    this.store = client;
    this.kernel = new DomainKernel({ hypercalls: this.hypervisor.dom0, clock, random, connectStore: () => client });
    this.kernel.add(this.server);
    this.kernel.add(client);
    this.mover = platform.accompany(this.kernel, onError);
  }

  /** Prepare a new domain's xenstore home and let it in. A driver domain owns nodes of every device it serves. */
  async introduce(domain: Domain, isDriverDomain: boolean): Promise<void> {
    const { dom0 } = this.hypervisor;
    await this.done('prepare the domain', (then) => prepareDomain(this.store, domain.domid, domain.name, then));
    this.server.introduce({
      domid: domain.domid,
      generation: domain.generation,
      page: domain.store.page.bytes,
      notify: () => dom0.notify(domain.store.port),
      ...(isDriverDomain ? { quotas: DRIVER_DOMAIN_QUOTAS } : {}),
    });
    const reader = new ConsoleReader(
      domain.console.page.bytes,
      this.platform.clock,
      (line) => this.onConsole(domain.name, line),
      () => dom0.notify(domain.console.port),
    );
    this.consoles.set(domain.domid, reader);
    this.kernel.add(reader);
    this.kernel.onPeerEvent(domain.store.port, () => this.server.bytesMoved(domain.domid));
    this.kernel.onPeerEvent(domain.console.port, () => reader.bytesTaken);
    this.kernel.requestPoll();
  }

  /** Attach a device. */
  attach(request: DeviceRequest): Promise<void> {
    return this.done('attach the device', (then) => attachDevice(this.store, request, then));
  }

  /** Take away a device of a guest that has ended: its back end is asked to let go, and given up at the deadline. */
  detach(request: DeviceRequest, isBackGone: boolean): Promise<void> {
    const options = { isFrontGone: true, isForced: isBackGone, timeoutMs: DETACH_TIMEOUT_MS };
    return this.done('detach the device', (then) => detachDevice(this.kernel, request, options, then));
  }

  /** Ask a domain to end. */
  askToShutDown(domid: DomId): void {
    this.store.write(`/local/domain/${domid}/control/shutdown`, 'poweroff');
    this.kernel.requestPoll();
  }

  /** Resolves when a node exists and, if it is asked for, has this value. `giveUp` ends the wait. */
  nodeExists(path: string, value?: string, giveUp?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = this.store.watch(path, () => {
        this.store.read(path, (reply) => {
          if (!reply.ok || (value !== undefined && reply.value !== value)) return;
          end();
          resolve();
        });
        this.kernel.requestPoll();
      });
      giveUp?.addEventListener('abort', end);
      this.kernel.requestPoll();
    });
  }

  /**
   * Have a driver domain look at its images, and wait until it has found that size.
   * @returns false if it has not within `timeoutMs`
   */
  async resample(domid: DomId, disk: string, sectors: number, timeoutMs: number): Promise<boolean> {
    const home = `/local/domain/${domid}`;
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), timeoutMs);
    const given = new Promise<false>((resolve) => {
      deadline.signal.addEventListener('abort', () => resolve(false));
    });
    const found = this.nodeExists(`${home}/data/disks/${disk}/sectors`, String(sectors), deadline.signal);
    this.store.write(`${home}/control/resample`, disk);
    this.kernel.requestPoll();
    try {
      return await Promise.race([found.then(() => true), given]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Call back with a node's value, now and whenever it changes; undefined while it is not there. @returns how to end it */
  watchNode(path: string, onValue: (value: string | undefined) => void): () => void {
    const end = this.store.watch(path, () => {
      this.store.read(path, (reply) => onValue(reply.ok ? reply.value : undefined));
      this.kernel.requestPoll();
    });
    this.kernel.requestPoll();
    return end;
  }

  /** Take back all that a domain held. Only after its fence. */
  async bury(domain: Domain): Promise<void> {
    for (const { port } of [domain.store, domain.console]) this.kernel.offEvent(port);
    const reader = this.consoles.get(domain.domid);
    if (reader !== undefined) {
      while (reader.poll()) {}
      reader.finish();
      this.kernel.remove(reader);
      this.consoles.delete(domain.domid);
    }
    this.server.release(domain.domid);
    this.hypervisor.domainDied(domain.domid);
    await this.done('forget the domain', (then) => forgetDomain(this.store, domain.domid, then));
  }

  /** Stop domain 0. */
  stop(): void {
    this.mover.stop();
  }

  private done(what: string, start: (then: (reply: { ok: boolean; error?: string }) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      start((reply) => {
        if (reply.ok) resolve();
        else reject(new SplitringError('TOOLSTACK', `Cannot ${what}: the xenstore answers ${reply.error}`));
      });
      this.kernel.requestPoll();
    });
  }
}
