// hot path: bench net
// The network card that a guest program holds. It stays the same object while its back end comes and goes.
import { type Kernel, PAGE_SIZE, type Stepped } from '@splitring/hypervisor';
import { ETHERNET_HEADER_BYTES, XEN_NETIF_MAX_TX_SIZE } from '@splitring/hypervisor/io';
import type { ProtocolError } from 'sharedarraybuffer-ring';
import { formatMacAddress } from './mac-address.ts';
import { createNicCounters, type NicCounters } from './net-counters.ts';
import type { NicQueue } from './nic-queue.ts';
import type { RxFrame } from './rx-frame.ts';
import { checkOffload, parseTxFeatures, refuseLarge, type TxFeatures, type TxOffload } from './tx-offload.ts';

/** Frames handed to `onFrame` in one poll and queue, so that one busy card cannot hold the thread. */
const RX_BUDGET = 128;

/**
 * A virtual network card.
 *
 * Sending copies the frame into pages that the back end can read; `send` answers false while there is no room, and
 * `whenWritable` tells when to go on. Receiving is by handler (`onFrame`), by polling (`receive`) or by waiting
 * (`whenReadable`); frames that nobody takes stay in the ring and hold their senders back.
 *
 * @example
 * nic.onFrame = (frame) => console.log(frame.lengthBytes);
 * while (!nic.send(bytes)) await nic.whenWritable();
 */
export class Nic implements Stepped {
  /** The device's number in its guest. */
  readonly id: string;
  /** What was sent and received so far. */
  readonly counters: NicCounters = createNicCounters();
  /** Handler of every received frame; the frame is only valid inside the call. */
  onFrame: ((frame: RxFrame) => void) | undefined = undefined;
  /** Called when the link goes up or down. */
  onLink: ((isUp: boolean) => void) | undefined = undefined;
  /** Driver only: takes a changed wish to the back end; undefined while there is none that would listen. */
  onFilter: ((isOn: boolean) => void) | undefined = undefined;
  /** Own Ethernet address as the toolstack assigned it; zero until it is known. */
  macAddress: Uint8Array<ArrayBuffer> = new Uint8Array(6);
  /**
   * Whether frames for other addresses are taken, too. A bridge sends them while it does not know where their owner is;
   * Xen's protocol has no filter for them, so a card begins like this.
   */
  isPromiscuous = true;
  /** Largest payload of a frame on this network, in bytes, without the Ethernet header. */
  mtuBytes = 1500;
  private readonly kernel: Kernel;
  private queues: readonly NicQueue[] = [];
  private features: TxFeatures = parseTxFeatures({});
  private isUp = false;
  private isGone = false;
  private isPollRequested = false;
  private failure: ProtocolError | undefined = undefined;
  private readonly onBroken: () => void;
  private readonly writeWaiters: (() => void)[] = [];
  private readonly readWaiters: (() => void)[] = [];

  /** A card without a back end yet; the front-end driver connects it. `onBroken` tells it of a protocol breach. */
  constructor(kernel: Kernel, id: string, onBroken: () => void) {
    this.kernel = kernel;
    this.id = id;
    this.onBroken = onBroken;
  }

  /** Whether the back end is connected and its carrier on. */
  get isLinkUp(): boolean {
    return this.isUp;
  }

  /** Whether the card was unplugged for good. */
  get isRemoved(): boolean {
    return this.isGone;
  }

  /** Why the connection broke, if it did; the driver reports it and closes. */
  get brokenBy(): ProtocolError | undefined {
    return this.failure;
  }

  /** Slots (pages) that can be filled now, over all queues. */
  get freeSlots(): number {
    let free = 0;
    for (const queue of this.queues) free += queue.tx.freeSlots;
    return free;
  }

  /**
   * Send a frame: Ethernet header first, 14 to 65535 bytes. Its bytes are copied before this returns.
   *
   * Frames are published sixteen at a time, and at the end of the turn.
   * @returns false while there is no room or no link: wait with `whenWritable`, or drop the frame
   * @throws RangeError for a length outside those limits, and for an `offload` that no back end would take;
   * SplitringError NET_NOT_OFFERED for what the present back end does not offer: do it in the program, or send less at once
   */
  send(frame: Uint8Array, offload?: TxOffload): boolean {
    if (frame.length < ETHERNET_HEADER_BYTES || frame.length > XEN_NETIF_MAX_TX_SIZE) refuseLength(frame.length);
    if (frame.length > PAGE_SIZE && !this.features.canScatter && this.isUp) refuseLarge(frame.length);
    if (offload !== undefined) checkOffload(frame, offload, this.features);
    const queue = this.queues.length === 1 ? this.queues[0] : this.pickQueue(frame);
    if (queue === undefined || !this.isUp) {
      this.counters.txFull += 1;
      return false;
    }
    const isSent = queue.tx.send(frame, offload);
    if (!this.isPollRequested) {
      this.isPollRequested = true;
      this.kernel.requestPoll();
    }
    return isSent;
  }

  /**
   * Send `frames[from …]` in order until one does not fit; `offloads[i]`, if there is one, belongs to `frames[i]`.
   *
   * @returns how many were sent
   * @throws RangeError as `send`; the frames before that one were sent
   * @example
   * for (let at = 0; at < frames.length; at += nic.sendBatch(frames, at)) await nic.whenWritable();
   */
  sendBatch(frames: readonly Uint8Array[], from = 0, offloads?: readonly (TxOffload | undefined)[]): number {
    let index = from;
    for (; index < frames.length; index += 1) {
      if (!this.send(frames[index] as Uint8Array, offloads?.[index])) break; // in range
    }
    return index - from;
  }

  /**
   * Join or leave a multicast group. Only of use while groups are filtered (`filterGroups`): otherwise every group's
   * frames arrive anyway. A refusal (more than 64 groups) shows in `counters.groupErrors`.
   * @returns false while there is no room or no link
   * @throws RangeError for an address that is no group's
   */
  changeGroup(address: Uint8Array, isJoin: boolean): boolean {
    if (address.length !== 6 || ((address[0] as number) & 1) === 0) {
      throw new RangeError(`Cannot join ${formatMacAddress(address)}: not the address of a group`);
    }
    const [queue] = this.queues;
    if (queue === undefined || !this.isUp) return false;
    const isAsked = queue.tx.changeGroup(address, isJoin);
    this.kernel.requestPoll();
    return isAsked;
  }

  /**
   * Receive only groups that were joined (true), or the frames of every group (false). Joined groups are remembered.
   * @returns false if there is no back end that can change this while connected
   */
  filterGroups(isOn: boolean): boolean {
    if (this.onFilter === undefined || !this.isUp) return false;
    this.onFilter(isOn);
    return true;
  }

  /** Publish frames that still wait for their batch. */
  flush(): void {
    for (const queue of this.queues) queue.tx.flush();
  }

  /** Take one received frame as a private copy, for programs that poll. Not to be mixed with `onFrame`. */
  receive(): Uint8Array<ArrayBuffer> | undefined {
    for (const queue of this.queues) {
      if (!this.takeFrom(queue)) continue;
      const copy = queue.rx.frame.toBytes();
      queue.rx.recycle();
      if (!this.isPollRequested) {
        this.isPollRequested = true;
        this.kernel.requestPoll();
      }
      return copy;
    }
    return undefined;
  }

  /**
   * Resolve as soon as the frame that was refused last, or any frame, can be sent (at once if it can be now), the card is
   * unplugged, or `signal` aborted.
   */
  whenWritable(signal?: AbortSignal): Promise<void> {
    return this.when(this.isWritable(), this.writeWaiters, signal);
  }

  /** Resolve as soon as a frame waits in the ring (at once if one does), the card is unplugged, or `signal` aborted. */
  whenReadable(signal?: AbortSignal): Promise<void> {
    return this.when(this.hasFrames(), this.readWaiters, signal);
  }

  /** Driver only: go live with these queues, towards a back end that takes so much. */
  connect(queues: readonly NicQueue[], features = parseTxFeatures({})): void {
    this.queues = queues;
    this.features = features;
    this.failure = undefined;
  }

  /** Driver only: the carrier as the back end's state implies it. */
  setLink(isUp: boolean): void {
    if (this.isUp === isUp) return;
    this.isUp = isUp;
    this.onLink?.(isUp);
  }

  /** Driver only: lose the back end. Frames that it had not answered count as aborted. */
  disconnect(): void {
    this.setLink(false);
    for (const queue of this.queues) this.counters.txAborted += queue.release();
    this.queues = [];
    this.onFilter = undefined;
  }

  /** Driver only: the card is unplugged for good; whoever waits for it is woken. */
  remove(): void {
    this.isGone = true;
    wake(this.writeWaiters);
    wake(this.readWaiters);
  }

  poll(): boolean {
    this.isPollRequested = false;
    let hasWorked = false;
    for (const queue of this.queues) {
      if (this.pollQueue(queue)) hasWorked = true;
      if (this.failure !== undefined) return true; // the driver has released the queues
    }
    return hasWorked;
  }

  arm(): boolean {
    let hasWork = false;
    for (const queue of this.queues) {
      if (queue.broken !== undefined) continue;
      // Frames that nobody is there to take are no reason to stay awake.
      const wantsFrames = this.onFrame !== undefined || this.readWaiters.length > 0;
      if (wantsFrames && queue.rx.arm()) hasWork = true;
      if (queue.tx.arm()) hasWork = true;
    }
    return hasWork;
  }

  private pollQueue(queue: NicQueue): boolean {
    let hasWorked = queue.tx.reap() || queue.tx.hasStaged;
    if (this.onFrame !== undefined) {
      for (let count = 0; count < RX_BUDGET && this.takeFrom(queue); count += 1) {
        this.onFrame(queue.rx.frame);
        queue.rx.recycle();
        hasWorked = true;
      }
    }
    queue.rx.flush();
    if (this.writeWaiters.length > 0 && this.isWritable()) wake(this.writeWaiters);
    if (this.readWaiters.length > 0 && queue.rx.hasFrames) wake(this.readWaiters);
    queue.tx.flush();
    if (queue.broken !== undefined && this.failure === undefined) {
      this.failure = queue.broken;
      this.onBroken();
    }
    return hasWorked;
  }

  /** Take the next frame that is for this card. @returns false if there is none */
  private takeFrom({ rx }: NicQueue): boolean {
    while (rx.take()) {
      if (this.isPromiscuous || this.isForUs(rx.frame)) return true;
      this.counters.rxOther += 1;
      this.counters.rxFrames -= 1; // counted when it was taken, and not handed to the program after all
      this.counters.rxBytes -= rx.frame.lengthBytes;
      rx.recycle();
    }
    return false;
  }

  private isForUs(frame: RxFrame): boolean {
    // Read once, like every byte there. The first piece holds the Ethernet header at least.
    const high = frame.uint32At(0);
    const low = frame.uint32At(4) >>> 16;
    if ((high & 0x0100_0000) !== 0) return true; // a group
    const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = this.macAddress;
    return high === ((a << 24) | (b << 16) | (c << 8) | d) >>> 0 && low === ((e << 8) | f);
  }

  private when(isNow: boolean, waiters: (() => void)[], signal: AbortSignal | undefined): Promise<void> {
    if (isNow || this.isGone || signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = () => {
        const at = waiters.indexOf(finish);
        if (at >= 0) waiters.splice(at, 1);
        resolve();
      };
      const finish = () => {
        signal?.removeEventListener('abort', cancel);
        resolve();
      };
      waiters.push(finish);
      signal?.addEventListener('abort', cancel, { once: true });
      this.kernel.requestPoll();
    });
  }

  private isWritable(): boolean {
    if (!this.isUp) return false;
    for (const { tx } of this.queues) if (!tx.hasRoomAgain) return false;
    return this.freeSlots > 0;
  }

  private hasFrames(): boolean {
    for (const queue of this.queues) if (queue.rx.hasFrames) return true;
    return false;
  }

  /** Spread flows over queues by their addresses, so that one flow keeps its order. */
  private pickQueue(frame: Uint8Array): NicQueue | undefined {
    let hash = 0;
    for (let i = 0; i < 12; i += 1) hash = (Math.imul(hash, 31) + (frame[i] as number)) | 0; // in range: checked length
    return this.queues[(hash >>> 0) % this.queues.length];
  }
}

function wake(waiters: (() => void)[]): void {
  for (const resolve of waiters.splice(0)) resolve();
}

function refuseLength(lengthBytes: number): never {
  throw new RangeError(
    `Cannot send a frame of ${lengthBytes} bytes: not ${ETHERNET_HEADER_BYTES} to ${XEN_NETIF_MAX_TX_SIZE}`,
  );
}
