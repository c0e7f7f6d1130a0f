// The network front end: negotiates with the back end through xenbus and gives each `vif` a Nic. xen/include/public/io/netif.h
import {
  createFrontendDriver,
  type DeviceClass,
  type FrontendHooks,
  type Kernel,
  type KeyValues,
  parseKey,
  type XenbusDevice,
} from '@splitring/hypervisor';
import { XenbusState } from '@splitring/hypervisor/io';
import { SplitringError } from 'sharedarraybuffer-ring';
import { parseMacAddress } from './mac-address.ts';
import { Nic } from './nic.ts';
import { NicQueue } from './nic-queue.ts';
import { parseTxFeatures, TX_FEATURE_KEYS } from './tx-offload.ts';

/** How a guest wants its network cards. */
export interface NetFrontendOptions {
  /** Receives each card when it appears; it may still be without a link. */
  readonly onNic: (nic: Nic) => void;
  /** Called when a card was unplugged. */
  readonly onNicRemoved?: (nic: Nic) => void;
  /** Begin with only the multicast groups that are joined with `Nic.changeGroup`; `Nic.filterGroups` changes it later. */
  readonly filtersMulticast?: boolean;
  /** Most queue pairs to use, at least 1; the back end may allow fewer. */
  readonly maxQueues?: number;
}

/** Keys of the back end that a handshake depends on. */
const BACK_KEYS = [
  'multi-queue-max-queues',
  'feature-split-event-channels',
  'feature-rx-copy',
  'feature-dynamic-multicast-control',
  ...TX_FEATURE_KEYS,
] as const;
const MULTICAST_KEY = 'request-multicast-control';
/** Keys of our own directory, written by the toolstack. */
const OWN_KEYS = ['mac', 'mtu'] as const;
const DEFAULT_MTU_BYTES = 1500;
const MAX_QUEUES = 64;

/**
 * The device class of virtual network cards, front end.
 *
 * @example
 * new XenbusFrontend(kernel, [createNetFrontend({ onNic: (nic) => { nics.set(nic.id, nic); } })]);
 */
export function createNetFrontend(options: NetFrontendOptions): DeviceClass {
  return {
    type: 'vif',
    create: (device, kernel) => createFrontendDriver(device, new NetFrontend(device, kernel, options)),
  };
}

class NetFrontend implements FrontendHooks {
  readonly handshakeState = XenbusState.Connected;
  readonly #device: XenbusDevice;
  readonly #kernel: Kernel;
  readonly #options: NetFrontendOptions;
  readonly #nic: Nic;
  #queues: readonly NicQueue[] = [];
  #hasReportedBreak = false;
  #filtersMulticast: boolean;

  constructor(device: XenbusDevice, kernel: Kernel, options: NetFrontendOptions) {
    this.#device = device;
    this.#kernel = kernel;
    this.#options = options;
    this.#filtersMulticast = options.filtersMulticast === true;
    this.#nic = new Nic(kernel, device.id, () => this.#reportBreak());
    kernel.add(this.#nic);
    options.onNic(this.#nic);
  }

  handshake(then: (keys: Readonly<Record<string, string | number>>) => void): void {
    this.#device.readKeys('own', OWN_KEYS, (own) => {
      this.#device.readKeys('other', BACK_KEYS, (back) => {
        this.#nic.macAddress = parseMacAddress(own['mac']) ?? this.#nic.macAddress;
        this.#nic.mtuBytes = parseKey(own['mtu'], { min: 68, max: 65521 }) ?? DEFAULT_MTU_BYTES;
        this.#offer(back, then);
      });
    });
  }

  live(then: () => void): void {
    this.#nic.setLink(true);
    then();
  }

  drain(then: () => void): void {
    this.#nic.setLink(false);
    then();
  }

  disconnect(): void {
    this.#nic.disconnect();
    this.#queues = [];
  }

  remove(): void {
    this.disconnect();
    this.#kernel.remove(this.#nic);
    this.#nic.remove();
    this.#options.onNicRemoved?.(this.#nic);
  }

  /** Allocate queues as the back end's features allow, and hand their keys on. */
  #offer(back: KeyValues, then: (keys: Readonly<Record<string, string | number>>) => void): void {
    const allowed = parseKey(back['multi-queue-max-queues'], { min: 1, max: MAX_QUEUES }) ?? 1;
    const count = Math.max(1, Math.min(allowed, this.#options.maxQueues ?? 1));
    const hasSplitChannels = back['feature-split-event-channels'] === '1';
    this.disconnect();
    try {
      this.#queues = this.#allocate(count, hasSplitChannels);
    } catch (error) {
      if (!(error instanceof SplitringError)) throw error;
      this.#device.fail(error);
      return;
    }
    this.#hasReportedBreak = false;
    this.#nic.connect(this.#queues, parseTxFeatures(back));
    const canChange = back['feature-dynamic-multicast-control'] === '1';
    this.#nic.onFilter = canChange ? (isOn) => this.#setFilter(isOn) : undefined;
    then({ ...queueKeys(this.#queues), ...FRONT_FEATURES, [MULTICAST_KEY]: this.#filtersMulticast ? 1 : 0 });
  }

  #setFilter(isOn: boolean): void {
    this.#filtersMulticast = isOn; // also for the next connection
    this.#device.publish({ [MULTICAST_KEY]: isOn ? 1 : 0 });
  }

  #allocate(count: number, hasSplitChannels: boolean): readonly NicQueue[] {
    const queues: NicQueue[] = [];
    try {
      for (let index = 0; index < count; index += 1) {
        const name = `vif ${this.#device.id} queue ${index}`;
        const options = { name, peer: this.#device.otherEndId, hasSplitChannels };
        queues.push(new NicQueue(this.#kernel, options, this.#nic.counters));
      }
    } catch (error) {
      for (const queue of queues) queue.release();
      throw error;
    }
    return queues;
  }

  #reportBreak(): void {
    const broken = this.#nic.brokenBy;
    if (broken === undefined || this.#hasReportedBreak) return;
    this.#hasReportedBreak = true;
    this.#nic.setLink(false);
    this.#device.fail(broken);
  }
}

/** What this front end can receive and how it behaves. */
const FRONT_FEATURES = {
  'request-rx-copy': 1,
  'feature-rx-notify': 1,
  'feature-sg': 1,
  'feature-gso-tcpv4': 1,
  'feature-gso-tcpv6': 1,
  'feature-ipv6-csum-offload': 1,
  'feature-persistent': 1,
} as const;

/** One queue: its keys at the top level. More: each below `queue-N/`, and how many there are. */
function queueKeys(queues: readonly NicQueue[]): Record<string, number> {
  const [first] = queues;
  if (queues.length === 1 && first !== undefined) return { ...first.keys() };
  const keys: Record<string, number> = { 'multi-queue-num-queues': queues.length };
  for (const [index, queue] of queues.entries()) {
    for (const [name, value] of Object.entries(queue.keys())) keys[`queue-${index}/${name}`] = value;
  }
  return keys;
}
