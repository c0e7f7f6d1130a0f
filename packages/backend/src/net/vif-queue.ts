// hot path: bench net
// One queue pair of a guest's card in the back end: takes packets off the transmit ring and hands them to the bridge.
import { type Clock, type EvtchnPort, type Hypercalls, PAGE_SIZE } from '@splitring/hypervisor';
import {
  ETHERNET_HEADER_BYTES,
  NETIF_RSP_DROPPED,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETIF_TX_SLOT_BYTES,
  NETTXF_data_validated,
  netifTxRequestWords,
  netifTxResponseWords,
} from '@splitring/hypervisor/io';
import { BackRing, type ProtocolError } from 'sharedarraybuffer-ring';
import { type BridgeLink, VERDICT, type Verdict } from './bridge.ts';
import { MappedPages } from './mapped-pages.ts';
import type { MulticastFilter } from './multicast-filter.ts';
import { ParkedPackets } from './parked-packets.ts';
import { RateLimit } from './rate-limit.ts';
import { CHAIN, type ChainResult } from './tx-chain.ts';
import { TxPacket } from './tx-packet.ts';
import type { VifCounters } from './vif-counters.ts';
import type { VifQueueWiring } from './vif-queue-wiring.ts';
import { VifRx } from './vif-rx.ts';

/** Packets taken before their answers are published without waiting for the end of the turn. */
const PUBLISH_BATCH = 8;
/** Bytes that a turn may carry: a guest with large frames gets no more than one with many. */
const TURN_BYTES = 256 << 10;
/** How long a whole ring waits for one destination before that packet is put aside, in milliseconds. */
const GRACE_MS = 2;
/** How long a packet that was put aside waits before it is dropped, in milliseconds. */
const PARK_MS = 100;

/** Why a ring rests. */
const REST = { not: 0, room: 1, credit: 2 } as const;

/** What a queue needs of its surroundings. */
export interface VifQueueHome {
  /** Of the driver domain. */
  readonly hypercalls: Hypercalls;
  /** Injected time. */
  readonly clock: Clock;
  /** The card's place on its bridge. */
  readonly link: BridgeLink;
  /** The card: its counters, and the groups that it wants to hear. */
  readonly vif: { readonly counters: VifCounters; readonly multicast: MulticastFilter };
}

/** A queue pair between a guest and a bridge. */
export class VifQueue {
  /** Receive half, named from the guest. */
  readonly rx: VifRx;
  /** How fast the guest may send. */
  readonly rate: RateLimit;
  private readonly home: VifQueueHome;
  private readonly wiring: VifQueueWiring;
  private readonly counters: VifCounters;
  private readonly link: BridgeLink;
  private readonly ring: BackRing;
  private readonly pages: MappedPages;
  private readonly parked: ParkedPackets;
  private packet: TxPacket;
  private result: ChainResult;
  private rest: (typeof REST)[keyof typeof REST];
  private restUntilMs: number;
  /** No packet is to be paid for, and none waits that another could overtake. */
  private mayHurry: boolean;
  private turnBytes: number;
  private staged: number;
  private needsNotify: boolean;
  private breach: ProtocolError | undefined;

  /** Attach to the rings. @throws RingError if a region cannot be a ring */
  constructor(
    home: VifQueueHome,
    wiring: VifQueueWiring,
    regions: { readonly tx: Uint8Array; readonly rx: Uint8Array },
  ) {
    const { counters } = home.vif;
    this.home = home;
    this.wiring = wiring;
    this.counters = counters;
    this.link = home.link;
    this.rx = new VifRx(home.hypercalls, wiring, regions.rx, counters);
    this.rate = new RateLimit();
    this.ring = new BackRing(regions.tx, NETIF_TX_SLOT_BYTES, { name: `${wiring.name} tx` });
    this.pages = new MappedPages(home.hypercalls, wiring.guest, { isReadonly: true, maxKept: wiring.maxKeptPages });
    this.parked = new ParkedPackets();
    this.packet = new TxPacket(this.ring);
    this.result = CHAIN.packet;
    this.rest = REST.not;
    this.restUntilMs = Number.POSITIVE_INFINITY;
    this.mayHurry = false;
    this.turnBytes = 0;
    this.staged = 0;
    this.needsNotify = false;
    this.breach = undefined;
  }

  /** Requests taken so far from both rings, modulo 2^32. */
  get taken(): number {
    return (this.ring.inspect().cons + this.rx.ring.inspect().cons) | 0;
  }

  /** The breach of protocol that ended this queue's use, if any. */
  get broken(): ProtocolError | undefined {
    return this.breach ?? this.rx.ring.broken;
  }

  /** When this queue must be looked at even without an event. */
  get deadlineMs(): number {
    return Math.min(
      this.rest === REST.not ? Number.POSITIVE_INFINITY : this.restUntilMs,
      this.parked.deadlineMs,
      this.rx.deadlineMs,
    );
  }

  /**
   * Serve up to `budget` packets. A packet whose destination has no room holds the ring for a moment; if that does not
   * help it is put aside, and dropped if it waits too long there. Half a ring put aside: the ring rests.
   * @returns packets finished, and frames delivered that waited for this guest
   */
  serve(budget: number): number {
    let done = 0;
    this.turnBytes = Math.min(TURN_BYTES, this.turnBytes + TURN_BYTES); // a packet too large for a turn is paid in the next
    if (this.rx.backlogFrames > 0 && this.rx.drain(this.home.clock.nowMs())) done = 1;
    if (this.parked.length > 0) done += this.retryParked();
    if (this.rest !== REST.not) {
      if (!this.resume()) return done;
      done += 1;
    }
    this.mayHurry = this.parked.length === 0 && !this.rate.isLimited;
    while (done < budget && this.turnBytes > 0 && this.breach === undefined) {
      let at = this.ring.takeRequestInPlace();
      if (at < 0) {
        if (this.ring.availableRequests() <= 0) {
          this.breach = this.ring.broken;
          break;
        }
        at = this.ring.takeRequestInPlace();
      }
      if (!this.take(at)) break;
      done += 1;
    }
    return done;
  }

  /** Publish answers of both halves, and raise the events that are due: one, if the halves share a channel. */
  flush(): void {
    if (this.staged > 0) this.publish();
    const { txPort, rxPort } = this.wiring;
    const isRxDue = this.rx.flush();
    if (isRxDue) {
      this.rx.notified();
      this.raise(rxPort);
    }
    if (!this.needsNotify) return;
    this.needsNotify = false;
    if (!isRxDue || txPort !== rxPort) this.raise(txPort);
  }

  /** Ask to be told of new work in both halves. @returns true if some is there */
  arm(): boolean {
    if (this.broken !== undefined) return false;
    const hasRoom = this.rx.arm();
    return (this.rest === REST.not && this.ring.finalCheck()) || hasRoom;
  }

  /** Let go of all mapped pages. Packets that still wait are lost, and counted as such. */
  close(): void {
    this.rx.close();
    if (this.rest === REST.room) this.abandon(this.packet);
    else this.packet.release(this.pages);
    this.rest = REST.not;
    this.parked.retry((packet) => {
      this.abandon(packet);
      return true;
    });
    this.pages.close();
  }

  /**
   * Serve the packet whose first slot lies at byte `at` of the ring. Most packets go the short way: one slot in a page that
   * is mapped already, to a destination that has room.
   *
   * Shared words: reads every field of the slot once [FRONT]. @returns false if the ring must rest, or is broken
   */
  private take(at: number): boolean {
    const { view } = this.ring;
    const gref = netifTxRequestWords.get.gref(view, at);
    const offsetFlags = netifTxRequestWords.get.offsetFlags(view, at);
    const idSize = netifTxRequestWords.get.idSize(view, at);
    const offset = offsetFlags & 0xffff;
    const flags = offsetFlags >>> 16;
    const id = idSize & 0xffff;
    const size = idSize >>> 16;
    this.turnBytes -= size;
    if ((flags & ~NETTXF_data_validated) === 0 && this.mayHurry) {
      const page = this.pages.known(gref);
      if (page !== undefined && size >= ETHERNET_HEADER_BYTES && offset + size <= PAGE_SIZE) {
        const { packet } = this;
        packet.frame.setPlain(page, offset, size, flags !== 0);
        const verdict = this.link.forward(packet.frame);
        if (verdict !== VERDICT.held) {
          this.settle(verdict, size);
          this.stage(id, verdict === VERDICT.taken ? NETIF_RSP_OKAY : NETIF_RSP_DROPPED);
          this.staged += 1;
          if (this.staged >= PUBLISH_BATCH) this.publish();
          return true;
        }
      }
    }
    this.result = this.packet.chain.parse(flags, id, gref, offset, size);
    if (this.rate.isLimited && !this.pay()) return false;
    return this.handle();
  }

  /** Charge the packet just taken, good or bad. @returns false if the ring must rest until there is credit */
  private pay(): boolean {
    if (this.rate.take(this.packet.chain.totalBytes, this.home.clock.nowMs())) return true;
    this.counters.txThrottled += 1;
    this.rest = REST.credit;
    this.restUntilMs = this.rate.retryAtMs;
    return false;
  }

  /** Act on the parsed packet. @returns false if the ring must rest, or is broken */
  private handle(): boolean {
    if (this.result === CHAIN.packet) {
      if (this.packet.assemble(this.pages)) return this.offer();
      this.fail();
    } else if (this.result === CHAIN.fatal) {
      this.breach = this.packet.chain.error;
      return false;
    } else if (this.result === CHAIN.multicast) {
      this.changeGroups();
    } else {
      this.fail();
    }
    return true;
  }

  /** Hand the packet's frame to the bridge. @returns false if it must wait */
  private offer(): boolean {
    const { packet } = this;
    if (this.parked.length > 0 && this.parked.hasSameDestination(packet)) return this.park();
    const verdict = this.link.forward(packet.frame);
    if (verdict !== VERDICT.held) {
      this.finish(packet, verdict);
      return true;
    }
    this.counters.holds += 1;
    this.rest = REST.room;
    this.restUntilMs = this.home.clock.nowMs() + GRACE_MS;
    return false;
  }

  /** Try to go on after a rest. @returns false if the ring must rest on */
  private resume(): boolean {
    if (this.rest === REST.credit) {
      if (!this.rate.take(this.packet.chain.totalBytes, this.home.clock.nowMs())) {
        this.restUntilMs = this.rate.retryAtMs;
        return false;
      }
      this.rest = REST.not;
      return this.handle();
    }
    if (!this.parked.hasSameDestination(this.packet)) {
      const verdict = this.link.forward(this.packet.frame);
      if (verdict !== VERDICT.held) {
        this.rest = REST.not;
        this.finish(this.packet, verdict);
        return true;
      }
      if (this.home.clock.nowMs() < this.restUntilMs) return false;
    }
    return this.park();
  }

  /** Put the packet aside, if half the ring is left. @returns false if the ring must rest */
  private park(): boolean {
    if (this.parked.slots >= this.ring.slots >>> 1) {
      this.rest = REST.room;
      this.restUntilMs = this.parked.deadlineMs;
      return false;
    }
    this.rest = REST.not;
    const spare = this.parked.park(this.packet, this.home.clock.nowMs() + PARK_MS);
    this.packet = spare ?? new TxPacket(this.ring);
    return true;
  }

  private retryParked(): number {
    const nowMs = this.home.clock.nowMs();
    return this.parked.retry((packet) => {
      const verdict = this.link.forward(packet.frame);
      if (verdict !== VERDICT.held) this.finish(packet, verdict);
      else if (nowMs < packet.giveUpAtMs) return false;
      else this.abandon(packet);
      return true;
    });
  }

  /** Join or leave a group; the request carries no packet. */
  private changeGroups(): void {
    const { multicast, isMulticastJoin } = this.packet.chain;
    const filter = this.home.vif.multicast;
    this.counters.txMulticast += 1;
    const isDone = multicast !== undefined && (isMulticastJoin ? filter.join(multicast) : filter.leave(multicast));
    this.answer(this.packet, isDone ? NETIF_RSP_OKAY : NETIF_RSP_ERROR);
  }

  private fail(): void {
    this.counters.txErrors += 1;
    this.answer(this.packet, NETIF_RSP_ERROR);
  }

  private finish(packet: TxPacket, verdict: Verdict): void {
    this.settle(verdict, packet.frame.lengthBytes);
    this.answer(packet, verdict === VERDICT.taken ? NETIF_RSP_OKAY : NETIF_RSP_DROPPED);
  }

  private settle(verdict: Verdict, lengthBytes: number): void {
    if (verdict === VERDICT.taken) {
      this.counters.txFrames += 1;
      this.counters.txBytes += lengthBytes;
    } else this.counters.txDropped += 1;
  }

  private abandon(packet: TxPacket): void {
    this.link.abandon();
    this.counters.txDropped += 1;
    this.answer(packet, NETIF_RSP_DROPPED);
  }

  /** Answer every slot of a packet: extra infos directly after the first. */
  private answer(packet: TxPacket, status: number): void {
    const { chain } = packet;
    packet.release(this.pages);
    for (let i = 0; i < chain.slots; i += 1) {
      this.stage(chain.ids[i] as number, status); // i < slots
      if (i > 0) continue;
      for (let extra = 0; extra < chain.extras; extra += 1) this.stage(0, NETIF_RSP_NULL);
    }
    this.staged += 1;
    if (this.staged >= PUBLISH_BATCH) this.publish();
  }

  private publish(): void {
    this.staged = 0;
    if (this.ring.pushResponses()) this.needsNotify = true;
  }

  private raise(port: EvtchnPort): void {
    this.counters.notifications += 1;
    this.home.hypercalls.notify(port);
  }

  private stage(id: number, status: number): void {
    const at = this.ring.stageResponse();
    netifTxResponseWords.set.idStatus(this.ring.view, at, id | (status << 16));
  }
}
