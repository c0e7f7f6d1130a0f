// The disks that guests can be given: which driver domain has them, who uses how much of each, and changes of their size.
import { vbdNumber } from '@splitring/hypervisor/io';
import { SplitringError } from 'sharedarraybuffer-ring';
import { formatSize, parseSize } from '../size.ts';
import type { CheckedDisk } from './config.ts';
import { diskKeys } from './device-keys.ts';
import type { RunningGuest } from './domain.ts';
import type { DiskStorage } from './images.ts';
import { listed, type PlannedDevice, refuseEnded } from './planned-device.ts';
import type { Toolstack } from './toolstack.ts';

const SECTOR_BYTES = 512;
/** Longest wait for a driver domain to find a new size: longer than an admin command of its controller may take. */
const RESIZE_TIMEOUT_MS = 15_000;

/** A disk that guests can be given. */
export interface OfferedDisk {
  readonly name: string;
  /** The driver domain that has it. */
  readonly driver: RunningGuest;
  readonly storage: DiskStorage;
  readonly isReadonly: boolean;
}

/** A guest's hold on a disk, up to `endBytes` of it. */
interface Use {
  readonly guest: string;
  readonly disk: string;
  readonly endBytes: number;
}

/** All disks of a host. */
export class OfferedDisks {
  private readonly toolstack: Toolstack;
  private readonly disks = new Map<string, OfferedDisk>();
  private readonly uses = new Set<Use>();
  private lastResize: Promise<unknown> = Promise.resolve();

  /** `toolstack` asks driver domains to look at their images. */
  constructor(toolstack: Toolstack) {
    this.toolstack = toolstack;
  }

  /** Let guests have it from now on. */
  offer(disk: OfferedDisk): void {
    this.disks.set(disk.name, disk);
  }

  /** Find a disk by its name. @throws SplitringError NO_SUCH_DISK */
  find(name: string): OfferedDisk {
    const disk = this.disks.get(name);
    if (disk !== undefined) return disk;
    throw new SplitringError('NO_SUCH_DISK', `Cannot find disk ${name}: there is ${listed(this.disks)}`, { name });
  }

  /** The disks that guest `guest` shall have. @throws SplitringError BAD_CONFIG, NO_SUCH_DISK, DRIVER_DOMAIN_ENDED */
  plan(guest: string, disks: readonly CheckedDisk[]): PlannedDevice[] {
    return disks.map((disk) => {
      const { driver, storage, isReadonly } = this.find(disk.from);
      refuseEnded(guest, driver);
      const { sizeBytes } = storage;
      if (disk.slice !== undefined && endOf(disk) > sizeBytes) {
        throw new SplitringError(
          'BAD_CONFIG',
          `Cannot create ${guest}: the slice of ${disk.name} ends at ${endOf(disk)}, ${disk.from} has ${sizeBytes} bytes`,
        );
      }
      const id = String(vbdNumber(disk.name));
      return {
        type: 'vbd',
        id,
        driver,
        frontKeys: { 'virtual-device': id, 'device-type': 'disk' },
        backKeys: diskKeys({ ...disk, readonly: disk.readonly || isReadonly }),
      };
    });
  }

  /** Note what a guest uses. @returns what ends that */
  use(guest: string, disks: readonly CheckedDisk[]): () => void {
    const uses = disks.map((disk): Use => ({ guest, disk: disk.from, endBytes: endOf(disk) }));
    for (const use of uses) this.uses.add(use);
    return () => {
      for (const use of uses) this.uses.delete(use);
    };
  }

  /** See `Host.resizeDisk`. One after the other: a driver domain tells sizes, not whose wish they are. */
  resize(name: string, size: string | number): Promise<number> {
    const resized = this.lastResize.then(() => this.resizeNow(name, size));
    this.lastResize = resized.catch(() => {});
    return resized;
  }

  private async resizeNow(name: string, size: string | number): Promise<number> {
    const disk = this.find(name);
    const { storage, driver } = disk;
    const sizeBytes = parseSize(size);
    this.refuse(disk, sizeBytes);
    if (sizeBytes === storage.sizeBytes) return sizeBytes;
    storage.resize(sizeBytes);
    const asked = this.toolstack.resample(driver.domid, name, sizeBytes / SECTOR_BYTES, RESIZE_TIMEOUT_MS);
    const early = await Promise.race([asked, driver.exited]);
    if (early === true) return sizeBytes;
    const why = early === false ? `it has not found it in ${RESIZE_TIMEOUT_MS} ms` : 'it has ended';
    throw new SplitringError(
      'DRIVER_DOMAIN_FAILED',
      `Cannot tell driver domain ${driver.name} of the size of ${name}: ${why}; the image has ${sizeBytes} bytes`,
      { name, sizeBytes },
    );
  }

  private refuse({ name, storage, isReadonly }: OfferedDisk, sizeBytes: number): void {
    const cannot = `Cannot resize ${name} to ${sizeBytes} bytes`;
    if (sizeBytes % SECTOR_BYTES !== 0) {
      throw new SplitringError('BAD_SIZE', `${cannot}: make it a multiple of ${SECTOR_BYTES}`, { name, sizeBytes });
    }
    if (storage.image === undefined) {
      throw new SplitringError('DISK_FIXED_SIZE', `${cannot}: it lies in memory; only images can change their size`, {
        name,
      });
    }
    if (isReadonly) throw new SplitringError('DISK_READ_ONLY', `${cannot}: it is read-only`, { name });
    const users = [...this.uses].filter((use) => use.disk === name && use.endBytes > sizeBytes);
    if (sizeBytes >= storage.sizeBytes || users.length === 0) return;
    const guests = [...new Set(users.map(({ guest }) => guest))].join(', ');
    throw new SplitringError(
      'DISK_IN_USE',
      `${cannot}: ${guests} would lose what lies behind ${formatSize(sizeBytes)}; end it first, or give it a slice`,
      { name, sizeBytes, guests },
    );
  }
}

/** Where a guest's part of a disk ends, in bytes. */
function endOf({ slice }: CheckedDisk): number {
  return slice === undefined ? Number.POSITIVE_INFINITY : slice.offset + slice.size;
}
