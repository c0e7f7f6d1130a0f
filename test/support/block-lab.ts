// A driver domain with a RAM disk and guests that use it, all on this thread: for tests of the block path.
import { type BlockBackend, type BlockBackendOptions, createBlockBackend } from '@splitring/backend';
import { type BlockFrontendOptions, createBlockFrontend, type Disk } from '@splitring/frontend';
import {
  type DomainHypercalls,
  DomainKernel,
  type FrameNumber,
  Hypervisor,
  type XenstoreClient,
} from '@splitring/hypervisor';
import { RamDisk, type RamDiskOptions } from './ram-disk.ts';
import { type WireEnd, XenbusWire } from './xenbus-wire.ts';

/** One guest of the lab. */
export interface LabGuest {
  readonly hypercalls: DomainHypercalls;
  readonly kernel: DomainKernel;
  /** Set once the disk can be used. */
  disk: Disk;
  readonly front: WireEnd;
  readonly back: WireEnd;
}

/** How a lab is made. */
export interface BlockLabOptions extends Partial<RamDiskOptions> {
  readonly backend?: Partial<BlockBackendOptions>;
}

/** Everything moves by `run`, one step after the other; time moves by `nowMs`. */
export class BlockLab {
  readonly hypervisor = new Hypervisor();
  readonly wire = new XenbusWire();
  readonly driver: DomainHypercalls;
  readonly driverKernel: DomainKernel;
  readonly ram: RamDisk;
  readonly backend: BlockBackend;
  readonly guests: LabGuest[] = [];
  nowMs = 0;

  constructor(options: BlockLabOptions = {}) {
    this.driver = this.hypervisor.attachInThread(this.hypervisor.createDomain({ name: 'io' }));
    this.driverKernel = this.kernel(this.driver);
    const page = (frame: number) => this.driver.memory.pageBytes(frame as FrameNumber);
    this.ram = new RamDisk(page, { sectors: 8192, ...options });
    this.backend = createBlockBackend({ disk: (params) => this.target(params), ...options.backend });
  }

  /** Add a guest and, unless told otherwise, run until its disk is there. */
  guest(options: Partial<BlockFrontendOptions> & { keys?: Record<string, string> } = {}): LabGuest {
    const hypercalls = this.hypervisor.attachInThread(this.hypervisor.createDomain({ name: 'guest' }));
    const kernel = this.kernel(hypercalls);
    let disk: Disk | undefined;
    const frontend = createBlockFrontend({
      onDisk: (made) => {
        disk = made;
      },
      waitUntil: (isDone) => this.run(isDone),
      bufferBytes: 256 << 10,
      ...options,
    });
    const ends = this.wire.join(
      '51712',
      { kernel, deviceClass: frontend },
      { kernel: this.driverKernel, deviceClass: this.backend, keys: { params: 'vol0', mode: 'w', ...options.keys } },
    );
    const guest: LabGuest = { hypercalls, kernel, ...ends, disk: undefined as unknown as Disk };
    this.guests.push(guest);
    this.run(() => disk !== undefined || ends.back.failure !== undefined || ends.front.failure !== undefined);
    // Tests of refused connections never look at it.
    guest.disk = disk as unknown as Disk;
    return guest;
  }

  /** Poll everything once. */
  step(): boolean {
    let hasWorked = this.wire.poll();
    if (this.driverKernel.poll()) hasWorked = true;
    for (const guest of this.guests) if (guest.kernel.poll()) hasWorked = true;
    return hasWorked;
  }

  /** Poll until `isDone`; by default, until nothing moves any more. Fails instead of hanging. */
  run(isDone?: () => boolean): void {
    for (let steps = 0; steps < 20_000; steps += 1) {
      if (isDone?.()) return;
      // As an idle loop does: nothing to do is known only after arming, when the control machines are polled too.
      const hasWorked = this.step() || this.driverKernel.arm();
      if (!hasWorked && isDone === undefined) return;
      if (!hasWorked) this.nowMs += 0.25;
    }
    throw new Error('the lab does not come to rest');
  }

  /** Run until `promise` is settled. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settled = () => {
      isSettled = true;
    };
    promise.then(settled, settled);
    for (let steps = 0; !isSettled && steps < 20_000; steps += 1) {
      if (!this.step()) this.nowMs += 0.25;
      await Promise.resolve();
    }
    if (!isSettled) throw new Error('the lab does not come to rest');
    return promise;
  }

  /** The kernel of a domain in this lab. */
  kernel(hypercalls: DomainHypercalls): DomainKernel {
    return new DomainKernel({
      hypercalls,
      clock: { nowMs: () => this.nowMs },
      random: { nextU32: () => 4 },
      connectStore: () => undefined as unknown as XenstoreClient, // these drivers get their keys over the wire
    });
  }

  private target(params: string) {
    const slice = /^vol0:([0-9]+)\+([0-9]+)$/.exec(params);
    if (params === 'vol0') return { device: this.ram };
    if (slice === null) return undefined;
    return { device: this.ram, firstSector: Number(slice[1]), sectors: Number(slice[2]) };
  }
}

/** Bytes that tell where they belong. */
export function pattern(lengthBytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 31 + (i >> 9) * 7 + seed * 101) & 0xff);
}

/** Whether two buffers hold the same bytes; quick, unlike a deep comparison. */
export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
