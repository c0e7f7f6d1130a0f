// hot path: bench net
// A learning Ethernet bridge: frames go to the port where their destination was last seen, to all ports otherwise.
import type { Clock, Stepped } from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import { addCounters, type BridgeCounters, createBridgeCounters } from './bridge-counters.ts';
import { type Frame, RAW_VLAN } from './frame.ts';
import { MacTable } from './mac-table.ts';
import { RateLimit } from './rate-limit.ts';

/** What became of a frame that a port was asked to take, or that a bridge was asked to forward. */
export const VERDICT = {
  /** It is delivered (or, for a group, offered to everyone). */
  taken: 1,
  /** The receiver has no room now: keep the frame and ask again. */
  held: 0,
  /** It is dropped, and counted where it was. */
  dropped: -1,
} as const;
/** One of the values of {@link VERDICT}. */
export type Verdict = (typeof VERDICT)[keyof typeof VERDICT];

/** Something that frames can be sent to: a guest's card, an uplink. */
export interface BridgePort {
  /** Name for people. */
  readonly name: string;
  /**
   * Take a frame, copying what it needs before it returns.
   * @param canWait false when nobody will ask again: queue it or drop it, but do not answer `held`
   */
  receive(frame: Frame, canWait: boolean): Verdict;
}

/** Looks at every frame that passes a port: a capture. It must copy what it keeps. */
export interface FrameTap {
  /** A frame came from the port (`in`) or was delivered to it (`out`). */
  capture(frame: Frame, direction: 'in' | 'out'): void;
}

/** How a port is attached. */
export interface LinkOptions {
  /** Whether frames from here can be kept by the sender until there is room; true by default, false for uplinks. */
  readonly canHold?: boolean;
  /** VLAN of an access port: its frames carry no tag, and meet only ports of the same VLAN and trunks. 0 by default. */
  readonly vlan?: number;
  /** A trunk: the port sets each frame's VLAN itself, and takes frames of all of them. */
  readonly isTrunk?: boolean;
  /** Most bytes of group frames (broadcast, multicast) from here, as "bytes,microseconds"; more are dropped. */
  readonly groupRate?: string;
  /** Ports of one group never exchange frames: tunnels to hosts that are all connected to each other. */
  readonly splitHorizon?: string;
  /** Accept only this source address: its first four bytes as a little-endian int32, and its last two. */
  readonly onlySource?: { readonly low: number; readonly high: number };
}

/** How a bridge behaves. */
export interface BridgeOptions {
  /** Forget an address that was silent for so long, in milliseconds; 300 000 by default. */
  readonly ageingMs?: number;
}

const DEFAULT_AGEING_MS = 300_000;
/** A look at the clock in every so many polls, less one: sweeps have time, polls have not. */
const POLLS_PER_LOOK = 15;

/**
 * One port's attachment to a bridge. It remembers its last source and destination: a stream of frames between two
 * addresses never looks into the table.
 */
export class BridgeLink {
  /** The port itself. */
  readonly port: BridgePort;
  /** What happened here. */
  readonly counters: BridgeCounters;
  /** Sees every frame of this port while set. */
  tap: FrameTap | undefined;
  /** Ports of the same group are not spoken to. */
  readonly splitHorizon: string | undefined;
  /** VLAN of this port's frames, unless it is a trunk. */
  readonly vlan: number;
  /** Whether frames of every VLAN pass. */
  readonly isTrunk: boolean;
  private readonly canHold: boolean;
  private readonly groupRate: RateLimit;
  private readonly bridge: Bridge;
  private readonly index: number;
  /** The only source address that frames from here may have, if any. */
  readonly onlySource: { readonly low: number; readonly high: number } | undefined;
  private generation: number;
  private sourceWord1: number;
  private sourceWord2: number;
  private destWord0: number;
  private destWord1: number;
  private lastVlan: number;
  private dest: BridgeLink | undefined;
  private framesAtSweep: number;

  /** Made by {@link Bridge.attach}. */
  constructor(bridge: Bridge, port: BridgePort, index: number, options: LinkOptions) {
    this.bridge = bridge;
    this.port = port;
    this.index = index;
    this.onlySource = options.onlySource;
    this.canHold = options.canHold ?? true;
    this.splitHorizon = options.splitHorizon;
    this.vlan = options.vlan ?? 0;
    this.isTrunk = options.isTrunk ?? false;
    this.groupRate = new RateLimit();
    this.groupRate.configure(options.groupRate, bridge.nowMs());
    this.tap = undefined;
    this.counters = createBridgeCounters();
    this.generation = -1;
    this.sourceWord1 = 0;
    this.sourceWord2 = 0;
    this.destWord0 = 0;
    this.destWord1 = 0;
    this.lastVlan = 0;
    this.dest = undefined;
    this.framesAtSweep = 0;
  }

  /** Forward a frame that came from this port. `held`: nothing is counted yet, ask again with the same frame. */
  forward(frame: Frame): Verdict {
    if (!this.isTrunk) frame.vlan = this.vlan;
    if (
      this.generation !== this.bridge.table.generation ||
      this.lastVlan !== frame.vlan ||
      this.sourceWord2 !== frame.word2 ||
      (this.sourceWord1 ^ frame.word1) >>> 16 !== 0
    ) {
      if (!this.learn(frame)) return VERDICT.dropped;
    }
    if (this.vlan !== 0 && frame.rawType === RAW_VLAN) return this.drop('dropVlan');
    if ((frame.word0 & 1) !== 0) return this.floodGroup(frame);
    if (this.destWord0 !== frame.word0 || ((this.destWord1 ^ frame.word1) & 0xffff) !== 0 || this.dest === undefined) {
      this.destWord0 = frame.word0;
      this.destWord1 = frame.word1;
      this.dest = this.bridge.lookup(frame);
      if (this.dest === undefined) return this.bridge.flood(frame, this);
    }
    const { dest, counters } = this;
    if (dest === this || (this.splitHorizon !== undefined && this.splitHorizon === dest.splitHorizon)) {
      return this.drop('dropSamePort');
    }
    const verdict = dest.port.receive(frame, this.canHold);
    if (verdict === VERDICT.held) return verdict;
    if (this.tap !== undefined || dest.tap !== undefined) this.capture(frame, dest, verdict);
    counters.framesIn += 1;
    if (verdict === VERDICT.taken) counters.forwarded += 1;
    else counters.dropRefused += 1;
    return verdict;
  }

  /** Give up on a frame that `forward` kept answering `held` for. */
  abandon(): void {
    this.counters.framesIn += 1;
    this.counters.dropTimeout += 1;
  }

  /** Leave the bridge. Idempotent. */
  detach(): void {
    this.bridge.remove(this.index, this);
  }

  /** Forget the addresses seen here: the port has lost its carrier. */
  forgetAddresses(): void {
    this.bridge.forget(this.index);
  }

  /** Bridge only: note that this port's current source is alive, if it sent anything since the last sweep. */
  refresh(nowMs: number): void {
    if (this.framesAtSweep === this.counters.framesIn || this.generation < 0) return;
    this.framesAtSweep = this.counters.framesIn;
    const high = (this.sourceWord2 >>> 16) | (this.lastVlan << 16);
    this.bridge.table.learn(sourceLow(this.sourceWord1, this.sourceWord2), high, this.index, nowMs);
  }

  /** Flood a frame for a group, within this port's limit. */
  private floodGroup(frame: Frame): Verdict {
    if (this.groupRate.isLimited && !this.groupRate.take(frame.lengthBytes, this.bridge.nowMs())) {
      return this.drop('dropGroupLimit');
    }
    return this.bridge.flood(frame, this);
  }

  private drop(reason: 'dropSamePort' | 'dropSpoofed' | 'dropVlan' | 'dropGroupLimit'): Verdict {
    this.counters.framesIn += 1;
    this.counters[reason] += 1;
    return VERDICT.dropped;
  }

  private capture(frame: Frame, dest: BridgeLink, verdict: Verdict): void {
    this.tap?.capture(frame, 'in');
    if (verdict === VERDICT.taken) dest.tap?.capture(frame, 'out');
  }

  /** Check and learn a source other than the last one. @returns false if this port may not use it */
  private learn(frame: Frame): boolean {
    const low = sourceLow(frame.word1, frame.word2);
    const high = frame.word2 >>> 16;
    const only = this.onlySource;
    if (only !== undefined && (only.low !== low || only.high !== high)) {
      this.drop('dropSpoofed');
      return false;
    }
    const isGroup = ((frame.word1 >>> 16) & 1) !== 0; // a group can be no source: forwarded, never learned
    const { table } = this.bridge;
    if (!isGroup) {
      const { moves } = table;
      table.learn(low, high | (frame.vlan << 16), this.index, this.bridge.nowMs());
      if (table.moves !== moves) this.counters.movedSources += 1;
    }
    this.lastVlan = frame.vlan;
    this.generation = table.generation;
    this.sourceWord1 = frame.word1;
    this.sourceWord2 = frame.word2;
    this.dest = undefined;
    return true;
  }
}

/** The source's first four bytes from the two words that they straddle. */
function sourceLow(word1: number, word2: number): number {
  return (word1 >>> 16) | (word2 << 16);
}

/**
 * A bridge of any number of ports.
 *
 * @example
 * const bridge = new Bridge('lan0', clock);
 * const link = bridge.attach(port);
 * link.forward(frame);
 */
export class Bridge implements Stepped {
  /** Name in the configuration. */
  readonly name: string;
  /** Learned addresses; private to the bridge and its links. */
  readonly table = new MacTable();
  /** Called with every port attached from now on: a capture of the whole bridge. */
  onAttach: ((link: BridgeLink) => void) | undefined = undefined;
  readonly #clock: Clock;
  readonly #ageingMs: number;
  readonly #links: (BridgeLink | undefined)[] = [];
  /** What happened at ports that are gone. */
  readonly #gone = createBridgeCounters();
  #nextSweepMs: number;
  #polls = 0;

  /** A bridge without ports. */
  constructor(name: string, clock: Clock, options: BridgeOptions = {}) {
    this.name = name;
    this.#clock = clock;
    this.#ageingMs = options.ageingMs ?? DEFAULT_AGEING_MS;
    this.#nextSweepMs = clock.nowMs() + this.#ageingMs / 2;
  }

  /** Ports now attached. */
  get links(): readonly BridgeLink[] {
    return this.#links.filter((link) => link !== undefined);
  }

  /** What happened at all ports so far, those that are gone among them. */
  get totals(): BridgeCounters {
    const sum = { ...this.#gone };
    for (const link of this.links) addCounters(sum, link.counters);
    return sum;
  }

  /**
   * Attach a port.
   * @throws SplitringError BRIDGE_MAC_TAKEN if the address that it is bound to (`onlySource`) belongs to another port
   */
  attach(port: BridgePort, options: LinkOptions = {}): BridgeLink {
    this.#refuseTaken(port, options);
    const free = this.#links.indexOf(undefined);
    const index = free < 0 ? this.#links.length : free;
    const link = new BridgeLink(this, port, index, options);
    this.#links[index] = link;
    this.onAttach?.(link);
    return link;
  }

  #refuseTaken(port: BridgePort, { onlySource: wanted, vlan = 0 }: LinkOptions): void {
    if (wanted === undefined) return;
    for (const link of this.#links) {
      const owned = link?.onlySource;
      if (owned?.low !== wanted.low || owned.high !== wanted.high || link?.vlan !== vlan) continue;
      throw new SplitringError(
        'BRIDGE_MAC_TAKEN',
        `Cannot attach ${port.name} to bridge ${this.name}: ${link.port.name} has the same address`,
        { bridge: this.name, port: port.name, owner: link.port.name },
      );
    }
  }

  /** Link only: leave. */
  remove(index: number, link: BridgeLink): void {
    if (this.#links[index] !== link) return;
    this.#links[index] = undefined;
    addCounters(this.#gone, link.counters);
    this.forget(index);
  }

  /** Link only: forget the addresses of a port. */
  forget(index: number): void {
    this.table.forgetPort(index);
    this.table.generation += 1; // remembered destinations must look again even if nothing was learned
  }

  /** Link only: where the destination was last seen. */
  lookup(frame: Frame): BridgeLink | undefined {
    const index = this.table.find(frame.word0, (frame.word1 & 0xffff) | (frame.vlan << 16));
    return index < 0 ? undefined : this.#links[index];
  }

  /** Link only: offer a frame to everyone but its sender. */
  flood(frame: Frame, from: BridgeLink): Verdict {
    let offered = 0;
    from.tap?.capture(frame, 'in');
    for (const link of this.#links) {
      if (link === undefined || link === from) continue;
      if (link.splitHorizon !== undefined && link.splitHorizon === from.splitHorizon) continue;
      if (!link.isTrunk && link.vlan !== frame.vlan) continue;
      offered += 1;
      if (link.port.receive(frame, false) === VERDICT.taken) {
        link.counters.floodCopies += 1;
        link.tap?.capture(frame, 'out');
      } else {
        link.counters.floodMissed += 1;
      }
    }
    from.counters.framesIn += 1;
    from.counters[offered === 0 ? 'dropNoPort' : 'flooded'] += 1;
    return offered === 0 ? VERDICT.dropped : VERDICT.taken;
  }

  /** Link only: the time. */
  nowMs(): number {
    return this.#clock.nowMs();
  }

  poll(): boolean {
    this.#polls = (this.#polls + 1) & POLLS_PER_LOOK;
    if (this.#polls !== 0) return false;
    const nowMs = this.#clock.nowMs();
    if (nowMs < this.#nextSweepMs) return false;
    this.#nextSweepMs = nowMs + this.#ageingMs / 2;
    for (const link of this.#links) link?.refresh(nowMs);
    this.table.expire(nowMs - this.#ageingMs);
    return false;
  }

  deadlineMs(): number {
    return this.table.entries > 0 ? this.#nextSweepMs : Number.POSITIVE_INFINITY;
  }
}
