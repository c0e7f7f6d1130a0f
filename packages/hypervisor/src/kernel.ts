// The part of a domain that every driver is written against: its hypercalls, its store, its clock, and who is polled.
import type { Hypercalls } from './hypercalls.ts';
import type { EvtchnPort } from './ids.ts';
import type { Clock, Random, Stepped } from './stepped.ts';
import type { XenstoreClient } from './xenstore/client.ts';

/**
 * How often a machine is polled: `data` on every turn; `control` after events, before every sleep, and now and then, so
 * that what rarely has work costs the data path nothing.
 */
export type Pace = 'data' | 'control';

/** What a driver may use. It never gets the hypervisor itself. */
export interface Kernel {
  /** The hypercalls of this domain. */
  readonly hypercalls: Hypercalls;
  /** This domain's connection to the xenstore. */
  readonly store: XenstoreClient;
  /** Injected time. */
  readonly clock: Clock;
  /** Injected chance. */
  readonly random: Random;
  /** Call `handler` from `poll()` whenever `port` was raised. */
  onEvent(port: EvtchnPort, handler: () => void): void;
  /**
   * Be woken by `port`, whose other end is not trusted: machines are polled anyway, so there is no handler. `progress` is
   * any number that changes whenever the port's driver has found work; a peer that keeps raising events without work is
   * held back, for up to a second at a time (XSA-391).
   */
  onPeerEvent(port: EvtchnPort, progress: () => number): void;
  /** Forget the handler of `port`. */
  offEvent(port: EvtchnPort): void;
  /** Have `machine` polled from now on, as often as its pace asks for. */
  add(machine: Stepped, pace?: Pace): void;
  /** Stop polling `machine`. */
  remove(machine: Stepped): void;
  /** Have everything polled soon even without an event: there is staged work that nobody will announce. */
  requestPoll(): void;
}
