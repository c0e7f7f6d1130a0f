// Brings a guest up: its front ends, its console, its shutdown; runs the program; takes it all down in order.
import { type DeviceClass, type DomainKernel, SharedCounters, XenbusFrontend } from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import { createBlockFrontend } from '../block/blkfront.ts';
import type { Disk } from '../block/disk.ts';
import { GuestConsole } from '../console/guest-console.ts';
import { createNetFrontend } from '../net/netfront.ts';
import type { Nic } from '../net/nic.ts';
import type { GuestContext, GuestProgram } from './guest-program.ts';
import { SleepQueue } from './sleep-queue.ts';

/** Longest wait for back ends when the program has ended. */
const CLOSE_TIMEOUT_MS = 1000;

/** What a guest runs with. */
export interface GuestRuntimeOptions {
  /** The domain's kernel. */
  readonly kernel: DomainKernel;
  /** The domain's name. */
  readonly name: string;
  /** Plain data for the program. */
  readonly args: unknown;
  /** Names of the disks to wait for before the program starts. */
  readonly disks: readonly string[];
  /** Number of network cards to wait for. */
  readonly nics: number;
  /** Counters that the program writes. */
  readonly counters: { readonly buffer: SharedArrayBuffer; readonly names: readonly string[] };
  /** The console's page and how to raise its event. */
  readonly console: { readonly page: Uint8Array; readonly notify: () => void };
  /** Poll until `isDone` while the thread blocks; undefined where it must not. */
  readonly waitUntil: ((isDone: () => boolean) => void) | undefined;
  /** Longest wait for the devices, in milliseconds of the clock. */
  readonly connectTimeoutMs: number;
}

/**
 * Wait for the devices, run the program to its end, and let go of the devices.
 * @returns what the program returned; undefined if the guest was told to shut down before it could start
 * @throws SplitringError DEVICES_NOT_CONNECTED when a device does not connect in time; whatever the program throws
 */
export async function runGuest<Args, Result>(
  program: GuestProgram<Args, Result>,
  options: GuestRuntimeOptions,
): Promise<Result | undefined> {
  const guest = new GuestRuntime(options);
  try {
    return (await guest.devicesConnected()) ? await program(guest.context<Args>()) : undefined;
  } finally {
    await guest.close();
  }
}

class GuestRuntime {
  private readonly options: GuestRuntimeOptions;
  private readonly sleeps: SleepQueue;
  private readonly console: GuestConsole;
  private readonly shutdown = new AbortController();
  private readonly disks = new Map<string, Disk>();
  private readonly nics = new Map<number, Nic>();
  private readonly bus: XenbusFrontend;

  constructor(options: GuestRuntimeOptions) {
    const { kernel } = options;
    this.options = options;
    this.sleeps = new SleepQueue(kernel.clock, () => kernel.requestPoll());
    this.console = new GuestConsole(options.console.page, options.console.notify);
    kernel.add(this.sleeps, 'control');
    kernel.add(this.console, 'control');
    this.bus = new XenbusFrontend(kernel, this.deviceClasses());
    kernel.store.watch('control/shutdown', () => this.readShutdown());
    kernel.requestPoll();
  }

  /** Resolves true when every configured device is there, false when the guest is told to shut down first. */
  async devicesConnected(): Promise<boolean> {
    const { kernel, connectTimeoutMs, name } = this.options;
    const deadline = kernel.clock.nowMs() + connectTimeoutMs;
    while (this.missing().length > 0 && !this.shutdown.signal.aborted) {
      if (kernel.clock.nowMs() >= deadline) {
        const names = this.missing().join(', ');
        throw new SplitringError(
          'DEVICES_NOT_CONNECTED',
          `Cannot start ${name}: ${names} did not connect in ${connectTimeoutMs} ms; look at the driver domain`,
          { names },
        );
      }
      await this.sleeps.sleep(1);
    }
    return !this.shutdown.signal.aborted;
  }

  /** What the program gets. */
  context<Args>(): GuestContext<Args> {
    const { kernel, name, args, counters } = this.options;
    return {
      name,
      domid: kernel.hypercalls.domid,
      args: args as Args, // what the host gave; its shape is the program's business
      disk: (wanted) => this.find('disk', 'NO_SUCH_DISK', this.disks, wanted),
      nic: (wanted) => this.find('network card', 'NO_SUCH_NIC', this.nics, wanted),
      print: (line) => this.console.print(line),
      counters: new SharedCounters(counters.buffer, counters.names),
      clock: kernel.clock,
      random: kernel.random,
      signal: this.shutdown.signal,
      sleep: (ms, signal) => this.sleeps.sleep(ms, signal),
    };
  }

  /** Close every device in good order, for as long as its back end plays along; then let go of all. */
  async close(): Promise<void> {
    const { kernel } = this.options;
    const deadline = kernel.clock.nowMs() + CLOSE_TIMEOUT_MS;
    let isClosed = false;
    this.bus.closeDevices(() => {
      isClosed = true;
    });
    kernel.requestPoll();
    while (!isClosed && kernel.clock.nowMs() < deadline) await this.sleeps.sleep(1);
    this.bus.close();
    kernel.poll(); // what the drivers' last words staged
  }

  private find<Key, Value>(what: string, code: string, found: ReadonlyMap<Key, Value>, key: Key): Value {
    const value = found.get(key);
    if (value !== undefined) return value;
    const there = [...found.keys()].join(', ') || 'none';
    throw new SplitringError(
      code,
      `Cannot find ${what} ${key} in ${this.options.name}: there is ${there}; add it to the configuration`,
    );
  }

  private missing(): string[] {
    const { disks, nics } = this.options;
    const cards = Array.from({ length: nics }, (_, index) => index);
    return [
      ...disks.filter((name) => !this.disks.has(name)),
      ...cards.filter((index) => this.nics.get(index)?.isLinkUp !== true).map((index) => `network card ${index}`),
    ];
  }

  private deviceClasses(): readonly DeviceClass[] {
    return [
      createBlockFrontend({
        onDisk: (disk) => this.disks.set(disk.name, disk),
        ...(this.options.waitUntil === undefined ? {} : { waitUntil: this.options.waitUntil }),
      }),
      createNetFrontend({ onNic: (nic) => this.nics.set(Number(nic.id), nic) }),
    ];
  }

  /** The toolstack asks through control/shutdown; an empty value acknowledges. Xen docs/misc/xenstore-paths.pandoc */
  private readShutdown(): void {
    const { store } = this.options.kernel;
    store.read('control/shutdown', (reply) => {
      if (!reply.ok || reply.value === '') return;
      store.write('control/shutdown', '');
      this.shutdown.abort();
    });
  }
}
