// The front end's side of the device protocol as a table; a device class fills in what happens at its steps.
import { XenbusState, type XenbusStateValue } from '../io/xenbus-state.ts';
import type { KeyEntries } from './backend-driver.ts';
import type { XenbusDevice, XenbusDriver } from './xenbus-device.ts';

/** What a front end does at the steps of the protocol. A `then` that comes after a disconnect is ignored. */
export interface FrontendHooks {
  /**
   * A back end waits: read its features, allocate rings, grants and ports, and answer with the keys, published with
   * Initialised (or `handshakeState`). After a reconnection the same, with fresh rings.
   */
  handshake(then: (keys: KeyEntries) => void): void;
  /** The back end is Connected: read the device's keys, go live, then answer; what was in flight is replayed here. */
  live(then: () => void): void;
  /** The back end has written Connected again: what can change (a size) has changed. */
  changed?(): void;
  /** The back end is closing: take nothing new, finish what is in flight, then answer. Still connected meanwhile. */
  drain(then: () => void): void;
  /** Drop rings, grants and ports; keep the shadow of what is in flight for a replay. Idempotent. */
  disconnect(): void;
  /** The connection has failed, and no other follows unless the toolstack begins anew: what is in flight fails. */
  failed?(): void;
  /** The device is gone for good: what is in flight fails. */
  remove(): void;
  /** State published with the handshake: Initialised (block; the default) or Connected (net). */
  readonly handshakeState?: typeof XenbusState.Initialised | typeof XenbusState.Connected;
}

/** What a front end does about the back end's state. */
type Action = 'handshake' | 'live' | 'close' | 'giveUp' | 'restart' | 'closed';

const CLOSE_BOTH = { 5: 'close', 6: 'close' } as const;
const LOST = { 0: 'restart', 1: 'restart' } as const;

/**
 * Own state by back state. Nothing means: wait.
 *
 * Unlike Linux a front end that is Initialising waits for InitWait even when the back end is still Connected to the
 * connection before, and one whose back end is gone or begins anew goes back to Initialising: this is how it outlives
 * its driver domain. A front end that is Closed stays so until the toolstack sets it back to Initialising.
 */
export const FRONTEND_ACTIONS: Readonly<
  Partial<Record<XenbusStateValue, Readonly<Partial<Record<XenbusStateValue, Action>>>>>
> = {
  1: { 2: 'handshake', 5: 'giveUp', 6: 'giveUp' },
  3: { 4: 'live', ...CLOSE_BOTH, ...LOST },
  4: { 4: 'live', ...CLOSE_BOTH, ...LOST },
  5: { 0: 'closed', 1: 'closed', 2: 'closed', 5: 'closed', 6: 'closed' },
};

/**
 * Make the driver of one front-end device from its hooks.
 *
 * @example
 * create: (device, kernel) => createFrontendDriver(device, new BlockFrontend(device, kernel))
 */
export function createFrontendDriver(device: XenbusDevice, hooks: FrontendHooks): XenbusDriver {
  return new FrontendDriver(device, hooks);
}

class FrontendDriver implements XenbusDriver {
  private readonly device: XenbusDevice;
  private readonly hooks: FrontendHooks;
  private back: XenbusStateValue = XenbusState.Unknown;
  private isBusy = false;
  private isConnected = false;
  private isLive = false;
  private isDraining = false;
  private isRemoved = false;
  /** We closed for good, or failed: the back end's wish to begin anew is not followed. */
  private isFinal = false;
  /** Counts what made hooks' pending answers worthless. */
  private epoch = 0;

  constructor(device: XenbusDevice, hooks: FrontendHooks) {
    this.device = device;
    this.hooks = hooks;
  }

  otherEndChanged(state: XenbusStateValue): void {
    this.back = state;
    const isGone = state === XenbusState.Unknown || state === XenbusState.Closed || state === XenbusState.Initialising;
    if (isGone && this.isDraining) this.drained(this.epoch);
    else this.advance(true);
  }

  ownStateForced(state: XenbusStateValue): void {
    this.reset();
    this.isFinal = state === XenbusState.Closing || state === XenbusState.Closed;
    this.advance(false);
  }

  close(): void {
    if (this.isFinal) return;
    this.isFinal = true;
    this.drain(XenbusState.Closing);
  }

  /** Called from outside when the connection has failed, the device moved to another back end, or it goes. */
  disconnect(): void {
    this.isFinal = this.device.state === XenbusState.Closing;
    this.reset();
  }

  failed(): void {
    this.hooks.failed?.();
  }

  remove(): void {
    if (this.isRemoved) return;
    this.isRemoved = true;
    this.hooks.remove();
  }

  private reset(): void {
    this.epoch += 1;
    this.isBusy = false;
    this.isLive = false;
    this.isDraining = false;
    if (!this.isConnected) return;
    this.isConnected = false;
    this.hooks.disconnect();
  }

  private advance(isEvent: boolean): void {
    if (this.isBusy || this.isRemoved) return;
    const action = FRONTEND_ACTIONS[this.device.state]?.[this.back];
    if (action === 'handshake') this.handshake();
    else if (action === 'live') this.goLive(isEvent);
    else if (action === 'close') this.drain(XenbusState.Closed);
    else if (action === 'closed') this.become(XenbusState.Closed);
    else if (action === 'giveUp') this.giveUp();
    else if (action === 'restart' && !this.isFinal) this.become(XenbusState.Initialising);
  }

  private handshake(): void {
    this.isBusy = true;
    this.isConnected = true; // from the first resource that the hook takes
    const { epoch } = this;
    this.hooks.handshake((keys) => {
      if (epoch === this.epoch) this.publish(keys, this.hooks.handshakeState ?? XenbusState.Initialised);
    });
  }

  private goLive(isEvent: boolean): void {
    if (this.isLive) {
      if (isEvent) this.hooks.changed?.();
      return;
    }
    this.isBusy = true;
    const { epoch } = this;
    this.hooks.live(() => {
      if (epoch !== this.epoch) return;
      this.isLive = true;
      this.publish({}, XenbusState.Connected);
    });
  }

  /** Release the connection, if any, and say so. */
  private become(state: XenbusStateValue): void {
    this.reset();
    this.publish({}, state);
  }

  /** A back end that closes while we only wait: it either goes for good or is about to begin anew. */
  private giveUp(): void {
    const { epoch } = this;
    this.device.readKeys('other', ['online'], ({ online }) => {
      if (epoch === this.epoch && !this.isBusy && online === '0') this.become(XenbusState.Closed);
    });
  }

  private drain(next: XenbusStateValue): void {
    if (this.isDraining) return;
    this.isDraining = true;
    this.isBusy = true;
    const { epoch } = this;
    if (this.isLive) this.hooks.drain(() => this.drained(epoch, next));
    else this.drained(epoch, next);
  }

  /** Closing keeps the connection until the back end has let go of it; Closed gives it up. */
  private drained(epoch: number, next: XenbusStateValue = XenbusState.Closed): void {
    if (epoch !== this.epoch) return;
    this.isDraining = false;
    if (next === XenbusState.Closing) this.publish({}, next);
    else this.become(next);
  }

  private publish(keys: KeyEntries, state: XenbusStateValue): void {
    this.isBusy = true;
    const { epoch } = this;
    this.device.publish(keys, state, () => {
      if (epoch !== this.epoch) return;
      this.isBusy = false;
      this.advance(false);
    });
  }
}
