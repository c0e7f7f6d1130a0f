// Frames for one guest that nobody else can hold back (broadcasts, frames from uplinks), copied, bounded, timed.
import { Frame } from './frame.ts';
import { linearise, PrivatePage, wrapPrivate } from './private-page.ts';

/** Bytes that may wait for one guest. */
const MAX_BYTES = 1 << 20;
/** How long a frame waits for a guest that posts no buffers. xen-netback, rx_drain_timeout_msecs */
const DRAIN_MS = 10_000;
/** The same for a guest that does not tell of new buffers: nobody would wake us. */
const UNTOLD_DRAIN_MS = 30;

interface Waiting {
  readonly frame: Frame;
  readonly dropAtMs: number;
}

/** A queue of copies, bounded by bytes (XSA-392). */
export class RxBacklog {
  readonly #drainMs: number;
  #waiting: Waiting[] = [];
  #bytes = 0;

  /** An empty queue. `isTold`: the guest raises an event when it has posted buffers (`feature-rx-notify`). */
  constructor(isTold: boolean) {
    this.#drainMs = isTold ? DRAIN_MS : UNTOLD_DRAIN_MS;
  }

  /** Frames that wait. */
  get length(): number {
    return this.#waiting.length;
  }

  /** The frame that waits longest. */
  get head(): Frame | undefined {
    return this.#waiting[0]?.frame;
  }

  /** When the frame that waits longest is dropped. */
  get deadlineMs(): number {
    return this.#waiting[0]?.dropAtMs ?? Number.POSITIVE_INFINITY;
  }

  /** Keep a copy of `frame`. @returns false if too much waits already */
  push(frame: Frame, nowMs: number): boolean {
    if (frame.lengthBytes > MAX_BYTES - this.#bytes) return false;
    const page = new PrivatePage(new Uint8Array(frame.lengthBytes));
    const copy = new Frame();
    wrapPrivate(copy, page, linearise(frame, page));
    copy.isChecksumBlank = frame.isChecksumBlank;
    copy.isValidated = frame.isValidated;
    copy.gsoType = frame.gsoType;
    copy.gsoSizeBytes = frame.gsoSizeBytes;
    copy.vlan = frame.vlan;
    this.#waiting.push({ frame: copy, dropAtMs: nowMs + this.#drainMs });
    this.#bytes += frame.lengthBytes;
    return true;
  }

  /** Forget the first. */
  shift(): void {
    this.#bytes -= this.#waiting.shift()?.frame.lengthBytes ?? 0;
  }

  /** Forget all. */
  clear(): void {
    this.#waiting = [];
    this.#bytes = 0;
  }
}
