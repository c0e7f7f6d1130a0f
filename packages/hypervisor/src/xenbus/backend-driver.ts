// The back end's side of the device protocol as a table; a device class fills in what happens at its steps.
import { SplitringError } from 'sharedarraybuffer-ring';
import { XenbusState, type XenbusStateValue } from '../io/xenbus-state.ts';
import type { XenbusDevice, XenbusDriver } from './xenbus-device.ts';

/** Keys to publish. */
export type KeyEntries = Readonly<Record<string, string | number>>;

/** What a back end does at the steps of the protocol. A `then` that comes after a disconnect is ignored. */
export interface BackendHooks {
  /** A front end may come: answer with the features to publish before InitWait. */
  offer(then: (features: KeyEntries) => void): void;
  /**
   * The front end has published its keys: read and check them, map the rings, bind the ports, and answer with the
   * device's keys, published with Connected. Refuse with `device.fail(error)`.
   */
  connect(then: (deviceKeys: KeyEntries) => void): void;
  /** Unmap and unbind everything. Idempotent. */
  disconnect(): void;
  /** The device is gone for good. */
  remove(): void;
  /** Which front state means that its keys are complete: Initialised (block; the default) or Connected (net). */
  readonly connectsOn?: typeof XenbusState.Initialised | typeof XenbusState.Connected;
  /** The front end is Reconfiguring: look at its keys again, then answer. Without this it is a fatal error. */
  reconfigure?(then: (keys: KeyEntries) => void): void;
}

/** A back end goes for one of these. */
type Target = 2 | 4 | 5 | 6;
/** States in which a back end can be. */
type Own = 1 | 2 | 4 | 5 | 6;
interface Step {
  readonly to: Own;
  readonly by?: 'offer' | 'connect' | 'disconnect';
}

const OFFER: Step = { to: 2, by: 'offer' };
const CLOSE: Step = { to: 5, by: 'disconnect' };

/**
 * One step from the own state towards the target; none when there. Whatever the front end jumps to, the back end walks,
 * and each step does its work once. Closed with target Closing really occurs, and ends at Closing.
 * @see Linux drivers/net/xen-netback/xenbus.c, set_backend_state
 */
export const BACKEND_STEPS: Readonly<Record<Own, Readonly<Partial<Record<Target, Step>>>>> = {
  1: { 2: OFFER, 4: OFFER, 5: OFFER, 6: { to: 6 } },
  2: { 4: { to: 4, by: 'connect' }, 5: { to: 5 }, 6: { to: 5 } },
  4: { 2: CLOSE, 5: CLOSE, 6: CLOSE },
  5: { 2: { to: 6 }, 4: { to: 6 }, 6: { to: 6 } },
  6: { 2: OFFER, 4: OFFER, 5: { to: 5 } },
};

/** What the front end's state makes the back end go for. `connect` is 4 if its keys are complete by then. */
const TARGETS: readonly (Target | 'connect' | 'reconfigure' | 'stay' | 'fatal')[] = [
  6, // Unknown: the front directory is gone, or does not point back at us
  2, // Initialising: be ready for it, from the beginning
  'stay', // InitWait: front ends have no such state
  'connect', // Initialised
  4, // Connected
  5, // Closing
  6, // Closed
  'reconfigure', // Reconfiguring
  'fatal', // Reconfigured: ours to say
];

/**
 * Make the driver of one back-end device from its hooks.
 *
 * @example
 * create: (device, kernel) => createBackendDriver(device, new BlockBackend(device, kernel))
 */
export function createBackendDriver(device: XenbusDevice, hooks: BackendHooks): XenbusDriver {
  return new BackendDriver(device, hooks);
}

class BackendDriver implements XenbusDriver {
  private readonly device: XenbusDevice;
  private readonly hooks: BackendHooks;
  private front: XenbusStateValue = XenbusState.Unknown;
  private isBusy = false;
  private isConnected = false;
  private isRemoved = false;
  /** The toolstack wants the device gone; serve on until the front end has let go. */
  private isClosing = false;
  /** The connection failed for good: nothing is tried again until the front end begins anew. */
  private hasFailed = false;
  /** Counts what made hooks' pending answers worthless. */
  private epoch = 0;

  constructor(device: XenbusDevice, hooks: BackendHooks) {
    this.device = device;
    this.hooks = hooks;
  }

  otherEndChanged(state: XenbusStateValue): void {
    this.front = state;
    if (state === XenbusState.Initialising) this.hasFailed = false;
    this.advance();
  }

  ownStateForced(state: XenbusStateValue): void {
    this.isBusy = false;
    this.epoch += 1;
    if (state === XenbusState.Closing) this.isClosing = true;
    else this.release();
    this.advance();
  }

  close(): void {
    this.isClosing = true;
    if (this.device.state !== XenbusState.Closed) this.device.publish({}, XenbusState.Closing, () => this.advance());
  }

  /** Called from outside only when the connection has failed or the device goes. */
  disconnect(): void {
    this.hasFailed = true;
    this.isBusy = false;
    this.epoch += 1;
    this.release();
  }

  remove(): void {
    if (this.isRemoved) return;
    this.isRemoved = true;
    this.hooks.remove();
  }

  private release(): void {
    if (!this.isConnected) return;
    this.isConnected = false;
    this.hooks.disconnect();
  }

  private target(): Target | 'reconfigure' | 'stay' | 'fatal' {
    const wanted = TARGETS[this.front] ?? 'fatal';
    const isUp = wanted === 4 || wanted === 'connect' || wanted === 'reconfigure';
    if (this.isClosing) return isUp ? 'stay' : 6;
    if (this.hasFailed) return wanted === 5 || wanted === 6 ? wanted : 'stay';
    if (wanted !== 'connect') return wanted;
    return (this.hooks.connectsOn ?? XenbusState.Initialised) === XenbusState.Initialised ? 4 : 'stay';
  }

  private advance(): void {
    if (this.isBusy || this.isRemoved) return;
    const target = this.target();
    if (target === 'stay') return;
    if (target === 'fatal' || (target === 'reconfigure' && !this.hooks.reconfigure)) {
      this.device.fail(badState(this.device, this.front));
      return;
    }
    if (target === 'reconfigure') {
      this.reconfigure();
      return;
    }
    const own = OWN_STATES.find((state) => state === this.device.state);
    const step = own && BACKEND_STEPS[own][target];
    if (step) this.take(step);
  }

  private take(step: Step): void {
    this.isBusy = true;
    const { epoch } = this;
    const publish = (entries: KeyEntries) => {
      if (epoch !== this.epoch) return;
      this.device.publish(entries, step.to, () => {
        if (epoch !== this.epoch) return;
        this.isBusy = false;
        this.advance();
      });
    };
    if (step.by === 'offer') {
      this.hooks.offer(publish);
    } else if (step.by === 'connect') {
      this.isConnected = true; // from the first resource that the hook takes
      this.hooks.connect(publish);
    } else {
      this.release();
      publish({});
    }
  }

  private reconfigure(): void {
    if (!this.hooks.reconfigure || this.device.state !== XenbusState.Connected) return;
    this.isBusy = true;
    const { epoch } = this;
    this.hooks.reconfigure((keys) => {
      if (epoch !== this.epoch) return;
      this.device.publish(keys, XenbusState.Reconfigured, () => {
        this.isBusy = false;
        this.advance();
      });
    });
  }
}

function badState(device: XenbusDevice, state: XenbusStateValue): SplitringError {
  const { nodePath, otherEndId } = device;
  const message = `Cannot serve ${nodePath}: the front end is in state ${state}, which has no meaning here`;
  return new SplitringError('XENBUS_FRONT_STATE', message, { path: nodePath, domid: otherEndId, state });
}

const OWN_STATES: readonly Own[] = [1, 2, 4, 5, 6];
