// A bridge's way out of the machine: frames as plain bytes, to and from whatever carries them.
import { ETHERTYPE, insertTag, read16, removeTag } from '@splitring/device';
import type { Kernel, Stepped } from '@splitring/hypervisor';
import { XEN_NETIF_MAX_TX_SIZE } from '@splitring/hypervisor/io';
import type { Bridge, BridgeLink, BridgePort, LinkOptions, Verdict } from './bridge.ts';
import { VERDICT } from './bridge.ts';
import { Frame, RAW_VLAN } from './frame.ts';
import { PrivatePage, wrapPrivate } from './private-page.ts';
import { toWireFrames } from './soft-offload.ts';

/** How an uplink is attached. */
export interface UplinkOptions extends LinkOptions {
  /** Whether its carrier is polled by this thread; false (the default) for sockets, which need the event loop. */
  readonly isLocal?: boolean;
}

/** What happened at an uplink: `txOffered` + `txSegments` is the sum of the other `tx…`, but for `txFailed`. */
export interface UplinkCounters {
  /** Frames that the bridge handed over. */
  txOffered: number;
  /** Frames that came into being by cutting large ones, beyond those. */
  txSegments: number;
  /** Frames handed to the carrier. */
  txFrames: number;
  /** … of which the operating system said later that it could not send them. */
  txFailed: number;
  /** Frames that the carrier had no room for. */
  txDropped: number;
  /** Frames whose flags promised what their headers do not hold, and untagged networks' own tags on a trunk. */
  txUnsuitable: number;
  /** Frames while there was nobody at the other end. */
  txNoCarrier: number;
  /** Frames that came in. */
  rxFrames: number;
  /** What came in and was no frame. */
  rxErrors: number;
}

/** Carries frames away. The bytes are only valid during the call. @returns false if it has no room: the frame is dropped */
export type FrameCarrier = (frame: Uint8Array) => boolean;

/**
 * A port of a bridge whose other side is a carrier of plain frames: checksums are finished and large frames cut before
 * they leave.
 *
 * @example
 * const uplink = new Uplink('vxlan0', bridge, kernel, (frame) => socketSend(frame));
 * socket.on('message', (frame) => uplink.input(frame));
 */
export class Uplink implements BridgePort, Stepped {
  readonly name: string;
  /** What happened here. */
  readonly counters: UplinkCounters = {
    txOffered: 0,
    txSegments: 0,
    txFrames: 0,
    txFailed: 0,
    txDropped: 0,
    txUnsuitable: 0,
    txNoCarrier: 0,
    rxFrames: 0,
    rxErrors: 0,
  };
  /** This port's place on the bridge. */
  readonly link: BridgeLink;
  readonly #kernel: Kernel;
  readonly #carry: FrameCarrier;
  readonly #frame = new Frame();
  readonly #isLocal: boolean;
  #isOpen = true;
  #hasCarrier = true;

  /** Attach to `bridge`; `kernel` is told that this thread's event loop is needed from now on. */
  constructor(name: string, bridge: Bridge, kernel: Kernel, carry: FrameCarrier, options: UplinkOptions = {}) {
    this.name = name;
    this.#kernel = kernel;
    this.#carry = carry;
    this.#isLocal = options.isLocal ?? false;
    this.link = bridge.attach(this, { canHold: false, ...options });
    kernel.add(this);
  }

  /** Whether there is somebody at the other end. */
  get hasCarrier(): boolean {
    return this.#hasCarrier;
  }

  /** Somebody came to the other end, or went. The addresses seen there may turn up elsewhere: they are forgotten. */
  setCarrier(isOn: boolean): void {
    if (this.#hasCarrier === isOn) return;
    this.#hasCarrier = isOn;
    if (!isOn) this.link.forgetAddresses();
  }

  receive(frame: Frame): Verdict {
    if (!this.#hasCarrier) {
      this.counters.txOffered += 1;
      this.counters.txNoCarrier += 1;
      return VERDICT.dropped;
    }
    let isCarried = true;
    const tag = this.link.isTrunk ? frame.vlan : 0;
    if (this.link.isTrunk && tag === 0 && frame.rawType === RAW_VLAN) {
      this.counters.txOffered += 1;
      this.counters.txUnsuitable += 1;
      return VERDICT.dropped; // a tag of the sender's own would be taken for ours: another VLAN
    }
    const count = toWireFrames(frame, (bytes) => {
      if (this.#carry(tag === 0 ? bytes : insertTag(bytes, tag))) this.counters.txFrames += 1;
      else {
        this.counters.txDropped += 1;
        isCarried = false;
      }
    });
    this.counters.txOffered += 1;
    if (count === 0) this.counters.txUnsuitable += 1;
    else this.counters.txSegments += count - 1;
    return isCarried && count > 0 ? VERDICT.taken : VERDICT.dropped;
  }

  /** Take a frame from outside. Its checksums have been on a wire: they are the receiver's to verify. */
  input(bytes: Uint8Array): void {
    if (!this.#isOpen) return;
    const isTagged = this.link.isTrunk && bytes.length >= 18 && read16(bytes, 12) === ETHERTYPE.vlan;
    this.#frame.vlan = isTagged ? read16(bytes, 14) & 0x0fff : 0;
    const plain = isTagged ? removeTag(bytes) : bytes;
    if (plain.length > XEN_NETIF_MAX_TX_SIZE || !wrapPrivate(this.#frame, new PrivatePage(plain), plain.length)) {
      this.counters.rxErrors += 1;
      return;
    }
    this.counters.rxFrames += 1;
    this.link.forward(this.#frame);
    this.#kernel.requestPoll(); // what was delivered is published at the end of a turn
  }

  /** Count something that came in and was no frame. */
  refuse(): void {
    this.counters.rxErrors += 1;
  }

  /** Count a frame that the carrier took and could not send after all. */
  failed(): void {
    this.counters.txFailed += 1;
  }

  /** Leave the bridge. Idempotent. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.link.detach();
    this.#kernel.remove(this);
  }

  poll(): boolean {
    return false;
  }

  usesEventLoop(): boolean {
    return this.#isOpen && !this.#isLocal;
  }
}
