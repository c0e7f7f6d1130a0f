// Guest-side storm control ("late EOI"): a peer that keeps raising events without work is listened to less and less.
// linux/drivers/xen/events/events_base.c, XSA-391
//
// Machines are polled whether an event came or not, and often find the work before its event: so an event is judged when
// the next one comes, by whether the port's driver has made any progress in between. A peer that announces each piece of
// work once cannot be found wanting, however the two race. Linux masks every port until its handler is done; here one
// thread does both, and only a port that is held back is masked. A raise of a masked port wakes nobody.
import type { EvtchnPort } from '../ids.ts';
import type { Kernel } from '../kernel.ts';

/** Events without work in a row that cost nothing. */
export const SPURIOUS_THRESHOLD = 1;
/** Shortest delay; it doubles with every further spurious event. Linux counts in ticks; this is one at 250 Hz. */
export const EOI_TICK_MS = 4;
/** Longest delay. */
export const EOI_MOST_MS = 1000;

/** Statistics of one throttled port. */
export interface ThrottleCounters {
  /** Events received. */
  readonly events: number;
  /** Of those, followed by another one without any work done in between. */
  readonly spurious: number;
  /** Time that the port was held back for, in milliseconds. */
  readonly delayedMs: number;
}

class Throttled {
  readonly port: EvtchnPort;
  readonly progress: () => number;
  /** Progress at the last event; none yet. */
  seen = Number.NaN;
  events = 0;
  spurious = 0;
  delayedMs = 0;
  inARow = 0;
  dueMs = Number.POSITIVE_INFINITY;

  constructor(port: EvtchnPort, progress: () => number) {
    this.port = port;
    this.progress = progress;
  }
}

/** What throttling needs of its kernel. */
export type ThrottleHost = Pick<Kernel, 'hypercalls' | 'clock'>;

/**
 * Judges events of ports whose other end is not trusted. A kernel has one, behind `Kernel.onPeerEvent`.
 *
 * @example
 * const throttle = new EventThrottle(kernel);
 * throttle.listen(port, () => queue.requestsTaken);
 * kernel.onEvent(port, () => throttle.handle(port));
 */
export class EventThrottle {
  readonly #host: ThrottleHost;
  readonly #ports = new Map<EvtchnPort, Throttled>();
  /** Those that are held back now. */
  #delayed: Throttled[] = [];

  /** Throttle ports of `host`'s domain. */
  constructor(host: ThrottleHost) {
    this.#host = host;
  }

  /**
   * Judge every event of `port` by `progress`: any number that changes whenever its driver has found work.
   * @returns what to call when it fires
   */
  listen(port: EvtchnPort, progress: () => number): () => void {
    const throttled = new Throttled(port, progress);
    this.#ports.set(port, throttled);
    return () => this.#judge(throttled);
  }

  /** Stop listening; the port is let through again for whoever comes next. */
  ignore(port: EvtchnPort): void {
    const throttled = this.#ports.get(port);
    if (throttled === undefined) return;
    this.#ports.delete(port);
    this.#delayed = this.#delayed.filter((one) => one !== throttled);
    this.#host.hypercalls.setMask(port, false);
  }

  /** Statistics of a port that is listened to. */
  counters(port: EvtchnPort): ThrottleCounters | undefined {
    const throttled = this.#ports.get(port);
    if (throttled === undefined) return undefined;
    const { events, spurious, delayedMs } = throttled;
    return { events, spurious, delayedMs };
  }

  /** Let ports through whose delay is over, or whose driver has found work. @returns whether there were any */
  poll(): boolean {
    return this.#delayed.length > 0 && this.#letThrough();
  }

  /** When the next delay is over. */
  deadlineMs(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const throttled of this.#delayed) earliest = Math.min(earliest, throttled.dueMs);
    return earliest;
  }

  #letThrough(): boolean {
    const now = this.#host.clock.nowMs();
    const stays = (throttled: Throttled) => throttled.dueMs > now && throttled.progress() === throttled.seen;
    const free = this.#delayed.filter((throttled) => !stays(throttled));
    if (free.length === 0) return false;
    this.#delayed = this.#delayed.filter((throttled) => !free.includes(throttled));
    for (const { port } of free) this.#host.hypercalls.setMask(port, false);
    return true;
  }

  #judge(throttled: Throttled): void {
    throttled.events += 1;
    const progress = throttled.progress();
    if (progress !== throttled.seen) {
      throttled.seen = progress;
      throttled.inARow = 0;
      return;
    }
    throttled.spurious += 1;
    this.#host.hypercalls.countSpurious(throttled.port);
    throttled.inARow += 1;
    if (throttled.inARow <= SPURIOUS_THRESHOLD) return;
    const doublings = Math.min(throttled.inARow - 1 - SPURIOUS_THRESHOLD, 16);
    const delayMs = Math.min(EOI_TICK_MS * 2 ** doublings, EOI_MOST_MS);
    throttled.delayedMs += delayMs;
    throttled.dueMs = this.#host.clock.nowMs() + delayMs;
    this.#delayed.push(throttled);
    this.#host.hypercalls.setMask(throttled.port, true);
  }
}
