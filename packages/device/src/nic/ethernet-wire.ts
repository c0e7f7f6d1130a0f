// A cable between two cards, or a card and something else, that can lose, double, delay, reorder, damage and cut.
import type { Clock, Random } from '@splitring/hypervisor';
import { type LinkRule, LinkRules, partition } from './link-rules.ts';

/** Faults of a cable; shares are 0 … 1, drawn per frame. */
export interface LinkFaults {
  /** Share of frames that vanish. */
  readonly loss?: number;
  /** Share of frames that arrive twice. */
  readonly duplication?: number;
  /** Share of frames of which one bit is flipped. */
  readonly corruption?: number;
  /** Share of frames that the next one overtakes. */
  readonly reordering?: number;
  /** Time on the way, in milliseconds. */
  readonly delayMs?: number;
  /** Faults on command, besides. */
  readonly rules?: readonly LinkRule[];
}

/** One end of a cable. */
export interface EthernetWire {
  /** Whether the other end is there and the cable whole. */
  readonly hasCarrier: boolean;
  /** Receives a frame from the other end, in memory of its own. */
  onFrame: (frame: Uint8Array) => void;
  /** Called when the carrier comes or goes. */
  onCarrier: () => void;
  /** Send a frame; its bytes are copied. */
  send(frame: Uint8Array): void;
  /** Deliver what has arrived by now. @returns whether anything did */
  poll(): boolean;
  /** When something arrives next; Infinity if nothing is on its way. */
  deadlineMs(): number;
}

/** What happened to the frames of one direction: `sent` + `duplicated` = `delivered` + `lost` + `cut` + those on their way. */
export interface WireCounters {
  sent: number;
  delivered: number;
  lost: number;
  duplicated: number;
  corrupted: number;
  reordered: number;
  /** Frames that a rule held up. */
  delayed: number;
  /** Frames lost because the cable was cut, by hand or by a rule. */
  cut: number;
}

/** Both ends of a cable. Faults and the cut can change at any time. */
export interface Cable {
  readonly ends: readonly [WireEnd, WireEnd];
  /** Change the faults of both directions. */
  setFaults(faults: LinkFaults): void;
  /** Cut the cable (true) or mend it (false): frames on their way are lost. */
  setCut(isCut: boolean): void;
}

interface Travelling {
  readonly frame: Uint8Array;
  readonly atMs: number;
}

/** One end; frames sent here arrive at the other. */
export class WireEnd implements EthernetWire {
  onFrame: (frame: Uint8Array) => void = () => {};
  onCarrier: () => void = () => {};
  /** What became of frames sent from this end. */
  readonly counters: WireCounters = {
    sent: 0,
    delivered: 0,
    lost: 0,
    duplicated: 0,
    corrupted: 0,
    reordered: 0,
    delayed: 0,
    cut: 0,
  };
  /** Cable only: look whether a rule cuts or mends it now. */
  onLook: (nowMs: number) => void = () => {};
  /** Cable only: when that may change next. */
  nextLookMs = Number.POSITIVE_INFINITY;
  readonly #clock: Clock;
  readonly #random: Random;
  #other: WireEnd | undefined;
  #faults: LinkFaults = {};
  #rules: LinkRules | undefined;
  #rulesSinceMs = 0;
  #isCut = false;
  #inbound: Travelling[] = [];

  /** Made by {@link createCable}. */
  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  get hasCarrier(): boolean {
    return !this.#isCut && this.#other !== undefined;
  }

  /** Cable only: who is at the other side. */
  join(other: WireEnd): void {
    this.#other = other;
  }

  /** Cable only: change faults; this is the `end` of the cable. */
  setFaults(faults: LinkFaults, end: 'near' | 'far'): void {
    this.#faults = faults;
    this.#rules = faults.rules && new LinkRules(faults.rules, end, this.#random);
    this.#rulesSinceMs = this.#clock.nowMs();
  }

  /** Cable only: cut or mend. */
  setCut(isCut: boolean): void {
    if (this.#isCut === isCut) return;
    this.#isCut = isCut;
    if (this.#other !== undefined) this.#other.counters.cut += this.#inbound.length;
    this.#inbound = [];
    this.onCarrier();
  }

  send(frame: Uint8Array): void {
    const { counters } = this;
    const other = this.#other;
    const nowMs = this.#clock.nowMs();
    if (nowMs >= this.nextLookMs) this.onLook(nowMs);
    counters.sent += 1;
    if (this.#isCut || other === undefined) {
      counters.cut += 1;
      return;
    }
    if (this.#isHit('loss', nowMs)) {
      counters.lost += 1;
      return;
    }
    const copy = frame.slice();
    if (this.#isHit('corruption', nowMs)) {
      const bit = this.#random.nextU32() % (copy.length * 8);
      copy[bit >>> 3] = (copy[bit >>> 3] as number) ^ (1 << (bit & 7)); // in range
      counters.corrupted += 1;
    }
    let atMs = nowMs + (this.#faults.delayMs ?? 0);
    const held = this.#rules?.hit('delay', nowMs - this.#rulesSinceMs);
    if (held !== undefined) {
      counters.delayed += 1;
      atMs += held.delayMs ?? 0;
    }
    if (other.#inbound.length > 0 && this.#isHit('reordering', nowMs)) {
      counters.reordered += 1;
      other.#inbound.splice(-1, 0, { frame: copy, atMs });
    } else {
      other.#inbound.push({ frame: copy, atMs });
    }
    if (!this.#isHit('duplication', nowMs)) return;
    counters.duplicated += 1;
    other.#inbound.push({ frame: copy.slice(), atMs });
  }

  poll(): boolean {
    const nowMs = this.#clock.nowMs();
    if (nowMs >= this.nextLookMs) this.onLook(nowMs);
    let count = 0;
    while (count < this.#inbound.length && (this.#inbound[count] as Travelling).atMs <= nowMs) count += 1;
    if (count === 0) return false;
    for (const { frame } of this.#inbound.splice(0, count)) {
      if (this.#other !== undefined) this.#other.counters.delivered += 1;
      this.onFrame(frame);
    }
    return true;
  }

  deadlineMs(): number {
    return Math.min(this.nextLookMs, this.#inbound[0]?.atMs ?? Number.POSITIVE_INFINITY);
  }

  #isHit(kind: 'loss' | 'duplication' | 'corruption' | 'reordering', nowMs: number): boolean {
    const share = this.#faults[kind];
    const isDrawn = share !== undefined && share > 0 && this.#random.nextU32() < share * 0x1_0000_0000;
    return this.#rules?.hit(kind, nowMs - this.#rulesSinceMs) !== undefined || isDrawn;
  }
}

/** Make a cable. `random` decides about faults: the same seed, the same faults. */
export function createCable(clock: Clock, random: Random): Cable {
  const ends = [new WireEnd(clock, random), new WireEnd(clock, random)] as const;
  const [near, far] = ends;
  near.join(far);
  far.join(near);
  let rules: readonly LinkRule[] = [];
  let sinceMs = 0;
  let isCutByHand = false;
  const look = (nowMs: number) => {
    const { isParted, untilMs } = partition(rules, nowMs - sinceMs);
    for (const end of ends) end.nextLookMs = sinceMs + untilMs;
    for (const end of ends) end.setCut(isParted || isCutByHand);
  };
  for (const end of ends) end.onLook = look;
  return {
    ends,
    setFaults: (faults) => {
      near.setFaults(faults, 'near');
      far.setFaults(faults, 'far');
      rules = faults.rules ?? [];
      sinceMs = clock.nowMs();
      look(sinceMs);
    },
    setCut: (isCut) => {
      isCutByHand = isCut;
      look(clock.nowMs());
    },
  };
}
