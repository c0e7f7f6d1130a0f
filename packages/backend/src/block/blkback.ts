// The back end's half of the block protocol's handshake, and the class of devices `vbd` for driver domains.
import {
  type BackendHooks,
  createBackendDriver,
  type DeviceClass,
  type EvtchnPort,
  GNTMAP_host_map,
  GNTST,
  type GrantHandle,
  type GrantRef,
  type Kernel,
  type KeyEntries,
  type KeyValues,
  parseKey,
  type XenbusDevice,
} from '@splitring/hypervisor';
import { VDISK_READONLY, VDISK_REMOVABLE, XenbusState } from '@splitring/hypervisor/io';
import { SplitringError } from 'sharedarraybuffer-ring';
import type { BlkbackCounters } from './blkback-counters.ts';
import { BlkbackQueue } from './blkback-queue.ts';
import type { OfferedFeatures } from './blkif-parser.ts';
import type { BlockBackendOptions } from './block-backend-options.ts';
import { DiskScheduler } from './disk-scheduler.ts';
import { DiskSlice, type DiskTarget } from './disk-slice.ts';
import { DiskStatistics } from './disk-statistics.ts';
import {
  FRONT_KEYS,
  type FrontRequest,
  parseFrontKeys,
  parseQueueKeys,
  type QueueRefs,
  queueKeys,
} from './front-keys.ts';
import { IdleGrants } from './idle-grants.ts';
import { RateLimit } from './rate-limit.ts';

/** One connected disk, for people and tests. */
export interface BlockConnection {
  readonly domid: number;
  readonly device: string;
  readonly counters: readonly BlkbackCounters[];
}

/** The back ends of one driver domain. */
export interface BlockBackend extends DeviceClass {
  /** Every connected disk now. */
  connections(): readonly BlockConnection[];
}

const IDLE_GRANTS_MS = 60_000;
const TOOLSTACK_KEYS = [
  'params',
  'mode',
  'slice',
  'removable',
  'discard-enable',
  'limit-iops',
  'limit-bytes-per-second',
  'weight',
] as const;

/**
 * Make the class of devices `vbd` for a driver domain. Disks that several guests use are shared fairly among them.
 *
 * @example
 * const disks = new Map([['vol0', { device }]]);
 * classes.push(createBlockBackend({ disk: (params) => disks.get(params) }));
 */
export function createBlockBackend(options: BlockBackendOptions): BlockBackend {
  const schedulers = new Map<DiskTarget['device'], DiskScheduler>();
  const connected = new Set<Blkback>();
  return {
    type: 'vbd',
    create: (device, kernel) =>
      createBackendDriver(device, new Blkback(device, kernel, { options, schedulers, connected })),
    connections: () => [...connected].map((driver) => driver.describe()),
  };
}

interface Shared {
  readonly options: BlockBackendOptions;
  readonly schedulers: Map<DiskTarget['device'], DiskScheduler>;
  readonly connected: Set<Blkback>;
}

/** A ring that is mapped and bound, and how to give it back. */
interface OpenQueue {
  readonly queue: BlkbackQueue;
  readonly port: EvtchnPort;
  readonly handles: readonly GrantHandle[];
}

/** One guest's disk. */
class Blkback implements BackendHooks {
  private readonly device: XenbusDevice;
  private readonly kernel: Kernel;
  private readonly shared: Shared;
  private slice: DiskSlice | undefined;
  private toolstack: KeyValues = {};
  private open: readonly OpenQueue[] = [];
  private epoch = 0;
  private toldSectors = -1;
  private readonly watcher = { poll: () => this.watch() };
  private idleGrants: IdleGrants | undefined;
  private statistics: DiskStatistics | undefined;

  constructor(device: XenbusDevice, kernel: Kernel, shared: Shared) {
    this.device = device;
    this.kernel = kernel;
    this.shared = shared;
  }

  offer(then: (features: KeyEntries) => void): void {
    this.device.readKeys('own', TOOLSTACK_KEYS, (keys) => {
      const params = keys['params'] ?? '';
      const target = this.shared.options.disk(params);
      const slice = target && sliceOf(target, keys);
      if (slice === undefined) {
        this.fail('BLKBACK_NO_DISK', `there is no disk "${params.slice(0, 64)}" with this slice`);
        return;
      }
      this.toolstack = keys;
      this.slice = slice;
      const { options } = this.shared;
      then({
        'max-ring-page-order': options.maxRingOrder ?? 4,
        'max-ring-pages': 2 ** (options.maxRingOrder ?? 4),
        'multi-queue-max-queues': options.maxQueues ?? 4,
        'feature-max-indirect-segments': this.maxIndirectSegments,
        'feature-persistent': options.isPersistent === false ? 0 : 1,
      });
    });
  }

  connect(then: (deviceKeys: KeyEntries) => void): void {
    const { epoch } = this;
    const { options } = this.shared;
    this.device.readKeys('other', FRONT_KEYS, (keys) => {
      if (epoch !== this.epoch) return;
      const front = parseFrontKeys(keys, options.maxQueues ?? 4, options.maxRingOrder ?? 4);
      if (typeof front === 'string') {
        this.fail('BLKBACK_BAD_FRONT', front);
        return;
      }
      this.device.readKeys('other', queueKeys(front), (refs) => {
        if (epoch === this.epoch) this.openQueues(front, parseQueueKeys(front, refs), then);
      });
    });
  }

  disconnect(): void {
    this.epoch += 1;
    this.shared.connected.delete(this);
    this.kernel.remove(this.watcher);
    if (this.idleGrants !== undefined) this.kernel.remove(this.idleGrants);
    this.idleGrants = undefined;
    this.statistics?.tell(); // what was not told yet
    if (this.statistics !== undefined) this.kernel.remove(this.statistics);
    this.statistics = undefined;
    const { hypercalls } = this.kernel;
    for (const { queue, port, handles } of this.open) {
      this.kernel.offEvent(port);
      // What the device still does for this guest runs to its end; only then are its pages let go.
      this.schedulerOf(queue.slice).remove(queue, () => {
        hypercalls.closePort(port);
        unmap(this.kernel, handles);
      });
    }
    this.open = [];
  }

  remove(): void {
    this.disconnect();
  }

  /** What is connected, for people. */
  describe(): BlockConnection {
    return {
      domid: this.device.otherEndId,
      device: this.device.id,
      counters: this.open.map(({ queue }) => ({ ...queue.counters })),
    };
  }

  private get maxIndirectSegments(): number {
    return Math.min(this.shared.options.maxIndirectSegments ?? 256, 512);
  }

  private openQueues(
    front: FrontRequest,
    queues: readonly QueueRefs[] | string,
    then: (deviceKeys: KeyEntries) => void,
  ): void {
    const { slice } = this;
    if (typeof queues === 'string' || slice === undefined) {
      this.fail('BLKBACK_BAD_FRONT', typeof queues === 'string' ? queues : 'its disk is gone');
      return;
    }
    const offered = this.offered(slice);
    const limit = this.rateLimit();
    const opened: OpenQueue[] = [];
    this.open = opened; // at once, so that disconnect() releases what a failure leaves
    for (const [index, refs] of queues.entries()) {
      const queue = this.openQueue(front, refs, index, slice, offered, limit);
      if (typeof queue === 'string') {
        this.fail('BLKBACK_BAD_FRONT', queue);
        return;
      }
      opened.push(queue);
    }
    this.toldSectors = slice.capacitySectors;
    this.shared.connected.add(this);
    this.kernel.add(this.watcher, 'control');
    const idleMs = this.shared.options.idleGrantsMs ?? IDLE_GRANTS_MS;
    this.idleGrants = new IdleGrants(
      opened.map(({ queue }) => queue),
      this.kernel.clock,
      idleMs,
    );
    this.kernel.add(this.idleGrants, 'control');
    this.startStatistics();
    then(this.deviceKeys(slice, offered));
  }

  private startStatistics(): void {
    const { counters } = this.shared.options;
    if (counters === undefined) return;
    const rings = this.open.map(({ queue }) => queue.counters);
    this.statistics = new DiskStatistics(counters, this.toolstack['params'] ?? '', rings);
    this.kernel.add(this.statistics, 'control');
  }

  /** Map one ring and bind its port. @returns why not, with nothing left mapped or bound */
  private openQueue(
    front: FrontRequest,
    refs: QueueRefs,
    index: number,
    slice: DiskSlice,
    offered: OfferedFeatures,
    limit: RateLimit | undefined,
  ): OpenQueue | string {
    const { hypercalls } = this.kernel;
    const dom = this.device.otherEndId;
    const { handles, run } = hypercalls.mapRun(dom, refs.ring as readonly GrantRef[], GNTMAP_host_map);
    if (run === undefined) return `the pages of ring ${index} cannot be mapped`;
    let port: EvtchnPort;
    try {
      port = hypercalls.bindInterdomain(dom, refs.port as EvtchnPort);
    } catch {
      unmap(this.kernel, handles);
      return `event channel ${refs.port} of ring ${index} cannot be bound`;
    }
    const { options } = this.shared;
    const scheduler = this.schedulerOf(slice);
    const queue = new BlkbackQueue({
      hypercalls,
      dom,
      name: `vbd-${dom}-${this.device.id} queue ${index}`,
      ring: run.bytes,
      port,
      slice,
      sink: scheduler,
      offered,
      isPersistent: front.isPersistent && options.isPersistent !== false,
      maxPersistent: options.maxPersistent ?? 4096,
      hasErrorDetail: front.hasErrorDetail,
      mergePages: options.mergePages ?? 64,
      limit,
      weight: positive(this.toolstack['weight']) ?? 1,
    });
    this.kernel.onPeerEvent(port, () => queue.taken);
    scheduler.add(queue);
    return { queue, port, handles };
  }

  private deviceKeys(slice: DiskSlice, offered: OfferedFeatures): KeyEntries {
    const { device } = slice;
    return {
      sectors: slice.capacitySectors,
      'sector-size': device.logicalBlockBytes,
      'physical-sector-size': device.physicalBlockBytes,
      info: (slice.isReadOnly ? VDISK_READONLY : 0) | (this.toolstack['removable'] === '1' ? VDISK_REMOVABLE : 0),
      'feature-flush-cache': offered.hasFlush ? 1 : 0,
      'feature-barrier': offered.hasBarrier ? 1 : 0,
      'feature-fua': offered.hasForceUnitAccess ? 1 : 0,
      'feature-discard': offered.hasDiscard ? 1 : 0,
      'discard-granularity': device.physicalBlockBytes,
      'discard-alignment': 0,
      'discard-secure': 0,
      'feature-write-zeroes': offered.hasWriteZeroes ? 1 : 0,
    };
  }

  private offered(slice: DiskSlice): OfferedFeatures {
    const { options, toolstack } = { options: this.shared.options, toolstack: this.toolstack };
    const isWritable = !slice.isReadOnly;
    return {
      hasFlush: options.hasFlush !== false,
      hasBarrier: options.hasBarrier !== false && isWritable,
      hasForceUnitAccess: options.hasForceUnitAccess !== false && isWritable,
      hasDiscard:
        options.hasDiscard !== false && slice.device.hasDiscard && isWritable && toolstack['discard-enable'] !== '0',
      hasWriteZeroes: options.hasWriteZeroes !== false && isWritable,
      maxIndirectSegments: this.maxIndirectSegments,
    };
  }

  private rateLimit(): RateLimit | undefined {
    const iops = positive(this.toolstack['limit-iops']);
    const bytesPerSecond = positive(this.toolstack['limit-bytes-per-second']);
    if (iops === undefined && bytesPerSecond === undefined) return undefined;
    return new RateLimit({ iops, bytesPerSecond }, this.kernel.clock.nowMs());
  }

  /** While connected: tell a new size, and end the connection of a guest that broke the protocol. */
  private watch(): boolean {
    for (const { queue } of this.open) {
      if (queue.broken === undefined) continue;
      this.device.fail(queue.broken);
      return true;
    }
    const sectors = this.slice?.capacitySectors ?? this.toldSectors;
    if (sectors === this.toldSectors) return false;
    this.toldSectors = sectors;
    this.device.publish({ sectors }, XenbusState.Connected);
    return true;
  }

  private schedulerOf(slice: DiskSlice): DiskScheduler {
    const { schedulers } = this.shared;
    let scheduler = schedulers.get(slice.device);
    if (scheduler === undefined) {
      scheduler = new DiskScheduler(slice.device, this.kernel.clock);
      schedulers.set(slice.device, scheduler);
      this.kernel.add(scheduler);
    }
    return scheduler;
  }

  private fail(code: string, why: string): void {
    const { id, otherEndId } = this.device;
    this.device.fail(
      new SplitringError(code, `Cannot connect disk ${id} of domain ${otherEndId}: ${why}`, {
        device: id,
        domid: otherEndId,
      }),
    );
  }
}

function unmap(kernel: Kernel, handles: readonly GrantHandle[]): void {
  kernel.hypercalls.unmapGrants(handles.map((handle) => ({ handle, flags: GNTMAP_host_map, status: GNTST.okay })));
}

/** A toolstack's number above 0; anything else is as if it were missing. */
function positive(text: string | undefined): number | undefined {
  return parseKey(text, { min: 1, max: 1e15 });
}

/** The part of a disk that the toolstack's `slice` ("first sector,sectors") gives to this guest; all of it without. */
function sliceOf(target: DiskTarget, keys: KeyValues): DiskSlice | undefined {
  const isReadOnly = keys['mode'] === 'r';
  const text = keys['slice'];
  if (text === undefined) return new DiskSlice(target, isReadOnly);
  const [first, sectors] = text.split(',').map((part) => parseKey(part, { min: 0, max: 2 ** 44 }));
  if (first === undefined || sectors === undefined) return undefined;
  if (target.sectors !== undefined && !(first <= target.sectors - sectors)) return undefined;
  return new DiskSlice({ device: target.device, firstSector: (target.firstSector ?? 0) + first, sectors }, isReadOnly);
}
