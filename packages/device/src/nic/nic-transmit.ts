// The transmit half of a card: fetches descriptors, gathers frames, does the offloads that they ask for.

import { internetChecksum } from '../net/internet-checksum.ts';
import { fillChecksum, segmentTcp } from '../net/offload.ts';
import { createPacketHeaders, ETHERTYPE, parseHeaders, write16 } from '../net/packet-headers.ts';
import { insertTag } from '../net/vlan-tag.ts';
import type { NicModelCounters } from './nic-counters.ts';
import type { NicDma } from './nic-dma.ts';
import type { NicQueueState } from './nic-queue-state.ts';
import { TXD } from './nic-registers.ts';

/** Largest frame: 64 KiB of TCP payload and its headers. */
const MAX_FRAME_BYTES = 65_536 + 256;

/** What happens to the frames that are complete. */
export type EmitFrame = (frame: Uint8Array) => void;

/** One transmit queue's engine. */
export class NicTransmit {
  readonly #dma: NicDma;
  readonly #queue: NicQueueState;
  readonly #emit: EmitFrame;
  readonly #counters: Pick<NicModelCounters, 'txBad' | 'txSegments' | 'txTaken'>;
  readonly #frame = new Uint8Array(MAX_FRAME_BYTES);
  #length = 0;
  #isBad = false;
  #vlan = 0;
  #segmentBytes = 0;

  /** Serve `queue`. */
  constructor(
    dma: NicDma,
    queue: NicQueueState,
    counters: Pick<NicModelCounters, 'txBad' | 'txSegments' | 'txTaken'>,
    emit: EmitFrame,
  ) {
    this.#dma = dma;
    this.#queue = queue;
    this.#emit = emit;
    this.#counters = counters;
  }

  /** Forget a frame that is half fetched. */
  reset(): void {
    this.#length = 0;
    this.#isBad = false;
    this.#vlan = 0;
    this.#segmentBytes = 0;
  }

  /**
   * Fetch up to `budget` descriptors. @returns whether any asked to report its end, or undefined if there was nothing to do
   */
  poll(budget: number): boolean | undefined {
    const queue = this.#queue;
    let hasReport: boolean | undefined;
    for (let count = Math.min(budget, queue.available); count > 0; count -= 1) {
      const isReported = this.#fetch(queue.address(queue.head));
      hasReport = hasReport === true || isReported;
      queue.advance();
    }
    return hasReport;
  }

  #fetch(address: number): boolean {
    const words = this.#dma.descriptor(address, true);
    if (words === undefined) return false;
    // Each word is read once: the driver can rewrite it meanwhile.
    const [low = 0, high = 0, command = 0, status = 0] = [words[0], words[1], words[2], words[3]];
    const isContext = (command & TXD.typeMask) === TXD.typeContext;
    if (isContext) {
      this.#vlan = (low >>> 16) & 0x0fff;
      this.#segmentBytes = status >>> 16;
    } else {
      this.#gather((high >>> 0) * 0x1_0000_0000 + (low >>> 0), command & 0xffff);
      if ((command & TXD.eop) !== 0) this.#finish(command, status);
    }
    if ((command & TXD.reportStatus) === 0) return false;
    Atomics.store(words, 3, TXD.done);
    return true;
  }

  #gather(address: number, length: number): void {
    if (this.#isBad) return;
    const fits = length <= MAX_FRAME_BYTES - this.#length;
    if (!fits || !this.#dma.read(address, this.#frame, this.#length, length)) this.#isBad = true;
    else this.#length += length;
  }

  /** The frame is complete: do what its last descriptor asks for, and send it. */
  #finish(command: number, offloads: number): void {
    const length = this.#length;
    const isGood = !this.#isBad && length >= 14;
    this.#length = 0;
    this.#isBad = false;
    this.#counters.txTaken += 1;
    if (!isGood) {
      this.#counters.txBad += 1;
      return;
    }
    const withVlan = (bytes: Uint8Array) => {
      this.#emit((command & TXD.vlan) === 0 ? bytes : insertTag(bytes, this.#vlan));
      return true;
    };
    if ((command & TXD.segment) !== 0) {
      const pieces = segmentTcp(this.#frame, length, this.#segmentBytes, withVlan);
      if (pieces > 0) this.#counters.txSegments += pieces - 1;
      else this.#counters.txBad += 1;
      return;
    }
    if ((offloads & TXD.ipChecksum) !== 0) fillIpChecksum(this.#frame, length);
    if ((offloads & TXD.l4Checksum) !== 0 && !fillChecksum(this.#frame, length)) {
      this.#counters.txBad += 1;
      return;
    }
    withVlan(this.#frame.subarray(0, length));
  }
}

function fillIpChecksum(frame: Uint8Array, length: number): void {
  const headers = createPacketHeaders();
  if (!parseHeaders(frame, length, headers) || headers.etherType !== ETHERTYPE.ipv4) return;
  const at = headers.networkAt;
  write16(frame, at + 10, 0);
  write16(frame, at + 10, internetChecksum(frame, at, at + ((frame[at] as number) & 15) * 4)); // parsed: in range
}
