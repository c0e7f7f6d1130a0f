// hot path: bench net
// A guest's network card as a port of the bridge: its queues, its counters, its fate.
import { type DomId, PAGE_SIZE } from '@splitring/hypervisor';
import { XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6 } from '@splitring/hypervisor/io';
import type { ProtocolError } from 'sharedarraybuffer-ring';
import { type BridgePort, VERDICT, type Verdict } from './bridge.ts';
import type { Frame } from './frame.ts';
import { createVifCounters, type VifCounters } from './vif-counters.ts';
import type { VifQueue } from './vif-queue.ts';

/** What the guest said it can receive. */
export interface VifAbilities {
  /** Frames of more than one page. */
  readonly canScatter: boolean;
  /** Large TCP frames over IPv4. */
  readonly canGsoV4: boolean;
  /** Large TCP frames over IPv6. */
  readonly canGsoV6: boolean;
}

/** One virtual interface. */
export class Vif implements BridgePort {
  readonly name: string;
  /** The guest. */
  readonly guest: DomId;
  /** What happened here. */
  readonly counters: VifCounters = createVifCounters();
  /** Queues while connected. */
  queues: readonly VifQueue[] = [];
  private abilities: VifAbilities = { canScatter: false, canGsoV4: false, canGsoV6: false };

  /** A card that is not connected yet. */
  constructor(name: string, guest: DomId) {
    this.name = name;
    this.guest = guest;
  }

  /** The breach that ended a queue's use, if any. */
  get broken(): ProtocolError | undefined {
    for (const queue of this.queues) {
      const broken = queue.broken ?? queue.rx.ring.broken;
      if (broken !== undefined) return broken;
    }
    return undefined;
  }

  /** Go live. */
  connect(queues: readonly VifQueue[], abilities: VifAbilities): void {
    this.queues = queues;
    this.abilities = abilities;
  }

  /** Let go of all queues' pages. Idempotent. */
  disconnect(): void {
    for (const queue of this.queues) queue.close();
    this.queues = [];
  }

  receive(frame: Frame, canWait: boolean): Verdict {
    const queue = this.queues.length === 1 ? this.queues[0] : this.pickQueue(frame);
    if (queue === undefined) {
      this.counters.rxNoCarrier += 1;
      return VERDICT.dropped;
    }
    if ((frame.lengthBytes > PAGE_SIZE || frame.gsoSizeBytes !== 0) && !this.isSuitable(frame)) {
      this.counters.rxUnsuitable += 1;
      return VERDICT.dropped;
    }
    const verdict = queue.rx.deliver(frame);
    if (verdict !== VERDICT.held || canWait) return verdict;
    this.counters.rxNoRoom += 1;
    return VERDICT.dropped;
  }

  private isSuitable(frame: Frame): boolean {
    if (frame.lengthBytes > PAGE_SIZE && !this.abilities.canScatter) return false;
    if (frame.gsoType === XEN_NETIF_GSO_TYPE_TCPV4) return this.abilities.canGsoV4;
    return frame.gsoType !== XEN_NETIF_GSO_TYPE_TCPV6 || this.abilities.canGsoV6;
  }

  /** Spread flows over queues by their addresses, so that one flow keeps its order. */
  private pickQueue(frame: Frame): VifQueue | undefined {
    const count = this.queues.length;
    if (count === 0) return undefined;
    const hash = Math.imul(frame.word0 ^ Math.imul(frame.word1, 31) ^ frame.word2, 0x9e3779b1);
    return this.queues[(hash >>> 16) % count];
  }
}
