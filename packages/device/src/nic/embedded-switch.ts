// The layer-2 switch inside a card: functions and the cable are its ports. It learns addresses per VLAN and floods the rest.

import { ETHERTYPE, read16 } from '../net/packet-headers.ts';
import type { EthernetWire } from './ethernet-wire.ts';

/** Frames that may wait at one port for its function's next poll. */
const PORT_FRAMES = 256;
/** Addresses it remembers, over all VLANs; frames for others are flooded. */
const MAX_ADDRESSES = 1024;
/** Port number of the cable. */
const CABLE = -1;

/** What became of the frames that came from one port: `received` is the sum of the others. */
export interface SwitchSourceCounters {
  /** Frames that came from there. */
  received: number;
  /** … and went to the one port where their destination was last seen. */
  forwarded: number;
  /** … and went to all other ports. */
  flooded: number;
  /** … and are shorter than an Ethernet header. */
  dropRunt: number;
  /** … and whose destination is where they came from. */
  dropSamePort: number;
}

/** What happened at a function's port: `offered` = `delivered` + `dropNoRoom` + those that wait for its next poll. */
export interface SwitchPortCounters extends SwitchSourceCounters {
  /** Frames for the function. */
  offered: number;
  /** … that it was given. */
  delivered: number;
  /** … for which its queue had no room. */
  dropNoRoom: number;
}

/**
 * A switch between the functions of a card and its cable.
 *
 * @example
 * const inner = new EmbeddedSwitch(cable.ends[0]);
 * bus.plug(rid, (master) => new Nic82576(master, { mac, wire: inner.port(), clock }));
 */
export class EmbeddedSwitch {
  /** Frames that came in from the cable. What went out is counted there. */
  readonly fromCable: SwitchSourceCounters = createSourceCounters();
  readonly #uplink: EthernetWire;
  readonly #ports: SwitchPort[] = [];
  /** Where each address was last seen, by VLAN. */
  readonly #learned = new Map<number, Map<number, number>>();
  #addresses = 0;

  /** A switch with only a cable. */
  constructor(uplink: EthernetWire) {
    this.#uplink = uplink;
    uplink.onFrame = (frame) => this.forward(frame, CABLE, this.fromCable);
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

  /** Port only: take a frame from port `from` and hand it on. */
  forward(frame: Uint8Array, from: number, counters: SwitchSourceCounters): void {
    counters.received += 1;
    if (frame.length < 14) {
      counters.dropRunt += 1;
      return;
    }
    const vlan = frame.length >= 18 && read16(frame, 12) === ETHERTYPE.vlan ? read16(frame, 14) & 0x0fff : 0;
    this.#learn(vlan, frame, from);
    const isGroup = ((frame[0] as number) & 1) !== 0; // in range: the length was checked
    const known = isGroup ? undefined : this.#learned.get(vlan)?.get(keyOf(frame, 0));
    if (known === from) {
      counters.dropSamePort += 1;
    } else if (known !== undefined) {
      counters.forwarded += 1;
      this.#deliver(frame, known);
    } else {
      counters.flooded += 1;
      for (let port = CABLE; port < this.#ports.length; port += 1) if (port !== from) this.#deliver(frame, port);
    }
  }

  /** Port only: let the cable deliver. */
  poll(): boolean {
    return this.#uplink.poll();
  }

  /** Port only: when the cable delivers next. */
  deadlineMs(): number {
    return this.#uplink.deadlineMs();
  }

  #learn(vlan: number, frame: Uint8Array, from: number): void {
    if (((frame[6] as number) & 1) !== 0) return; // a group can be no source; in range, as above
    const source = keyOf(frame, 6);
    let learned = this.#learned.get(vlan);
    if (learned?.has(source) !== true) {
      if (this.#addresses >= MAX_ADDRESSES) return;
      this.#addresses += 1;
    }
    if (learned === undefined) {
      learned = new Map();
      this.#learned.set(vlan, learned);
    }
    learned.set(source, from);
  }

  #deliver(frame: Uint8Array, port: number): void {
    if (port === CABLE) this.#uplink.send(frame);
    else this.#ports[port]?.take(frame);
  }
}

/** Six bytes of address as one number. */
function keyOf(frame: Uint8Array, at: number): number {
  let key = 0;
  for (let i = 0; i < 6; i += 1) key = key * 256 + (frame[at + i] as number); // in range: the length was checked
  return key;
}

/** One function's port. */
export class SwitchPort implements EthernetWire {
  onFrame: (frame: Uint8Array) => void = () => {};
  onCarrier: () => void = () => {};
  /** What happened here. */
  readonly counters: SwitchPortCounters = { ...createSourceCounters(), offered: 0, delivered: 0, dropNoRoom: 0 };
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
    this.#home.forward(frame, this.#index, this.counters);
  }

  /** Switch only: queue a frame for the function. */
  take(frame: Uint8Array): void {
    this.counters.offered += 1;
    if (this.#waiting.length >= PORT_FRAMES) this.counters.dropNoRoom += 1;
    else this.#waiting.push(frame.slice());
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

function createSourceCounters(): SwitchSourceCounters {
  return { received: 0, forwarded: 0, flooded: 0, dropRunt: 0, dropSamePort: 0 };
}
