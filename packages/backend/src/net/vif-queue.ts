// hot path: bench net
// One queue pair of a guest's card in the back end: takes packets off the transmit ring and hands them to the bridge.
import type { Hypercalls } from '@splitring/hypervisor';
import {
  NETIF_RSP_DROPPED,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETIF_TX_SLOT_BYTES,
  netifTxResponse,
} from '@splitring/hypervisor/io';
import { BackRing, type ProtocolError } from 'sharedarraybuffer-ring';
import { type BridgeLink, VERDICT } from './bridge.ts';
import { Frame } from './frame.ts';
import { MappedPages } from './mapped-pages.ts';
import { CHAIN, type ChainResult, TxChain } from './tx-chain.ts';
import type { VifCounters } from './vif-counters.ts';
import type { VifQueueWiring } from './vif-queue-wiring.ts';
import { VifRx } from './vif-rx.ts';

/** Packets taken before their answers are published without waiting for the end of the turn. */
const PUBLISH_BATCH = 8;

/** A queue pair between a guest and a bridge. */
export class VifQueue {
  /** Receive half, named from the guest. */
  readonly rx: VifRx;
  /** Set when the guest broke the protocol: nothing more is served. */
  broken: ProtocolError | undefined;
  private readonly hypercalls: Hypercalls;
  private readonly wiring: VifQueueWiring;
  private readonly counters: VifCounters;
  private readonly link: BridgeLink;
  private readonly ring: BackRing;
  private readonly chain: TxChain;
  private readonly frame: Frame;
  private readonly pages: MappedPages;
  private isHolding: boolean;
  private staged: number;

  /** Attach to the rings. @throws RingError if a region cannot be a ring */
  constructor(
    hypercalls: Hypercalls,
    wiring: VifQueueWiring,
    regions: { readonly tx: Uint8Array; readonly rx: Uint8Array },
    link: BridgeLink,
    counters: VifCounters,
  ) {
    this.hypercalls = hypercalls;
    this.wiring = wiring;
    this.counters = counters;
    this.link = link;
    this.rx = new VifRx(hypercalls, wiring, regions.rx, counters);
    this.broken = undefined;
    this.ring = new BackRing(regions.tx, NETIF_TX_SLOT_BYTES, { name: `${wiring.name} tx` });
    this.chain = new TxChain(this.ring);
    this.frame = new Frame();
    this.pages = new MappedPages(hypercalls, wiring.guest, { isReadonly: true, maxKept: wiring.maxKeptPages });
    this.isHolding = false;
    this.staged = 0;
  }

  /** Whether a packet waits for room at its destination. */
  get isHeld(): boolean {
    return this.isHolding;
  }

  /**
   * Serve up to `budget` packets. A packet whose destination has no room is kept, and the ring with it.
   * @returns packets finished
   */
  serve(budget: number): number {
    let done = 0;
    if (this.isHolding) {
      if (!this.offer()) return 0;
      done = 1;
    }
    while (done < budget && this.broken === undefined) {
      if (!this.ring.takeRequest()) {
        if (this.ring.availableRequests() <= 0) {
          this.broken ??= this.ring.broken;
          break;
        }
        this.ring.takeRequest();
      }
      if (!this.handle(this.chain.parse())) break;
      done += 1;
    }
    return done;
  }

  /** Give the held packet up. */
  abandonHeld(): void {
    if (!this.isHolding) return;
    this.isHolding = false;
    this.link.abandon();
    this.counters.txDropped += 1;
    this.answer(NETIF_RSP_DROPPED);
  }

  /** Publish answers of both halves; one notification at most for each. */
  flush(): void {
    this.rx.flush();
    if (this.staged === 0) return;
    this.staged = 0;
    if (this.ring.pushResponses()) {
      this.counters.notifications += 1;
      this.hypercalls.notify(this.wiring.txPort);
    }
  }

  /** Ask to be told of new work in both halves. @returns true if some is there */
  arm(): boolean {
    if (this.broken !== undefined) return false;
    const hasRoom = this.rx.arm();
    return (!this.isHolding && this.ring.finalCheck()) || hasRoom;
  }

  /** Let go of all mapped pages. */
  close(): void {
    this.rx.close();
    this.pages.close();
  }

  /** Act on a parsed packet. @returns false if the ring must rest */
  private handle(result: ChainResult): boolean {
    if (result === CHAIN.packet) {
      if (!this.assemble()) {
        this.counters.txErrors += 1;
        this.answer(NETIF_RSP_ERROR);
        return true;
      }
      return this.offer();
    }
    if (result === CHAIN.fatal) {
      this.broken = this.chain.error;
      return false;
    }
    this.counters.txErrors += 1;
    this.answer(NETIF_RSP_ERROR);
    return true;
  }

  /** Map the packet's pages and read its header. @returns false if a page cannot be reached */
  private assemble(): boolean {
    const { chain, frame } = this;
    frame.reset();
    frame.isChecksumBlank = chain.isChecksumBlank;
    frame.isValidated = chain.isValidated;
    frame.gsoType = chain.gsoType;
    frame.gsoSizeBytes = chain.gsoSizeBytes;
    const { slots } = chain;
    for (let i = 0; i < slots; i += 1) {
      // A fragment of no bytes is answered with the others and makes no piece (XSA-448). Casts: i < slots.
      const size = slots === 1 ? chain.totalBytes : (chain.sizes[i] as number);
      if (size === 0) continue;
      const page = this.pages.page(chain.grefs[i] as number);
      if (page === undefined) return false;
      frame.append(page, chain.offsets[i] as number, size);
    }
    return frame.readHeader();
  }

  /** Hand the frame to the bridge. @returns false if it must wait */
  private offer(): boolean {
    const { lengthBytes } = this.frame;
    const verdict = this.link.forward(this.frame);
    if (verdict === VERDICT.held) {
      if (!this.isHolding) this.counters.holds += 1;
      this.isHolding = true;
      return false;
    }
    this.isHolding = false;
    if (verdict === VERDICT.taken) {
      this.counters.txFrames += 1;
      this.counters.txBytes += lengthBytes;
      this.answer(NETIF_RSP_OKAY);
    } else {
      this.counters.txDropped += 1;
      this.answer(NETIF_RSP_DROPPED);
    }
    return true;
  }

  /** Answer every slot of the packet in `chain`: extra infos directly after the first. */
  private answer(status: number): void {
    const { chain, ring } = this;
    this.pages.releasePassing();
    for (let i = 0; i < chain.slots; i += 1) {
      this.stage(chain.ids[i] as number, status); // i < slots
      if (i > 0) continue;
      for (let extra = 0; extra < chain.extras; extra += 1) this.stage(0, NETIF_RSP_NULL);
    }
    this.staged += 1;
    if (this.staged < PUBLISH_BATCH) return;
    this.staged = 0;
    if (ring.pushResponses()) {
      this.counters.notifications += 1;
      this.hypercalls.notify(this.wiring.txPort);
    }
  }

  private stage(id: number, status: number): void {
    const at = this.ring.stageResponse();
    netifTxResponse.set.id(this.ring.view, at, id);
    netifTxResponse.set.status(this.ring.view, at, status);
  }
}
