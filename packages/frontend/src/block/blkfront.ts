// The front end's half of the block protocol's handshake, and the class of devices `vbd` for guests.
import type { DeviceClass, Kernel, XenbusDevice, XenbusDriver } from '@splitring/hypervisor';
import {
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_PROTOCOL,
  BLKIF_SEGMENTS_PER_INDIRECT_PAGE,
  vbdName,
  XenbusState,
  type XenbusStateValue,
} from '@splitring/hypervisor/io';
import { type ProtocolError, SplitringError } from 'sharedarraybuffer-ring';
import { BlkfrontDevice } from './blkfront-device.ts';
import { DISK_KEYS, parseDisk, parseNumber, parseTransport, TRANSPORT_KEYS } from './blkfront-features.ts';
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

const DEFAULTS = { ringOrder: 2, queues: 1, maxSegments: 256, bufferBytes: 4 << 20 } as const;

/**
 * Make the class of devices `vbd` for a guest.
 *
 * @example
 * const disks = new Map<string, Disk>();
 * classes.push(createBlockFrontend({ onDisk: (disk) => disks.set(disk.name, disk), waitUntil }));
 */
export function createBlockFrontend(options: BlockFrontendOptions): DeviceClass {
  return { type: 'vbd', create: (device, kernel) => new Blkfront(device, kernel, options) };
}

/** One disk's driver. The `Disk` and its memory live on over reconnects; rings, ports and grants do not. */
class Blkfront implements XenbusDriver {
  private readonly device: XenbusDevice;
  private readonly kernel: Kernel;
  private readonly options: BlockFrontendOptions;
  private readonly blockDevice = new BlkfrontDevice();
  private disk: Disk | undefined;
  private pool: PagePool | undefined;
  private grants: DataGrants | undefined;
  private queues: readonly BlkfrontQueue[] = [];
  private maxSegments = BLKIF_MAX_SEGMENTS_PER_REQUEST;
  private phase: 'idle' | 'published' | 'live' | 'closed' = 'idle';
  /** Rises with every connection, so that an answer that comes too late is known for what it is. */
  private epoch = 0;

  constructor(device: XenbusDevice, kernel: Kernel, options: BlockFrontendOptions) {
    this.device = device;
    this.kernel = kernel;
    this.options = options;
    this.blockDevice.onBroken = (error) => this.breakDown(error);
  }

  otherEndChanged(state: XenbusStateValue): void {
    switch (state) {
      case XenbusState.InitWait:
        if (this.phase !== 'published') this.negotiate();
        break;
      case XenbusState.Connected:
        this.readDisk();
        break;
      case XenbusState.Closing:
      case XenbusState.Closed:
        this.shut();
        break;
      default:
    }
  }

  disconnect(): void {
    this.epoch += 1;
    this.blockDevice.detach();
    for (const queue of this.queues) {
      this.kernel.offEvent(queue.port);
      queue.release();
    }
    this.queues = [];
    this.grants?.endAll();
    this.phase = 'idle';
  }

  remove(): void {
    this.disconnect();
    this.blockDevice.abandon();
    if (this.disk === undefined) return;
    // What is in flight gets its outcome now; the machine stays for calls that still come, and refuses them.
    this.disk.machine.poll();
    this.options.onGone?.(this.disk);
  }

  /** The back end is ready for a connection: read its limits, then offer rings. */
  private negotiate(): void {
    this.disconnect();
    const { epoch } = this;
    this.device.readKeys('other', TRANSPORT_KEYS, (keys) => {
      if (epoch !== this.epoch) return;
      try {
        this.publish(parseTransport(keys));
      } catch (error) {
        this.fail('BLKFRONT_SETUP', 'no memory, grants or ports for its rings', error);
      }
    });
  }

  private publish(transport: ReturnType<typeof parseTransport>): void {
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
    this.phase = 'published';
    this.device.publish(entries, XenbusState.Initialised);
  }

  private openQueues(count: number, order: number, grants: DataGrants): void {
    const queues: BlkfrontQueue[] = [];
    this.queues = queues; // at once, so that disconnect() releases what a failure leaves
    const handle = parseNumber(this.device.id, 2 ** 31, 0) & 0xffff;
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
      // Nothing to do but wake: every poll looks at the ring anyway.
      this.kernel.onEvent(queue.port, () => {});
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

  /** The back end is Connected: go live, or take over a new size. */
  private readDisk(): void {
    if (this.phase !== 'published' && this.phase !== 'live') {
      this.negotiate(); // it connected before we saw it wait
      return;
    }
    const { epoch } = this;
    this.device.readKeys('other', DISK_KEYS, (keys) => {
      if (epoch !== this.epoch) return;
      const features = parseDisk(keys);
      if (features === undefined) this.fail('BLKFRONT_SIZE', 'the back end tells no size that a disk can have');
      else if (this.phase === 'live') this.blockDevice.update(features);
      else this.goLive(features);
    });
  }

  private goLive(features: NonNullable<ReturnType<typeof parseDisk>>): void {
    this.phase = 'live';
    this.blockDevice.attach(this.queues, features, this.maxSegments);
    const { epoch } = this;
    this.device.watchKey('other', 'sectors', () => {
      if (epoch === this.epoch && this.phase === 'live') this.readDisk();
    });
    this.device.publish({}, XenbusState.Connected);
    if (this.disk !== undefined) return;
    const { kernel, pool } = this;
    if (pool === undefined) return; // opened before anything could connect
    this.disk = new Disk({
      name: vbdName(parseNumber(this.device.id, 2 ** 31, 0)),
      device: this.blockDevice,
      pool,
      clock: kernel.clock,
      requestPoll: () => kernel.requestPoll(),
      waitUntil: this.options.waitUntil,
    });
    kernel.add(this.disk.machine);
    this.options.onDisk(this.disk);
  }

  private shut(): void {
    if (this.phase === 'closed') return;
    this.disconnect();
    this.phase = 'closed';
    this.device.publish({}, XenbusState.Closed);
  }

  private breakDown(error: ProtocolError): void {
    this.device.fail(error);
    this.blockDevice.abandon();
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
