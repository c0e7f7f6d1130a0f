// Two ends of a paravirtual device joined without a xenstore: for tests of one driver's handshake and data path.
import type { DeviceClass, DomId, Kernel, KeyValues, XenbusDevice, XenbusDriver } from '@splitring/hypervisor';
import { XenbusState, type XenbusStateValue } from '@splitring/hypervisor/io';
import type { SplitringError } from 'sharedarraybuffer-ring';

/** One end: its keys, its state, its driver. */
export class WireEnd implements XenbusDevice {
  readonly type: string;
  readonly nodePath: string;
  readonly otherEndPath: string;
  readonly id: string;
  readonly otherEndId: DomId;
  readonly keys = new Map<string, string>();
  state: XenbusStateValue = XenbusState.Initialising;
  /** The error that this end failed with. */
  failure: SplitringError | undefined;
  other: WireEnd | undefined;
  driver: XenbusDriver | undefined;
  private readonly wire: XenbusWire;
  private readonly watches: { where: 'own' | 'other'; key: string; onChange: () => void }[] = [];

  constructor(wire: XenbusWire, path: string, id: string, otherEnd: { path: string; domid: DomId }) {
    this.wire = wire;
    this.type = 'vbd';
    this.id = id;
    this.nodePath = path;
    this.otherEndPath = otherEnd.path;
    this.otherEndId = otherEnd.domid;
  }

  readKeys(where: 'own' | 'other', keys: readonly string[], then: (values: KeyValues) => void): void {
    this.wire.later(() => {
      const from = where === 'own' ? this.keys : this.other?.keys;
      then(Object.fromEntries(keys.map((key) => [key, from?.get(key)])));
    });
  }

  watchKey(where: 'own' | 'other', key: string, onChange: () => void): () => void {
    const watch = { where, key, onChange };
    this.watches.push(watch);
    this.wire.later(onChange);
    return () => {
      const at = this.watches.indexOf(watch);
      if (at >= 0) this.watches.splice(at, 1);
    };
  }

  publish(entries: Readonly<Record<string, string | number>>, state?: XenbusStateValue, then?: () => void): void {
    for (const [key, value] of Object.entries(entries)) {
      if (this.keys.get(key) === String(value)) continue;
      this.keys.set(key, String(value));
      this.fire('own', key);
      this.other?.fire('other', key);
    }
    const isAgain = state === this.state && Object.keys(entries).length > 0;
    if (state !== undefined && (state !== this.state || isAgain)) {
      this.state = state;
      const { other } = this;
      this.wire.later(() => other?.driver?.otherEndChanged(this.state));
    }
    if (then !== undefined) this.wire.later(then);
  }

  fail(error: SplitringError): void {
    this.failure = error;
    this.publish({}, XenbusState.Closing);
    this.wire.later(() => {
      this.driver?.disconnect();
      this.driver?.failed?.();
    });
  }

  private fire(where: 'own' | 'other', key: string): void {
    for (const watch of this.watches) {
      if (watch.where === where && watch.key === key) this.wire.later(watch.onChange);
    }
  }
}

/** Carries what the ends tell each other, later, in order. */
export class XenbusWire {
  private pending: (() => void)[] = [];

  /** Do something at the next `poll`. */
  later(action: () => void): void {
    this.pending.push(action);
  }

  /** Deliver what is pending. */
  poll(): boolean {
    const { pending } = this;
    this.pending = [];
    for (const action of pending) action();
    return pending.length > 0;
  }

  /** Join a front and a back end of one device. */
  join(
    id: string,
    front: { kernel: Kernel; deviceClass: DeviceClass },
    back: { kernel: Kernel; deviceClass: DeviceClass; keys?: Readonly<Record<string, string>> },
  ): { front: WireEnd; back: WireEnd } {
    const frontAt = { path: `/front/${id}`, domid: front.kernel.hypercalls.domid };
    const backAt = { path: `/back/${id}`, domid: back.kernel.hypercalls.domid };
    const ends = {
      front: new WireEnd(this, frontAt.path, id, backAt),
      back: new WireEnd(this, backAt.path, id, frontAt),
    };
    for (const [key, value] of Object.entries(back.keys ?? {})) ends.back.keys.set(key, value);
    ends.front.other = ends.back;
    ends.back.other = ends.front;
    ends.front.driver = front.deviceClass.create(ends.front, front.kernel);
    ends.back.driver = back.deviceClass.create(ends.back, back.kernel);
    this.later(() => ends.back.driver?.otherEndChanged(ends.front.state));
    this.later(() => ends.front.driver?.otherEndChanged(ends.back.state));
    return ends;
  }
}
