// A bridge's way out through a network card of the driver domain: its native driver, its checksum and segmentation offload.
import { insertTag, type NicDriver, type NicOffload, type NicReceiveInfo } from '@splitring/device';
import type { Kernel } from '@splitring/hypervisor';
import { XEN_NETIF_MAX_TX_SIZE } from '@splitring/hypervisor/io';
import type { Bridge, BridgeLink, BridgePort, LinkOptions, Verdict } from './bridge.ts';
import { VERDICT } from './bridge.ts';
import { Frame, RAW_VLAN } from './frame.ts';
import { linearise, PrivatePage, wrapPrivate } from './private-page.ts';
import { MAX_SEGMENTS } from './soft-offload.ts';

/** What happened at a card: `txOffered` is the sum of the other `tx…`. */
export interface CardUplinkCounters {
  /** Frames that the bridge handed over; one that had to wait counts once. */
  txOffered: number;
  /** Frames given to the card, large ones whole. */
  txFrames: number;
  /** Frames for which the card had no descriptors, and whose sender could not wait. */
  txNoRoom: number;
  /** Frames while the link was down. */
  txNoLink: number;
  /** Frames that ask for more segments than is sensible, and untagged networks' own tags on a trunk. */
  txUnsuitable: number;
  /** Frames that the card received. */
  rxFrames: number;
  /** What came in and was no frame. */
  rxErrors: number;
}

/** What is needed of a driver. */
export type CardDriver = Pick<NicDriver, 'send' | 'onFrame' | 'isLinkUp'>;

/**
 * A port of a bridge behind which lies a card. Guests' blank checksums and large TCP frames go to the card as they are.
 * A sender that can wait is held while the card's ring is full.
 *
 * @example
 * const driver = new NicDriver(kernel, hypercalls.pci.open(rid), { isPromiscuous: true });
 * kernel.add(driver);
 * new CardUplink('eth0', bridge, kernel, driver);
 */
export class CardUplink implements BridgePort {
  readonly name: string;
  /** What happened here. */
  readonly counters: CardUplinkCounters = {
    txOffered: 0,
    txFrames: 0,
    txNoRoom: 0,
    txNoLink: 0,
    txUnsuitable: 0,
    rxFrames: 0,
    rxErrors: 0,
  };
  /** This port's place on the bridge. */
  readonly link: BridgeLink;
  readonly #driver: CardDriver;
  readonly #kernel: Kernel;
  readonly #frame = new Frame();
  readonly #scratch = new PrivatePage(new Uint8Array(XEN_NETIF_MAX_TX_SIZE + 1));

  /** Attach to `bridge`, and take over the driver's `onFrame`. */
  constructor(name: string, bridge: Bridge, kernel: Kernel, driver: CardDriver, options: LinkOptions = {}) {
    this.name = name;
    this.#kernel = kernel;
    this.#driver = driver;
    this.link = bridge.attach(this, { canHold: false, ...options });
    driver.onFrame = (frame, info) => this.#input(frame, info);
  }

  receive(frame: Frame, canWait: boolean): Verdict {
    const { counters } = this;
    if (!this.#driver.isLinkUp) return this.#drop('txNoLink');
    if (frame.gsoSizeBytes !== 0 && frame.lengthBytes > frame.gsoSizeBytes * MAX_SEGMENTS) {
      return this.#drop('txUnsuitable');
    }
    // On a trunk a tag of the sender's own would be taken for ours: another VLAN.
    if (this.link.isTrunk && frame.vlan === 0 && frame.rawType === RAW_VLAN) return this.#drop('txUnsuitable');
    const lengthBytes = linearise(frame, this.#scratch);
    if (!this.#driver.send(this.#scratch.bytes.subarray(0, lengthBytes), this.#offload(frame))) {
      return canWait ? VERDICT.held : this.#drop('txNoRoom');
    }
    counters.txOffered += 1;
    counters.txFrames += 1;
    return VERDICT.taken;
  }

  /** Leave the bridge; the driver goes on without us. Idempotent. */
  close(): void {
    this.link.detach();
    this.#driver.onFrame = () => {};
  }

  #offload(frame: Frame): NicOffload {
    const tag = this.link.isTrunk && frame.vlan !== 0 ? { vlan: frame.vlan } : undefined;
    if (frame.gsoSizeBytes !== 0) return { segmentBytes: frame.gsoSizeBytes, ...tag };
    if (frame.isChecksumBlank) return { isChecksumBlank: true, ...tag };
    return tag ?? PLAIN;
  }

  #drop(reason: 'txNoRoom' | 'txNoLink' | 'txUnsuitable'): Verdict {
    this.counters.txOffered += 1;
    this.counters[reason] += 1;
    return VERDICT.dropped;
  }

  #input(bytes: Uint8Array, info: NicReceiveInfo): void {
    // The card has taken a tag out of the frame. A port that is no trunk leaves tags to those who made them.
    const hasTag = info.vlan >= 0;
    const whole = hasTag && !this.link.isTrunk ? insertTag(bytes, info.vlan) : bytes;
    if (!wrapPrivate(this.#frame, new PrivatePage(whole), whole.length)) {
      this.counters.rxErrors += 1;
      return;
    }
    this.#frame.vlan = hasTag && this.link.isTrunk ? info.vlan & ETHER_VLAN_MASK : 0;
    this.#frame.isValidated = info.isChecked;
    this.counters.rxFrames += 1;
    this.link.forward(this.#frame);
    this.#kernel.requestPoll(); // what was delivered is published at the end of a turn
  }
}

const PLAIN: NicOffload = {};
/** The identifier in a tag, without priority. */
const ETHER_VLAN_MASK = 0x0fff;
