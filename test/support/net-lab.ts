// Guests on a bridge, wired without a xenstore: for tests of the network data path.
import { type DomId, type EvtchnPort, GNTMAP_host_map, type GrantRef } from '@splitring/hypervisor';
import { FrontRing, initRing } from 'sharedarraybuffer-ring';
import { Bridge, type BridgeOptions, type LinkOptions } from '../../packages/backend/src/net/bridge.ts';
import { NetScheduler, type NetSchedulerOptions } from '../../packages/backend/src/net/net-scheduler.ts';
import { Vif, type VifAbilities } from '../../packages/backend/src/net/vif.ts';
import { VifQueue } from '../../packages/backend/src/net/vif-queue.ts';
import { GrantedPages } from '../../packages/frontend/src/net/granted-pages.ts';
import { Nic } from '../../packages/frontend/src/net/nic.ts';
import { NicQueue } from '../../packages/frontend/src/net/nic-queue.ts';
import { parseTxFeatures } from '../../packages/frontend/src/net/tx-offload.ts';
import { type FakeDomain, FakeMachine } from './fake-machine.ts';

/** One guest and its card at both ends. */
export interface LabGuest {
  readonly domain: FakeDomain;
  readonly nic: Nic;
  readonly vif: Vif;
  readonly mac: Uint8Array;
}

/** How a guest is wired. */
export interface LabGuestOptions {
  readonly queues?: number;
  readonly hasSplitChannels?: boolean;
  readonly isPersistent?: boolean;
  /** A raw guest: whether it has `feature-rx-notify`. */
  readonly tellsBuffers?: boolean;
  readonly abilities?: Partial<VifAbilities>;
  /** The back end's keys as the front end reads them; by default it can do everything. */
  readonly offered?: Readonly<Record<string, string | undefined>>;
  readonly link?: LinkOptions;
}

/** Keys of a back end that can do everything. */
export const ALL_OFFERED = {
  'feature-sg': '1',
  'feature-gso-tcpv4': '1',
  'feature-gso-tcpv6': '1',
  'feature-ipv6-csum-offload': '1',
};

const DRIVER = 1;
const ALL_ABILITIES: VifAbilities = {
  canScatter: true,
  canGsoV4: true,
  canGsoV6: true,
  canBlankV4: true,
  canBlankV6: true,
};

/** A driver domain with one bridge, and guests on it. */
export class NetLab {
  readonly machine = new FakeMachine();
  readonly driver = this.machine.domain(DRIVER);
  readonly scheduler: NetScheduler;
  readonly bridge: Bridge;
  readonly guests: LabGuest[] = [];

  constructor(options: NetSchedulerOptions & BridgeOptions = {}) {
    this.bridge = new Bridge('lan0', this.machine.clock, options);
    this.scheduler = new NetScheduler(options);
    this.driver.add(this.scheduler);
    this.driver.add(this.bridge);
  }

  /** Add a guest whose rings the test writes by hand. */
  raw(domid: number, options: LabGuestOptions = {}): RawGuest {
    return new RawGuest(this, domid, options);
  }

  /** Add a connected guest; its address is 00:16:3e:00:00:<domid>. */
  guest(options: LabGuestOptions = {}): LabGuest {
    const domid = DRIVER + 1 + this.guests.length;
    const domain = this.machine.domain(domid);
    const nic = new Nic(domain, '0', () => {});
    const vif = new Vif(`vif${domid}.0`, domid as DomId, this.machine.clock);
    const link = this.bridge.attach(vif, options.link);
    const front: NicQueue[] = [];
    const back: VifQueue[] = [];
    for (let index = 0; index < (options.queues ?? 1); index += 1) {
      const name = `vif${domid} queue ${index}`;
      const hasSplitChannels = options.hasSplitChannels ?? false;
      const queue = new NicQueue(domain, { name, peer: DRIVER as DomId, hasSplitChannels }, nic.counters);
      const keys = queue.keys();
      front.push(queue);
      const { hypercalls } = this.driver;
      const region = (ref: number | undefined) => {
        const { run } = hypercalls.mapRun(domid as DomId, [ref as GrantRef], GNTMAP_host_map);
        if (run === undefined) throw new Error('the ring cannot be mapped');
        return run.bytes;
      };
      const bind = (key: string) => hypercalls.bindInterdomain(domid as DomId, keys[key] as EvtchnPort);
      const txPort = bind(hasSplitChannels ? 'event-channel-tx' : 'event-channel');
      const rxPort = hasSplitChannels ? bind('event-channel-rx') : txPort;
      const maxKeptPages = options.isPersistent === false ? 0 : 512;
      const wiring = { name, guest: domid as DomId, txPort, rxPort, maxKeptPages };
      const regions = { tx: region(keys['tx-ring-ref']), rx: region(keys['rx-ring-ref']) };
      const home = { hypercalls, clock: this.machine.clock, link, vif };
      back.push(new VifQueue(home, wiring, regions));
    }
    nic.connect(front, parseTxFeatures(options.offered ?? ALL_OFFERED));
    nic.setLink(true);
    domain.add(nic);
    vif.connect(back, { ...ALL_ABILITIES, ...options.abilities });
    this.scheduler.add(vif);
    const guest = { domain, nic, vif, mac: Uint8Array.of(0, 0x16, 0x3e, 0, 0, domid) };
    this.guests.push(guest);
    return guest;
  }
}

/** One transmit slot as a hostile or odd front end would write it. */
export interface RawSlot {
  readonly page?: number;
  readonly gref?: number;
  readonly offset?: number;
  readonly flags?: number;
  readonly id?: number;
  readonly size: number;
  /** Write these bytes over the slot instead: an extra info. */
  readonly raw?: readonly number[];
}

/** A guest without a driver: the test writes its rings by hand. */
export class RawGuest {
  readonly domain: FakeDomain;
  readonly vif: Vif;
  readonly queue: VifQueue;
  readonly txPages: GrantedPages;
  readonly rxPages: GrantedPages;
  readonly tx: FrontRing;
  readonly rx: FrontRing;
  readonly data: GrantedPages;
  readonly mac: Uint8Array;

  constructor(lab: NetLab, domid: number, options: LabGuestOptions = {}) {
    this.domain = lab.machine.domain(domid);
    this.mac = Uint8Array.of(0, 0x16, 0x3e, 0, 0, domid);
    const { hypercalls } = this.domain;
    this.txPages = new GrantedPages(hypercalls, DRIVER as DomId, 1, false);
    this.rxPages = new GrantedPages(hypercalls, DRIVER as DomId, 1, false);
    this.data = new GrantedPages(hypercalls, DRIVER as DomId, 64, false);
    initRing(this.txPages.bytes);
    initRing(this.rxPages.bytes);
    this.tx = new FrontRing(this.txPages.bytes, 12);
    this.rx = new FrontRing(this.rxPages.bytes, 8);
    this.vif = new Vif(`vif${domid}.0`, domid as DomId, lab.machine.clock);
    const port = hypercalls.allocUnbound(DRIVER as DomId);
    const backPort = lab.driver.hypercalls.bindInterdomain(domid as DomId, port);
    const wiring = {
      name: `vif${domid} queue 0`,
      guest: domid as DomId,
      txPort: backPort,
      rxPort: backPort,
      tellsBuffers: options.tellsBuffers ?? true,
      maxKeptPages: options.isPersistent === false ? 0 : 512,
    };
    const link = lab.bridge.attach(this.vif, options.link);
    const regions = { tx: this.txPages.bytes, rx: this.rxPages.bytes };
    const home = { hypercalls: lab.driver.hypercalls, clock: lab.machine.clock, link, vif: this.vif };
    this.queue = new VifQueue(home, wiring, regions);
    this.vif.connect([this.queue], { ...ALL_ABILITIES, ...options.abilities });
    lab.scheduler.add(this.vif);
  }

  /** Write slots onto the transmit ring and publish them. */
  send(...slots: readonly RawSlot[]): void {
    const { view } = this.tx;
    for (const [index, slot] of slots.entries()) {
      const at = this.tx.stageRequest();
      if (at < 0) throw new Error('the ring is full');
      view.setUint32(at, slot.gref ?? this.data.refs[slot.page ?? 0] ?? 0, true);
      view.setUint16(at + 4, slot.offset ?? 0, true);
      view.setUint16(at + 6, slot.flags ?? 0, true);
      view.setUint16(at + 8, slot.id ?? index, true);
      view.setUint16(at + 10, slot.size, true);
      for (const [i, byte] of (slot.raw ?? []).entries()) view.setUint8(at + i, byte);
    }
    this.tx.pushRequests();
  }

  /** Take all transmit responses as [id, status]. */
  responses(): [number, number][] {
    const found: [number, number][] = [];
    if (this.tx.availableResponses() <= 0) return found;
    while (this.tx.takeResponse())
      found.push([this.tx.response.getUint16(0, true), this.tx.response.getInt16(2, true)]);
    return found;
  }

  /** Post receive buffers: page `page + i` with id `id + i`. */
  post(count: number, gref?: number): void {
    for (let i = 0; i < count; i += 1) {
      const at = this.rx.stageRequest();
      if (at < 0) throw new Error('the ring is full');
      this.rx.view.setUint16(at, i, true);
      this.rx.view.setUint16(at + 2, 0, true);
      this.rx.view.setUint32(at + 4, gref ?? this.data.refs[32 + (i % 32)] ?? 0, true);
    }
    this.rx.pushRequests();
  }

  /** Take all receive responses as [id, offset, flags, status]. */
  received(): [number, number, number, number][] {
    const found: [number, number, number, number][] = [];
    if (this.rx.availableResponses() <= 0) return found;
    const r = this.rx.response;
    while (this.rx.takeResponse()) {
      found.push([r.getUint16(0, true), r.getUint16(2, true), r.getUint16(4, true), r.getInt16(6, true)]);
    }
    return found;
  }
}

/** An Ethernet frame from `from` to `to` with `payload` behind the header (EtherType 0x88b5, for experiments). */
export function etherFrame(to: Uint8Array, from: Uint8Array, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(14 + payload.length);
  frame.set(to, 0);
  frame.set(from, 6);
  frame[12] = 0x88;
  frame[13] = 0xb5;
  frame.set(payload, 14);
  return frame;
}

/** As `etherFrame`, but it says that it is IPv4: what offload fields are allowed on. */
export function ipFrame(to: Uint8Array, from: Uint8Array, payload: Uint8Array): Uint8Array {
  const frame = etherFrame(to, from, payload);
  frame.set([8, 0], 12);
  return frame;
}

/** The broadcast address. */
export const BROADCAST = Uint8Array.of(255, 255, 255, 255, 255, 255);

/** `lengthBytes` bytes that depend on `seed`. */
export function pattern(lengthBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < lengthBytes; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
