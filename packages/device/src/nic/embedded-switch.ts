// The layer-2 switch inside a card: functions and the cable are its ports. It learns addresses per VLAN and floods the rest.

import { ETHERTYPE, read16 } from '../net/packet-headers.ts';
import type { EthernetWire } from './ethernet-wire.ts';

/** Frames that may wait at one port for its function's next poll. */
const PORT_FRAMES = 256;
/** Addresses it remembers in one VLAN; more are flooded. */
const MAX_ADDRESSES = 1024;

/** What happened at one port. */
export interface SwitchPortCounters {
  /** Frames that came from the function. */
  received: number;
  /** Frames that were handed to it. */
  delivered: number;
  /** Frames for which its queue had no room. */
  dropped: number;
}

/**
 * A switch between the functions of a card and its cable.
 *
 * @example
 * const inner = new EmbeddedSwitch(cable.ends[0]);
 * bus.plug(rid, (master) => new Nic82576(master, { mac, wire: inner.port(), clock }));
 */
export class EmbeddedSwitch {
  readonly #uplink: EthernetWire;
  readonly #ports: SwitchPort[] = [];
  /** Port by address, for each VLAN; −1 is the cable. */
  readonly #learned = new Map<number, Map<number, number>>();

  /** A switch with only a cable. */
  constructor(uplink: EthernetWire) {
    this.#uplink = uplink;
    uplink.onFrame = (frame) => this.forward(frame, -1);
    uplink.onCarrier = () => {
      for (const port of this.#ports) port.onCarrier();
    };
  }

  /** Whether the cable has a carrier. */
  get hasCarrier(): boolean {
    return this.#uplink.hasCarrier;
  }

  /** Add a port for a function. */
  port(): SwitchPort {
    const port = new SwitchPort(this, this.#ports.length);
    this.#ports.push(port);
    return port;
  }

  /** Port only: take a frame from port `from` (−1: the cable) and hand it on. */
  forward(frame: Uint8Array, from: number): void {
    if (frame.length < 14) return;
    const vlan = frame.length >= 18 && read16(frame, 12) === ETHERTYPE.vlan ? read16(frame, 14) & 0x0fff : 0;
    const learned = this.#addresses(vlan);
    const source = keyOf(frame, 6);
    // A group can be no source. In range: the length was checked.
    if (((frame[6] as number) & 1) === 0 && (learned.has(source) || learned.size < MAX_ADDRESSES)) {
      learned.set(source, from);
    }
    const isGroup = ((frame[0] as number) & 1) !== 0;
    const known = isGroup ? undefined : learned.get(keyOf(frame, 0));
    if (known === from) return;
    if (known !== undefined) {
      this.#deliver(frame, known);
      return;
    }
    for (let port = -1; port < this.#ports.length; port += 1) if (port !== from) this.#deliver(frame, port);
  }

  /** Port only: let the cable deliver. */
  poll(): boolean {
    return this.#uplink.poll();
  }

  /** Port only: when the cable delivers next. */
  deadlineMs(): number {
    return this.#uplink.deadlineMs();
  }

  #addresses(vlan: number): Map<number, number> {
    let learned = this.#learned.get(vlan);
    if (learned === undefined) {
      learned = new Map();
      this.#learned.set(vlan, learned);
    }
    return learned;
  }

  #deliver(frame: Uint8Array, port: number): void {
    if (port < 0) this.#uplink.send(frame);
    else this.#ports[port]?.take(frame);
  }
}

/** Six bytes of address as one number. */
function keyOf(frame: Uint8Array, at: number): number {
  let key = 0;
  for (let i = 0; i < 6; i += 1) key = key * 256 + (frame[at + i] as number);
  return key;
}

/** One function's port. */
export class SwitchPort implements EthernetWire {
  onFrame: (frame: Uint8Array) => void = () => {};
  onCarrier: () => void = () => {};
  /** What happened here. */
  readonly counters: SwitchPortCounters = { received: 0, delivered: 0, dropped: 0 };
  readonly #home: EmbeddedSwitch;
  readonly #index: number;
  #waiting: Uint8Array[] = [];

  /** Made by {@link EmbeddedSwitch.port}. */
  constructor(home: EmbeddedSwitch, index: number) {
    this.#home = home;
    this.#index = index;
  }

  get hasCarrier(): boolean {
    return this.#home.hasCarrier;
  }

  send(frame: Uint8Array): void {
    this.counters.received += 1;
    this.#home.forward(frame, this.#index);
  }

  /** Switch only: queue a frame for the function. */
  take(frame: Uint8Array): void {
    if (this.#waiting.length >= PORT_FRAMES) {
      this.counters.dropped += 1;
      return;
    }
    this.#waiting.push(frame.slice());
  }

  poll(): boolean {
    const hasMoved = this.#home.poll();
    const frames = this.#waiting;
    if (frames.length === 0) return hasMoved;
    this.#waiting = [];
    for (const frame of frames) {
      this.counters.delivered += 1;
      this.onFrame(frame);
    }
    return true;
  }

  deadlineMs(): number {
    return this.#home.deadlineMs();
  }
}
