// Guest-side storm control ("late EOI"): after an event its port stays masked until the handler is done, and a peer that
// keeps raising events without work is listened to less and less. linux/drivers/xen/events/events_base.c, XSA-391
import type { EvtchnPort } from '../ids.ts';
import type { Kernel } from '../kernel.ts';
import type { Stepped } from '../stepped.ts';

/** Spurious events in a row that cost nothing. */
export const SPURIOUS_THRESHOLD = 1;
/** Shortest delay; it doubles with every further spurious event. Linux counts in ticks; this is one at 250 Hz. */
export const EOI_TICK_MS = 4;
/** Longest delay. */
export const EOI_MOST_MS = 1000;

/** Events in a row without any progress between them that cost nothing on a port whose ring every poll looks at. */
export const IDLE_EVENTS = 64;

const throttles = new WeakMap<Kernel, EventThrottle>();

/** The throttle of the domain that `kernel` runs, made at the first call. */
export function eventThrottle(kernel: Kernel): EventThrottle {
  const known = throttles.get(kernel);
  if (known !== undefined) return known;
  const throttle = new EventThrottle(kernel);
  throttles.set(kernel, throttle);
  return throttle;
}

/** Statistics of one throttled port. */
export interface ThrottleCounters {
  /** Events handled. */
  readonly events: number;
  /** Of those, without work. */
  readonly spurious: number;
  /** Time that the port was held back for, in milliseconds. */
  readonly delayedMs: number;
}

class Throttled {
  readonly port: EvtchnPort;
  readonly handler: () => boolean;
  events = 0;
  spurious = 0;
  delayedMs = 0;
  inARow = 0;
  dueMs = Number.POSITIVE_INFINITY;

  constructor(port: EvtchnPort, handler: () => boolean) {
    this.port = port;
    this.handler = handler;
  }
}

/**
 * Handles events of ports whose other end is not trusted.
 *
 * @example
 * const throttle = new EventThrottle(kernel);
 * throttle.listen(port, () => queue.serve() > 0); // true: there was work
 */
export class EventThrottle implements Stepped {
  readonly #kernel: Kernel;
  readonly #ports = new Map<EvtchnPort, Throttled>();
  /** Ports that wait for the end of their delay. */
  #held = 0;

  /** Throttle ports of `kernel`'s domain. */
  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    kernel.add(this);
  }

  /** Call `handler` for every event of `port`; it tells whether it found work. */
  listen(port: EvtchnPort, handler: () => boolean): void {
    const throttled = new Throttled(port, handler);
    this.#ports.set(port, throttled);
    this.#kernel.onEvent(port, () => this.#handle(throttled));
  }

  /**
   * For a port that only has to wake the domain, because every poll looks at its rings: a peer that raises events while
   * `progress` (any number that changes with work done) stands still is listened to less and less.
   */
  listenForProgress(port: EvtchnPort, progress: () => number): void {
    let seen = progress();
    let idle = 0;
    this.listen(port, () => {
      const now = progress();
      idle = now === seen ? idle + 1 : 0;
      seen = now;
      return idle < IDLE_EVENTS;
    });
  }

  /** Stop listening; the port is let through again for whoever comes next. */
  ignore(port: EvtchnPort): void {
    const throttled = this.#ports.get(port);
    if (throttled === undefined) return;
    this.#ports.delete(port);
    this.#setDue(throttled, Number.POSITIVE_INFINITY);
    this.#kernel.offEvent(port);
    this.#kernel.hypercalls.setMask(port, false);
  }

  /** A port that broke the rules for good: it never fires again until `ignore`. */
  silence(port: EvtchnPort): void {
    const throttled = this.#ports.get(port);
    if (throttled === undefined) return;
    this.#setDue(throttled, Number.POSITIVE_INFINITY);
    this.#kernel.offEvent(port);
    this.#kernel.hypercalls.setMask(port, true);
  }

  /** Statistics of a port that is listened to. */
  counters(port: EvtchnPort): ThrottleCounters | undefined {
    const throttled = this.#ports.get(port);
    if (throttled === undefined) return undefined;
    const { events, spurious, delayedMs } = throttled;
    return { events, spurious, delayedMs };
  }

  /** Stop altogether. */
  close(): void {
    for (const port of [...this.#ports.keys()]) this.ignore(port);
    this.#kernel.remove(this);
  }

  /** Let ports through whose delay is over. */
  poll(): boolean {
    if (this.#held === 0) return false;
    let hasWorked = false;
    for (const throttled of this.#ports.values()) {
      if (throttled.dueMs === Number.POSITIVE_INFINITY || throttled.dueMs > this.#kernel.clock.nowMs()) continue;
      this.#setDue(throttled, Number.POSITIVE_INFINITY);
      this.#kernel.hypercalls.setMask(throttled.port, false);
      hasWorked = true;
    }
    return hasWorked;
  }

  /** When the next delay is over. */
  deadlineMs(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const throttled of this.#ports.values()) earliest = Math.min(earliest, throttled.dueMs);
    return earliest;
  }

  #handle(throttled: Throttled): void {
    this.#kernel.hypercalls.setMask(throttled.port, true);
    throttled.events += 1;
    const hadWork = throttled.handler();
    if (this.#ports.get(throttled.port) !== throttled) return; // it was ignored meanwhile
    if (hadWork) {
      throttled.inARow = 0;
    } else {
      throttled.spurious += 1;
      throttled.inARow += 1;
      if (throttled.inARow > SPURIOUS_THRESHOLD) {
        this.#delay(throttled);
        return;
      }
    }
    this.#kernel.hypercalls.setMask(throttled.port, false);
  }

  #delay(throttled: Throttled): void {
    const doublings = Math.min(throttled.inARow - 1 - SPURIOUS_THRESHOLD, 16);
    const delayMs = Math.min(EOI_TICK_MS * 2 ** doublings, EOI_MOST_MS);
    throttled.delayedMs += delayMs;
    this.#setDue(throttled, this.#kernel.clock.nowMs() + delayMs);
  }

  #setDue(throttled: Throttled, dueMs: number): void {
    const isHeld = Number(dueMs !== Number.POSITIVE_INFINITY);
    this.#held += isHeld - Number(throttled.dueMs !== Number.POSITIVE_INFINITY);
    throttled.dueMs = dueMs;
  }
}
