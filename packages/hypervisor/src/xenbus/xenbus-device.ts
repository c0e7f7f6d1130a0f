// A paravirtual device as its driver sees it, the same for front and back ends, and how a class of devices is added.
import type { SplitringError } from 'sharedarraybuffer-ring';
import type { DomId } from '../ids.ts';
import type { XenbusStateValue } from '../io/xenbus-state.ts';
import type { Kernel } from '../kernel.ts';

/** Values of several keys, `undefined` where a key is missing. */
export type KeyValues = Readonly<Record<string, string | undefined>>;

/** One device, seen from one end. */
export interface XenbusDevice {
  /** Device type: `vbd`, `vif` … */
  readonly type: string;
  /** Own directory, e.g. `/local/domain/3/device/vbd/51712`. */
  readonly nodePath: string;
  /** The last component of the front path: the device's number in its guest. */
  readonly id: string;
  /** The peer's directory, taken from our own directory, never from the peer's. */
  readonly otherEndPath: string;
  /** The peer's domid, likewise. */
  readonly otherEndId: DomId;
  /** Own state, as last written. */
  readonly state: XenbusStateValue;
  /** Read keys below the own or the other end's directory (`queue-0/ring-ref` is a key). */
  readKeys(where: 'own' | 'other', keys: readonly string[], then: (values: KeyValues) => void): void;
  /**
   * Watch a key below the own or the other end's directory; fires once at once. Ends with the device, or when the
   * other end becomes another one. @returns a function that ends it earlier
   */
  watchKey(where: 'own' | 'other', key: string, onChange: () => void): () => void;
  /**
   * Write keys below the own directory and, if given, the own state, in one transaction that is retried on conflict.
   * A device directory that was deleted meanwhile is not created again, and a state that somebody else has set is not
   * overwritten: `then` is not called in either case. Setting the same state again writes nothing, unless there are
   * entries: then the state is written again, so that the other end looks (a disk's new size).
   */
  publish(entries: Readonly<Record<string, string | number>>, state?: XenbusStateValue, then?: () => void): void;
  /** Report a fatal error: `error/<path>/error`, then Closing. The driver's `disconnect` follows. */
  fail(error: SplitringError): void;
}

/**
 * The driver's half. States are re-read at handling time: they may repeat and may be skipped, so every method is
 * idempotent.
 */
export interface XenbusDriver {
  /** The other end is in `state` now. */
  otherEndChanged(state: XenbusStateValue): void;
  /** Release everything that ties us to the peer (rings, grants, ports); the device may connect again. Idempotent. */
  disconnect(): void;
  /** The connection has failed for good and nobody follows it (`fail`); `disconnect` has been called. */
  failed?(): void;
  /** The device is gone for good (unplugged, or the domain ends). Idempotent; `disconnect` has been called. */
  remove(): void;
  /** The toolstack has set our own state: to Closing (an orderly unplug), or back to Initialising (begin anew). */
  ownStateForced?(state: XenbusStateValue): void;
  /** Begin an orderly close from our side. */
  close?(): void;
}

/** A class of devices: what to make when a device of `type` appears on this side. */
export interface DeviceClass {
  /** Directory name: `vbd`, `vif` … */
  readonly type: string;
  /** Make the driver of one device. */
  create(device: XenbusDevice, kernel: Kernel): XenbusDriver;
}
