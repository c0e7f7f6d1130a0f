// The network back end: connects guests' cards to bridges through xenbus. xen/include/public/io/netif.h
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
  type KeyValues,
  parseKey,
  type UnmapOp,
  type XenbusDevice,
} from '@splitring/hypervisor';
import { XenbusState } from '@splitring/hypervisor/io';
import { ProtocolError, SplitringError } from 'sharedarraybuffer-ring';
import type { Bridge, BridgeLink, LinkOptions } from './bridge.ts';
import { NetScheduler, type NetSchedulerOptions } from './net-scheduler.ts';
import { Vif } from './vif.ts';
import { VifQueue } from './vif-queue.ts';
import type { VifQueueWiring } from './vif-queue-wiring.ts';

/** How a driver domain offers networks. */
export interface NetBackendOptions extends NetSchedulerOptions {
  /** The bridge of that name; `undefined` refuses the card with a clear error. */
  readonly bridge: (name: string) => Bridge | undefined;
  /** Most queue pairs that a guest may use; 8 by default. */
  readonly maxQueues?: number;
  /** Told of every card when it connects and when it goes. */
  readonly onVif?: (vif: Vif, isConnected: boolean) => void;
}

const DEFAULT_MAX_QUEUES = 8;
/** Pages kept mapped per queue and direction: twice a ring, for front ends with spare buffers. */
const MAX_KEPT_PAGES = 512;
const MAX_U32 = 0xffff_ffff;

/**
 * The device class of virtual network cards, back end.
 *
 * @example
 * const lan0 = new Bridge('lan0', kernel.clock);
 * new XenbusBackend(kernel, [createNetBackend({ bridge: (name) => (name === 'lan0' ? lan0 : undefined) })]);
 */
export function createNetBackend(options: NetBackendOptions): DeviceClass {
  const schedulers = new WeakMap<Kernel, NetScheduler>();
  return {
    type: 'vif',
    create: (device, kernel) => {
      let scheduler = schedulers.get(kernel);
      if (scheduler === undefined) {
        scheduler = new NetScheduler(options);
        scheduler.onBroken = (vif) => vif.onBroken();
        schedulers.set(kernel, scheduler);
        kernel.add(scheduler);
      }
      return createBackendDriver(device, new NetBackend(device, kernel, scheduler, options));
    },
  };
}

/** What a queue holds besides its rings' indices. */
interface QueueTies {
  readonly ports: readonly EvtchnPort[];
  readonly handles: readonly GrantHandle[];
}

class NetBackend implements BackendHooks {
  readonly connectsOn = XenbusState.Connected;
  readonly #device: XenbusDevice;
  readonly #kernel: Kernel;
  readonly #scheduler: NetScheduler;
  readonly #options: NetBackendOptions;
  readonly #vif: Vif;
  readonly #limitRate: () => void;
  #rate: string | undefined;
  #link: BridgeLink | undefined;
  #ties: QueueTies[] = [];
  #endFilterWatch = () => {};

  constructor(device: XenbusDevice, kernel: Kernel, scheduler: NetScheduler, options: NetBackendOptions) {
    this.#device = device;
    this.#kernel = kernel;
    this.#scheduler = scheduler;
    this.#options = options;
    this.#limitRate = () => device.readKeys('own', ['rate'], ({ rate }) => this.#setRate(rate));
    this.#vif = new Vif(`vif${device.otherEndId}.${device.id}`, device.otherEndId, kernel.clock);
    this.#vif.onBroken = () => this.#reportBroken();
    this.#vif.onCarrier = (isOn) => device.publish({ carrier: isOn ? 1 : 0 });
    device.watchKey('own', 'rate', this.#limitRate);
  }

  offer(then: (features: Readonly<Record<string, string | number>>) => void): void {
    then({
      'feature-sg': 1,
      'feature-gso-tcpv4': 1,
      'feature-gso-tcpv6': 1,
      'feature-ipv6-csum-offload': 1,
      'feature-multicast-control': 1,
      'feature-dynamic-multicast-control': 1,
      'feature-rx-copy': 1,
      'feature-rx-flip': 0,
      'feature-split-event-channels': 1,
      'feature-persistent': 1,
      'multi-queue-max-queues': this.#maxQueues,
    });
  }

  connect(then: (deviceKeys: Readonly<Record<string, string | number>>) => void): void {
    this.#device.readKeys('own', ['bridge', 'mac', 'vlan', 'group-rate'], (own) => {
      this.#device.readKeys('other', FRONT_KEYS, (front) => {
        const count = queueCount(front, this.#maxQueues);
        if (count === undefined) {
          this.#refuse('multi-queue-num-queues', front['multi-queue-num-queues']);
          return;
        }
        this.#device.readKeys('other', queueKeyNames(count), (queueKeys) => {
          if (this.#attach(own, front, queueKeys, count)) then({ carrier: 1 });
        });
      });
    });
  }

  disconnect(): void {
    this.#scheduler.remove(this.#vif);
    this.#endFilterWatch();
    this.#endFilterWatch = () => {};
    const wasConnected = this.#vif.queues.length > 0;
    this.#vif.disconnect();
    this.#link?.detach();
    this.#link = undefined;
    for (const ties of this.#ties) this.#release(ties);
    this.#ties = [];
    if (wasConnected) this.#options.onVif?.(this.#vif, false);
  }

  remove(): void {
    this.disconnect();
  }

  get #maxQueues(): number {
    return this.#options.maxQueues ?? DEFAULT_MAX_QUEUES;
  }

  /** Map rings, bind ports, join the bridge. @returns false after reporting why not, with nothing left behind */
  #attach(own: KeyValues, front: KeyValues, queueKeys: KeyValues, count: number): boolean {
    this.disconnect();
    const name = own['bridge'] ?? '';
    const bridge = this.#options.bridge(name);
    if (bridge === undefined) {
      this.#device.fail(
        new SplitringError('NET_NO_BRIDGE', `Cannot connect ${this.#vif.name}: there is no bridge "${name}"`, { name }),
      );
      return false;
    }
    try {
      this.#link = bridge.attach(this.#vif, linkOptions(own));
      const pages = front['feature-persistent'] === '1' ? MAX_KEPT_PAGES : 0;
      const tellsBuffers = front['feature-rx-notify'] === '1';
      const queues: VifQueue[] = [];
      for (let index = 0; index < count; index += 1) {
        const prefix = count === 1 ? '' : `queue-${index}/`;
        queues.push(this.#attachQueue(queueKeys, prefix, index, { maxKeptPages: pages, tellsBuffers }, this.#link));
      }
      this.#vif.connect(queues, {
        canScatter: front['feature-sg'] === '1',
        canGsoV4: front['feature-gso-tcpv4'] === '1',
        canGsoV6: front['feature-gso-tcpv6'] === '1',
        canBlankV4: front['feature-no-csum-offload'] !== '1', // absent means that it can
        canBlankV6: front['feature-ipv6-csum-offload'] === '1', // absent means that it cannot
      });
      this.#vif.multicast.isOn = front[MULTICAST_KEY] === '1';
      this.#setRate(this.#rate);
    } catch (error) {
      this.disconnect();
      if (!(error instanceof SplitringError)) throw error;
      this.#device.fail(error);
      return false;
    }
    this.#endFilterWatch = this.#device.watchKey('other', MULTICAST_KEY, () => this.#setFilter());
    this.#scheduler.add(this.#vif);
    this.#options.onVif?.(this.#vif, true);
    return true;
  }

  /** Tie one queue; what it took is in `#ties` even if it fails half-way. @throws SplitringError */
  #attachQueue(
    keys: KeyValues,
    prefix: string,
    index: number,
    habits: Pick<VifQueueWiring, 'maxKeptPages' | 'tellsBuffers'>,
    link: BridgeLink,
  ): VifQueue {
    const guest = this.#device.otherEndId;
    const { hypercalls } = this.#kernel;
    const ports: EvtchnPort[] = [];
    const handles: GrantHandle[] = [];
    this.#ties.push({ ports, handles });
    const number = (key: string): number => requireKey(keys, `${prefix}${key}`);
    const mapRing = (key: string): Uint8Array => {
      const ref = number(key) as GrantRef; // the hypervisor judges it
      const mapped = hypercalls.mapRun(guest, [ref], GNTMAP_host_map);
      if (mapped.run === undefined) {
        throw new ProtocolError(
          'NET_RING_UNMAPPABLE',
          `Cannot map ${prefix}${key} ${ref} of domain ${guest}: refused`,
          {
            status: mapped.status,
          },
        );
      }
      handles.push(...mapped.handles);
      return mapped.run.bytes;
    };
    const bind = (key: string): EvtchnPort => {
      const port = hypercalls.bindInterdomain(guest, number(key) as EvtchnPort);
      ports.push(port);
      return port;
    };
    const isSplit = keys[`${prefix}event-channel`] === undefined;
    const regions = { tx: mapRing('tx-ring-ref'), rx: mapRing('rx-ring-ref') };
    const txPort = bind(isSplit ? 'event-channel-tx' : 'event-channel');
    const rxPort = isSplit ? bind('event-channel-rx') : txPort;
    const wiring = { name: `${this.#vif.name} queue ${index}`, guest, txPort, rxPort, ...habits };
    const queue = new VifQueue({ hypercalls, clock: this.#kernel.clock, link, vif: this.#vif }, wiring, regions);
    for (const port of ports) this.#kernel.onPeerEvent(port, () => queue.taken);
    return queue;
  }

  /** The front end may change its wish while connected: feature-dynamic-multicast-control. */
  #setFilter(): void {
    this.#device.readKeys('other', [MULTICAST_KEY], (front) => {
      if (this.#link !== undefined) this.#vif.multicast.isOn = front[MULTICAST_KEY] === '1';
    });
  }

  /** Every queue has the whole rate, as in Linux. */
  #setRate(rate: string | undefined): void {
    this.#rate = rate;
    for (const queue of this.#vif.queues) queue.rate.configure(rate, this.#kernel.clock.nowMs());
  }

  #reportBroken(): void {
    const queue = this.#vif.queues.find((one) => one.broken !== undefined);
    if (queue?.broken !== undefined) this.#device.fail(queue.broken);
  }

  #release(ties: QueueTies): void {
    for (const port of ties.ports) {
      this.#kernel.offEvent(port);
      this.#kernel.hypercalls.closePort(port);
    }
    const ops = ties.handles.map((handle): UnmapOp => ({ handle, flags: GNTMAP_host_map, status: GNTST.okay }));
    if (ops.length > 0) this.#kernel.hypercalls.unmapGrants(ops);
  }

  #refuse(key: string, value: string | undefined): void {
    this.#device.fail(invalidKey(key, value));
  }
}

/** The front end wants multicast frames filtered; it may change its mind while connected. */
const MULTICAST_KEY = 'request-multicast-control';
/** Keys of the front end that hold for all queues. */
const FRONT_KEYS = [
  'multi-queue-num-queues',
  'feature-persistent',
  'feature-sg',
  'feature-gso-tcpv4',
  'feature-gso-tcpv6',
  'feature-no-csum-offload',
  'feature-ipv6-csum-offload',
  'feature-rx-notify',
  MULTICAST_KEY,
] as const;

const QUEUE_KEYS = ['tx-ring-ref', 'rx-ring-ref', 'event-channel', 'event-channel-tx', 'event-channel-rx'] as const;

/** How many queues the front end made: 1 if it does not say. @returns undefined if the number is not allowed */
function queueCount(front: KeyValues, max: number): number | undefined {
  const text = front['multi-queue-num-queues'];
  return text === undefined ? 1 : parseKey(text, { min: 1, max });
}

/** Names of all queues' keys: at the top level for one queue, below `queue-N/` for more. */
function queueKeyNames(count: number): string[] {
  if (count === 1) return [...QUEUE_KEYS];
  return Array.from({ length: count }, (_, index) => QUEUE_KEYS.map((key) => `queue-${index}/${key}`)).flat();
}

/** How the toolstack wants the card attached. */
function linkOptions(own: KeyValues): LinkOptions {
  const only = addressWords(own['mac']);
  const groupRate = own['group-rate'];
  return {
    vlan: parseKey(own['vlan'], { min: 1, max: 4094 }) ?? 0,
    ...(only === undefined ? {} : { onlySource: only }),
    ...(groupRate === undefined ? {} : { groupRate }),
  };
}

/** An address as the bridge compares it. @returns undefined without one, or with one of another form */
function addressWords(text: string | undefined): { readonly low: number; readonly high: number } | undefined {
  const parts = text?.split(':').map((part) => Number.parseInt(part, 16)) ?? [];
  if (!/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i.test(text ?? '')) return undefined;
  const [a, b, c, d, e, f] = parts as [number, number, number, number, number, number]; // the pattern has six
  return { low: a | (b << 8) | (c << 16) | (d << 24), high: e | (f << 8) };
}

function requireKey(keys: KeyValues, key: string): number {
  const value = parseKey(keys[key], { min: 0, max: MAX_U32 });
  if (value === undefined) throw invalidKey(key, keys[key]);
  return value;
}

function invalidKey(key: string, value: string | undefined): ProtocolError {
  return new ProtocolError('NET_KEY_INVALID', `Cannot use key ${key} "${value ?? ''}": not a number in range`, {
    key,
    value,
  });
}
