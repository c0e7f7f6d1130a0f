// The front end's half of the block protocol's handshake, and the class of devices `vbd` for guests.
import {
  createFrontendDriver,
  type DeviceClass,
  type FrontendHooks,
  HypercallError,
  type Kernel,
  type KeyEntries,
  parseKey,
  type XenbusDevice,
} from '@splitring/hypervisor';
import {
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_PROTOCOL,
  BLKIF_SEGMENTS_PER_INDIRECT_PAGE,
  vbdName,
} from '@splitring/hypervisor/io';
import { SplitringError } from 'sharedarraybuffer-ring';
import { deferredGrants } from '../deferred-grants.ts';
import { BlkfrontDevice } from './blkfront-device.ts';
import {
  DISK_KEYS,
  type DiskFeatures,
  parseDisk,
  parseTransport,
  TRANSPORT_KEYS,
  type TransportFeatures,
} from './blkfront-features.ts';
import { BlkfrontQueue } from './blkfront-queue.ts';
import { DataGrants } from './data-grants.ts';
import { Disk } from './disk.ts';
import { PagePool } from './page-pool.ts';

/** How the disks of a guest are driven; everything but the first two is optional. */
export interface BlockFrontendOptions {
  /** Called once for each disk, when it can be used for the first time. */
  readonly onDisk: (disk: Disk) => void;
  /** Poll the domain until `isDone`, for the synchronous calls; undefined where nothing may block. */
  readonly waitUntil?: ((isDone: () => boolean) => void) | undefined;
  /** log2 of the pages of each ring, at most what the back end takes. Default 2: 128 requests. */
  readonly ringOrder?: number;
  /** Rings, at most what the back end takes. Default 1. */
  readonly queues?: number;
  /** Segments of one request, at most what the back end takes; 11 or fewer: no indirect requests. Default 256: 1 MiB. */
  readonly maxSegments?: number;
  /** Keep grants from request to request. Default true. */
  readonly isPersistent?: boolean;
  /** Memory for data in flight. Default 4 MiB. */
  readonly bufferBytes?: number;
  /** Called when a disk is gone for good. */
  readonly onGone?: (disk: Disk) => void;
}

const DEVICE_IDS = { min: 0, max: 2 ** 31 } as const;
const DEFAULTS = { ringOrder: 2, queues: 1, maxSegments: 256, bufferBytes: 4 << 20 } as const;

/**
 * Make the class of devices `vbd` for a guest.
 *
 * @example
 * const disks = new Map<string, Disk>();
 * new XenbusFrontend(kernel, [createBlockFrontend({ onDisk: (disk) => disks.set(disk.name, disk), waitUntil })]);
 */
export function createBlockFrontend(options: BlockFrontendOptions): DeviceClass {
  return {
    type: 'vbd',
    create: (device, kernel) => createFrontendDriver(device, new Blkfront(device, kernel, options)),
  };
}

/** One disk's driver. The `Disk` and its memory live on over reconnects; rings, ports and grants do not. */
class Blkfront implements FrontendHooks {
  private readonly device: XenbusDevice;
  private readonly kernel: Kernel;
  private readonly options: BlockFrontendOptions;
  private readonly blockDevice = new BlkfrontDevice();
  private disk: Disk | undefined;
  private pool: PagePool | undefined;
  private grants: DataGrants | undefined;
  private queues: readonly BlkfrontQueue[] = [];
  private maxSegments = BLKIF_MAX_SEGMENTS_PER_REQUEST;

  constructor(device: XenbusDevice, kernel: Kernel, options: BlockFrontendOptions) {
    this.device = device;
    this.kernel = kernel;
    this.options = options;
    this.blockDevice.onBroken = (error) => this.device.fail(error);
  }

  handshake(then: (keys: KeyEntries) => void): void {
    this.device.readKeys('other', TRANSPORT_KEYS, (keys) => {
      try {
        then(this.open(parseTransport(keys)));
      } catch (error) {
        if (!(error instanceof HypercallError)) throw error;
        this.fail('BLKFRONT_SETUP', 'no memory, grants or ports for its rings', error);
      }
    });
  }

  live(then: () => void): void {
    this.readDisk((features) => {
      this.blockDevice.attach(this.queues, features, this.maxSegments);
      then();
      this.announce();
    });
  }

  changed(): void {
    this.readDisk((features) => this.blockDevice.update(features));
  }

  drain(then: () => void): void {
    this.blockDevice.drain(then);
  }

  disconnect(): void {
    this.blockDevice.detach();
    for (const queue of this.queues) {
      this.kernel.offEvent(queue.port);
      deferredGrants(this.kernel).add(queue.release());
    }
    this.queues = [];
    this.grants?.endAll();
  }

  /** A disk that the guest has would wait for a connection that nobody makes. */
  failed(): void {
    if (this.disk === undefined) return;
    this.blockDevice.abandon();
    this.kernel.requestPoll();
  }

  remove(): void {
    this.disconnect();
    this.blockDevice.abandon();
    const { disk } = this;
    if (disk !== undefined) {
      disk.machine.poll(); // what waited gets its outcome now; calls that still come are refused at once
      this.kernel.remove(disk.machine);
    }
    this.closeMemory();
    if (disk !== undefined) this.options.onGone?.(disk);
  }

  /** Allocate everything for a connection within the back end's limits. @returns the keys that tell it */
  private open(transport: TransportFeatures): KeyEntries {
    const { options } = this;
    const order = Math.min(options.ringOrder ?? DEFAULTS.ringOrder, transport.maxRingOrder);
    const queueCount = Math.max(1, Math.min(options.queues ?? DEFAULTS.queues, transport.maxQueues));
    const indirect = Math.min(
      options.maxSegments ?? DEFAULTS.maxSegments,
      transport.maxIndirectSegments,
      BLKIF_SEGMENTS_PER_INDIRECT_PAGE,
    );
    const direct = Math.min(options.maxSegments ?? DEFAULTS.maxSegments, BLKIF_MAX_SEGMENTS_PER_REQUEST);
    this.maxSegments = Math.max(indirect, direct, 1);
    const isPersistent = options.isPersistent !== false;
    const grants = this.openMemory();
    grants.isPersistent = isPersistent && transport.hasPersistentGrants;
    this.openQueues(queueCount, order, grants);
    const entries: Record<string, string | number> = {
      protocol: BLKIF_PROTOCOL,
      'feature-persistent': isPersistent ? 1 : 0,
      'feature-error-detail': 1,
    };
    if (queueCount > 1) entries['multi-queue-num-queues'] = queueCount;
    for (const [index, queue] of this.queues.entries()) {
      const prefix = queueCount > 1 ? `queue-${index}/` : '';
      addQueueKeys(entries, prefix, queue, order);
    }
    if (order > 0) entries['ring-page-order'] = order;
    return entries;
  }

  private openQueues(count: number, order: number, grants: DataGrants): void {
    const queues: BlkfrontQueue[] = [];
    this.queues = queues; // at once, so that disconnect() releases what a failure leaves
    const handle = (parseKey(this.device.id, DEVICE_IDS) ?? 0) & 0xffff;
    for (let index = 0; index < count; index += 1) {
      const queue = new BlkfrontQueue({
        hypercalls: this.kernel.hypercalls,
        peer: this.device.otherEndId,
        name: `vbd-${this.device.id} queue ${index}`,
        ringPages: 2 ** order,
        handle,
        grants,
        maxSegments: this.maxSegments,
      });
      queues.push(queue);
      this.kernel.onPeerEvent(queue.port, () => queue.taken);
    }
  }

  /** The pages for data: taken once, granted anew for each connection. */
  private openMemory(): DataGrants {
    const { hypercalls } = this.kernel;
    if (this.pool === undefined) {
      const pages = Math.max(4, Math.ceil((this.options.bufferBytes ?? DEFAULTS.bufferBytes) / 4096));
      this.pool = new PagePool(hypercalls.allocateFrames(this.device.otherEndId, pages));
    }
    this.grants ??= new DataGrants(hypercalls, this.device.otherEndId, this.pool.run);
    return this.grants;
  }

  /** Give the pages for data back, unless the program still holds buffers in them. */
  private closeMemory(): void {
    const { pool } = this;
    if (pool === undefined || !pool.retire()) return;
    deferredGrants(this.kernel).add(this.grants?.stuckRefs ?? []);
    this.kernel.hypercalls.freeFrames(pool.run);
  }

  private readDisk(then: (features: DiskFeatures) => void): void {
    this.device.readKeys('other', DISK_KEYS, (keys) => {
      const features = parseDisk(keys);
      if (features === undefined) this.fail('BLKFRONT_SIZE', 'the back end tells no size that a disk can have');
      else if (this.queues.length > 0) then(features);
    });
  }

  /** Hand the disk to the guest, once. */
  private announce(): void {
    const { kernel, pool } = this;
    if (this.disk !== undefined || pool === undefined) return; // the pool was opened before anything could connect
    this.disk = new Disk({
      name: vbdName(parseKey(this.device.id, DEVICE_IDS) ?? 0),
      device: this.blockDevice,
      pool,
      clock: kernel.clock,
      requestPoll: () => kernel.requestPoll(),
      waitUntil: this.options.waitUntil,
    });
    kernel.add(this.disk.machine);
    this.options.onDisk(this.disk);
  }

  private fail(code: string, why: string, cause?: unknown): void {
    const { id } = this.device;
    this.device.fail(new SplitringError(code, `Cannot connect disk ${id}: ${why}`, { device: id }, cause));
  }
}

function addQueueKeys(entries: Record<string, string | number>, prefix: string, queue: BlkfrontQueue, order: number) {
  const { refs } = queue.ringPages;
  if (order === 0)
    entries[`${prefix}ring-ref`] = refs[0] as number; // one page
  else for (const [page, ref] of refs.entries()) entries[`${prefix}ring-ref${page}`] = ref;
  entries[`${prefix}event-channel`] = queue.port;
}
