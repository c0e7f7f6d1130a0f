// hot path: bench net
// A guest's network card as a port of the bridge: its queues, its counters, what it can and wants to receive.
import { type Clock, type DomId, PAGE_SIZE } from '@splitring/hypervisor';
import { XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6 } from '@splitring/hypervisor/io';
import { type BridgePort, VERDICT, type Verdict } from './bridge.ts';
import { type Frame, RAW_IPV4 } from './frame.ts';
import { MulticastFilter } from './multicast-filter.ts';
import { MAX_SEGMENTS, toWire } from './soft-offload.ts';
import { createVifCounters, type VifCounters } from './vif-counters.ts';
import type { VifQueue } from './vif-queue.ts';
import type { VifRx } from './vif-rx.ts';

/** What the guest said it can receive. */
export interface VifAbilities {
  /** Frames of more than one page. */
  readonly canScatter: boolean;
  /** Large TCP frames over IPv4. */
  readonly canGsoV4: boolean;
  /** Large TCP frames over IPv6. */
  readonly canGsoV6: boolean;
  /** Blank transport checksums over IPv4. */
  readonly canBlankV4: boolean;
  /** Blank transport checksums over IPv6. */
  readonly canBlankV6: boolean;
}

/** What a front end that says nothing can receive: small frames, and blank IPv4 checksums. */
const FEWEST_ABILITIES: VifAbilities = {
  canScatter: false,
  canGsoV4: false,
  canGsoV6: false,
  canBlankV4: true,
  canBlankV6: false,
};

/** One virtual interface. */
export class Vif implements BridgePort {
  readonly name: string;
  /** The guest. */
  readonly guest: DomId;
  /** What happened here. */
  readonly counters: VifCounters = createVifCounters();
  /** Groups that the guest wants to hear. */
  readonly multicast = new MulticastFilter();
  /** Called when the guest broke the protocol; the driver closes the connection. */
  onBroken: () => void = () => {};
  /** Queues while connected. */
  queues: readonly VifQueue[] = [];
  /** Told when the carrier goes (the guest has stopped to take frames) or comes back. */
  onCarrier: (isOn: boolean) => void = () => {};
  private readonly clock: Clock;
  private abilities: VifAbilities = FEWEST_ABILITIES;
  private takesBlanks = false;
  private isCarrierOn = true;
  private mayHold = true;
  /** Where every frame goes: the only queue there is, while it has carrier. */
  private soleRx: VifRx | undefined = undefined;

  /** A card that is not connected yet. */
  constructor(name: string, guest: DomId, clock: Clock) {
    this.name = name;
    this.guest = guest;
    this.clock = clock;
  }

  /** Go live. */
  connect(queues: readonly VifQueue[], abilities: VifAbilities): void {
    this.queues = queues;
    this.abilities = abilities;
    this.mayHold = queues.every((queue) => queue.rx.tellsBuffers);
    this.takesBlanks = abilities.canBlankV4 && abilities.canBlankV6;
    this.setCarrier(true);
  }

  /** Let go of all queues' pages. Idempotent. */
  disconnect(): void {
    for (const queue of this.queues) queue.close();
    this.queues = [];
    this.setCarrier(true);
    this.multicast.reset();
  }

  /** Whether frames are offered to the guest: not while one of its queues is stalled. */
  get hasCarrier(): boolean {
    return this.isCarrierOn && this.queues.length > 0;
  }

  /** Look whether the guest still takes frames: called now and then, not for every frame. */
  lookForStalls(): void {
    const nowMs = this.clock.nowMs();
    let hasChanged = false;
    for (const queue of this.queues) if (queue.rx.lookForStall(nowMs)) hasChanged = true;
    if (!hasChanged) return;
    const isOn = !this.queues.some((queue) => queue.rx.isStalled);
    if (isOn === this.isCarrierOn) return;
    this.setCarrier(isOn);
    if (!isOn) this.counters.rxStalls += 1;
    this.onCarrier(isOn);
  }

  receive(frame: Frame, canWait: boolean): Verdict {
    const { soleRx } = this;
    if (frame.isPlain && soleRx !== undefined && !frame.isGroup) {
      const verdict = soleRx.deliver(frame);
      if (verdict !== VERDICT.held || (canWait && this.mayHold)) return verdict;
    }
    const queue = this.queues.length === 1 ? this.queues[0] : this.pickQueue(frame);
    if (queue === undefined || !this.isCarrierOn) {
      this.counters.rxNoCarrier += 1;
      return VERDICT.dropped;
    }
    if (frame.isGroup && !this.multicast.passes(frame)) {
      this.counters.rxFiltered += 1;
      return VERDICT.dropped;
    }
    if (frame.isChecksumBlank || frame.gsoSizeBytes !== 0) {
      if (!this.canTakeAsIs(frame)) return this.receiveAsOnWire(frame, queue, canWait);
    }
    if (frame.lengthBytes > PAGE_SIZE && !this.abilities.canScatter) {
      this.counters.rxUnsuitable += 1;
      return VERDICT.dropped;
    }
    const verdict = queue.rx.deliver(frame);
    return verdict === VERDICT.held && !(canWait && this.mayHold) ? this.enqueue(frame, queue) : verdict;
  }

  private setCarrier(isOn: boolean): void {
    this.isCarrierOn = isOn;
    this.soleRx = isOn && this.queues.length === 1 ? this.queues[0]?.rx : undefined;
  }

  private canTakeAsIs(frame: Frame): boolean {
    if (frame.gsoType === XEN_NETIF_GSO_TYPE_TCPV4) return this.abilities.canGsoV4;
    if (frame.gsoType === XEN_NETIF_GSO_TYPE_TCPV6) return this.abilities.canGsoV6;
    return this.takesBlanks || (frame.rawType === RAW_IPV4 && this.abilities.canBlankV4);
  }

  /** Finish checksums and cut segments in software: all pieces together or none. */
  private receiveAsOnWire(frame: Frame, queue: VifQueue, canWait: boolean): Verdict {
    const pieces = frame.gsoSizeBytes === 0 ? 1 : Math.ceil(frame.lengthBytes / frame.gsoSizeBytes);
    const slots = Math.ceil(((frame.gsoSizeBytes || frame.lengthBytes) + 200) / PAGE_SIZE); // with generous headers
    if (pieces <= MAX_SEGMENTS && (slots === 1 || this.abilities.canScatter)) {
      const hasRoom = queue.rx.hasRoomFor(pieces, slots);
      if (!hasRoom && canWait && this.mayHold) return VERDICT.held;
      const count = toWire(frame, (piece) => {
        if (queue.rx.deliver(piece) === VERDICT.held) this.enqueue(piece, queue);
      });
      if (count > 0) {
        this.counters.rxSegments += count - 1;
        return VERDICT.taken;
      }
    }
    this.counters.rxUnsuitable += 1;
    return VERDICT.dropped;
  }

  private enqueue(frame: Frame, queue: VifQueue): Verdict {
    if (queue.rx.enqueue(frame, this.clock.nowMs())) return VERDICT.taken;
    this.counters.rxNoRoom += 1;
    return VERDICT.dropped;
  }

  /** Spread flows over queues by their addresses, so that one flow keeps its order. */
  private pickQueue(frame: Frame): VifQueue | undefined {
    const count = this.queues.length;
    if (count === 0) return undefined;
    const hash = Math.imul(frame.word0 ^ Math.imul(frame.word1, 31) ^ frame.word2, 0x9e3779b1);
    return this.queues[(hash >>> 16) % count];
  }
}
