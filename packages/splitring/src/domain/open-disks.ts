// The disks of a driver domain: medium, controller model and native driver of each, on this thread's PCI bus.
import { type BlockDevice, ImageFile, type Medium, MemoryMedium, NvmeController, NvmeDriver } from '@splitring/device';
import type { DomainHypercalls, DomainKernel, PciBus, XenstoreClient } from '@splitring/hypervisor';
import { InvariantError, SplitringError } from 'sharedarraybuffer-ring';
import type { DiskBoot } from './thread-boot.ts';

/** Controllers have one namespace, and drivers one queue pair here. */
const FIRST_NAMESPACE = 1;
const FIRST_QUEUE_PAIR = 0;

function openMedium(disk: DiskBoot): Medium {
  if (disk.image !== undefined) return new ImageFile({ path: disk.image, isReadOnly: disk.isReadonly });
  if (disk.memory !== undefined) return new MemoryMedium(disk.memory);
  throw new InvariantError('NO_STORAGE', `Cannot open disk ${disk.name}: it has neither an image nor memory`);
}

/** Hardware and native drivers of a driver domain's disks; the kernel that it was made with polls it. */
export class OpenDisks {
  private readonly media: Medium[] = [];
  private readonly controllers: NvmeController[] = [];
  private readonly drivers = new Map<string, NvmeDriver>();

  /** Plug in and start every disk. @throws MediumError for the first that cannot be opened */
  constructor(disks: readonly DiskBoot[], kernel: DomainKernel, hypercalls: DomainHypercalls, bus: PciBus) {
    try {
      for (const disk of disks) {
        const medium = openMedium(disk);
        this.media.push(medium);
        this.controllers.push(bus.plug(disk.routingId, (master) => new NvmeController(master, { media: [medium] })));
        const driver = new NvmeDriver(kernel, hypercalls.pci.open(disk.routingId), {
          queuePairs: 1,
          queueEntries: 256,
        });
        kernel.add(driver);
        this.drivers.set(disk.name, driver);
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Whether every controller has answered, well or not. */
  get isSettled(): boolean {
    return [...this.drivers.values()].every(({ state }) => state !== 'starting');
  }

  /**
   * The disks by name. Their sizes stand in the store from now on (`data/disks/<name>/sectors`), and the media are looked
   * at again whenever the toolstack writes to `control/resample`. Once only.
   * @throws SplitringError DISK_FAILED when a controller could not be brought up
   */
  open(store: XenstoreClient): ReadonlyMap<string, BlockDevice> {
    const disks = new Map<string, BlockDevice>();
    for (const [name, driver] of this.drivers) {
      if (driver.failure !== undefined) {
        throw new SplitringError('DISK_FAILED', `Cannot start disk ${name}: ${driver.failure}`, { name });
      }
      const disk = driver.openDisk(FIRST_NAMESPACE, FIRST_QUEUE_PAIR);
      disk.onResize = () => store.write(`data/disks/${name}/sectors`, String(disk.capacitySectors));
      disk.onResize(disk.capacitySectors);
      disks.set(name, disk);
    }
    store.watch('control/resample', () => {
      for (const controller of this.controllers) controller.resample(FIRST_NAMESPACE);
    });
    return disks;
  }

  /** Close the media; nothing may be in flight. Idempotent. */
  close(): void {
    for (const medium of this.media.splice(0)) medium.close();
  }
}
