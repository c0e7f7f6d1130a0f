// The back end's half of the block protocol's handshake, and the class of devices `vbd` for driver domains.
import {
  type DeviceClass,
  type EvtchnPort,
  GNTMAP_host_map,
  GNTST,
  type GrantHandle,
  type GrantRef,
  type Kernel,
  type KeyValues,
  type XenbusDevice,
  type XenbusDriver,
} from '@splitring/hypervisor';
import { VDISK_READONLY, VDISK_REMOVABLE, XenbusState, type XenbusStateValue } from '@splitring/hypervisor/io';
import { SplitringError } from 'sharedarraybuffer-ring';
import type { BlkbackCounters } from './blkback-counters.ts';
import { BlkbackQueue } from './blkback-queue.ts';
import type { OfferedFeatures } from './blkif-parser.ts';
import type { BlockBackendOptions } from './block-backend-options.ts';
import { DiskScheduler } from './disk-scheduler.ts';
import { DiskSlice, type DiskTarget } from './disk-slice.ts';
import {
  FRONT_KEYS,
  type FrontRequest,
  parseFrontKeys,
  parseQueueKeys,
  type QueueRefs,
  queueKeys,
} from './front-keys.ts';
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

const TOOLSTACK_KEYS = [
  'params',
  'mode',
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
    create: (device, kernel) => new Blkback(device, kernel, { options, schedulers, connected }),
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
class Blkback implements XenbusDriver {
  private readonly device: XenbusDevice;
  private readonly kernel: Kernel;
  private readonly shared: Shared;
  private slice: DiskSlice | undefined;
  private toolstack: KeyValues = {};
  private open: readonly OpenQueue[] = [];
  private draining = 0;
  private afterDrain: (() => void) | undefined;
  private epoch = 0;
  private toldSectors = -1;
  private phase: 'new' | 'waiting' | 'connecting' | 'connected' | 'closed' = 'new';
  private readonly watcher = { poll: () => this.watch() };

  constructor(device: XenbusDevice, kernel: Kernel, shared: Shared) {
    this.device = device;
    this.kernel = kernel;
    this.shared = shared;
    this.prepare();
  }

  otherEndChanged(state: XenbusStateValue): void {
    switch (state) {
      case XenbusState.Initialising:
        if (this.phase === 'closed') this.prepare();
        break;
      case XenbusState.Initialised:
      case XenbusState.Connected:
        if (this.phase === 'waiting') this.connect();
        break;
      case XenbusState.Closing:
        this.whenDrained(() => this.device.publish({}, XenbusState.Closing));
        break;
      case XenbusState.Closed:
        this.phase = 'closed';
        this.whenDrained(() => this.device.publish({}, XenbusState.Closed));
        break;
      default:
    }
  }

  disconnect(): void {
    this.epoch += 1;
    if (this.phase === 'connecting' || this.phase === 'connected') this.phase = 'closed';
    this.shared.connected.delete(this);
    this.kernel.remove(this.watcher);
    const { hypercalls } = this.kernel;
    for (const { queue, port, handles } of this.open) {
      this.kernel.offEvent(port);
      this.draining += 1;
      this.scheduler(queue).remove(queue, () => {
        hypercalls.closePort(port);
        unmap(this.kernel, handles);
        this.draining -= 1;
        if (this.draining === 0) this.drained();
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

  /** Find the disk and offer the limits of the transport. */
  private prepare(): void {
    const { epoch } = this;
    this.device.readKeys('own', TOOLSTACK_KEYS, (keys) => {
      if (epoch !== this.epoch) return;
      const params = keys['params'] ?? '';
      const target = this.shared.options.disk(params);
      if (target === undefined) {
        this.fail('BLKBACK_NO_DISK', `there is no disk "${params.slice(0, 64)}"`);
        return;
      }
      this.toolstack = keys;
      this.slice = new DiskSlice(target, keys['mode'] === 'r');
      this.phase = 'waiting';
      const { options } = this.shared;
      this.device.publish(
        {
          'max-ring-page-order': options.maxRingOrder ?? 4,
          'max-ring-pages': 2 ** (options.maxRingOrder ?? 4),
          'multi-queue-max-queues': options.maxQueues ?? 4,
          'feature-max-indirect-segments': this.maxIndirectSegments,
          'feature-persistent': options.isPersistent === false ? 0 : 1,
        },
        XenbusState.InitWait,
      );
    });
  }

  private get maxIndirectSegments(): number {
    return Math.min(this.shared.options.maxIndirectSegments ?? 256, 512);
  }

  /** The guest has published its rings: read what it says. */
  private connect(): void {
    this.phase = 'connecting';
    const { epoch } = this;
    this.device.readKeys('other', FRONT_KEYS, (keys) => {
      if (epoch !== this.epoch) return;
      const { options } = this.shared;
      const front = parseFrontKeys(keys, options.maxQueues ?? 4, options.maxRingOrder ?? 4);
      if (typeof front === 'string') {
        this.fail('BLKBACK_BAD_FRONT', front);
        return;
      }
      this.device.readKeys('other', queueKeys(front), (refs) => {
        if (epoch === this.epoch) this.openQueues(front, parseQueueKeys(front, refs));
      });
    });
  }

  private openQueues(front: FrontRequest, queues: readonly QueueRefs[] | string): void {
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
        this.disconnect();
        return;
      }
      opened.push(queue);
    }
    this.goLive(slice, offered);
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
    this.kernel.onEvent(port, () => {}); // nothing to do but wake: every poll looks at the ring anyway
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
    scheduler.add(queue);
    return { queue, port, handles };
  }

  private goLive(slice: DiskSlice, offered: OfferedFeatures): void {
    this.phase = 'connected';
    this.toldSectors = slice.capacitySectors;
    this.shared.connected.add(this);
    this.kernel.add(this.watcher);
    const { device } = slice;
    this.device.publish(
      {
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
      },
      XenbusState.Connected,
    );
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
      this.disconnect();
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

  private scheduler(queue: BlkbackQueue): DiskScheduler {
    return this.schedulerOf(queue.slice);
  }

  /** Run `then` once the device holds nothing of this guest any more. */
  private whenDrained(then: () => void): void {
    this.disconnect();
    if (this.draining === 0) then();
    else this.afterDrain = then;
  }

  private drained(): void {
    const then = this.afterDrain;
    this.afterDrain = undefined;
    then?.();
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
  const value = text === undefined || !/^[0-9]{1,15}$/.test(text) ? 0 : Number(text);
  return value > 0 ? value : undefined;
}
