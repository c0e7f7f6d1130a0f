// One device as its directory in the store: own keys and state, the other end's state, and what the toolstack does to it.
import type { SplitringError } from 'sharedarraybuffer-ring';
import type { DomId } from '../ids.ts';
import { XenbusState, type XenbusStateValue } from '../io/xenbus-state.ts';
import type { Kernel } from '../kernel.ts';
import { domainPath } from '../xenstore/path.ts';
import { below, parseKey, parseState } from './keys.ts';
import { Publisher } from './publisher.ts';
import type { KeyValues, XenbusDevice, XenbusDriver } from './xenbus-device.ts';

/** Which end of the channel a device directory belongs to. */
export type XenbusSide = 'front' | 'back';

/** What a device directory says about its link; from our own directory only. */
export interface DeviceLink {
  /** The peer's directory. */
  readonly otherEndPath: string;
  /** The peer. */
  readonly otherEndId: DomId;
  /** Own state as it stands in the store. */
  readonly state: XenbusStateValue;
  /** Names this attachment: another one is another device, even under the same id. */
  readonly attachment: string | undefined;
}

/** Greatest ordinary domid. */
const DOMID_MAX = 0x7fef;

/** A device node with its driver. */
export class DeviceNode implements XenbusDevice {
  readonly type: string;
  readonly id: string;
  readonly nodePath: string;
  /** Set once, right after construction. */
  driver: XenbusDriver | undefined;
  private readonly kernel: Kernel;
  private readonly side: XenbusSide;
  private readonly onGone: (node: DeviceNode) => void;
  private readonly publisher: Publisher;
  private link: DeviceLink;
  private ownState: XenbusStateValue;
  private readonly watches: (() => void)[] = [];
  private otherWatches: (() => void)[] = [];
  private isGone = false;
  /** Our directory may have changed while we were writing into it. */
  private isStale = false;
  private hasFailed = false;
  private readonly whenClosed: (() => void)[] = [];

  /** Made by a bus, for a directory whose link it has read. */
  constructor(options: {
    readonly kernel: Kernel;
    readonly side: XenbusSide;
    readonly type: string;
    readonly id: string;
    readonly nodePath: string;
    readonly link: DeviceLink;
    readonly onGone: (node: DeviceNode) => void;
  }) {
    this.kernel = options.kernel;
    this.side = options.side;
    this.type = options.type;
    this.id = options.id;
    this.nodePath = options.nodePath;
    this.link = options.link;
    this.ownState = options.link.state;
    this.onGone = options.onGone;
    this.publisher = new Publisher(this.kernel.store, this.nodePath, {
      expected: () => this.ownState,
      written: (state) => {
        this.ownState = state;
        if (state === XenbusState.Closed) this.reportClosed();
      },
      overtaken: () => this.refresh(),
      refused: (error) => this.fail(error),
      idle: () => {
        if (this.isStale) this.refresh();
      },
    });
  }

  get otherEndPath(): string {
    return this.link.otherEndPath;
  }

  get otherEndId(): DomId {
    return this.link.otherEndId;
  }

  get state(): XenbusStateValue {
    return this.ownState;
  }

  /** Start listening: to our own directory for the toolstack, to the other end for its state. */
  start(): void {
    const { store } = this.kernel;
    // Whatever the toolstack does to a device, it writes our state with it.
    this.watches.push(store.watch(below(this.nodePath, 'state'), () => this.refresh(), 0));
    this.watchOtherEnd();
  }

  readKeys(where: 'own' | 'other', keys: readonly string[], then: (values: KeyValues) => void): void {
    this.readAt(where === 'own' ? this.nodePath : this.otherEndPath, keys, then);
  }

  watchKey(where: 'own' | 'other', key: string, onChange: () => void): () => void {
    const path = below(where === 'own' ? this.nodePath : this.otherEndPath, key);
    const list = where === 'own' ? this.watches : this.otherWatches;
    const end = this.kernel.store.watch(path, onChange);
    list.push(end);
    return () => {
      const at = list.indexOf(end);
      if (at >= 0) list.splice(at, 1);
      end();
    };
  }

  publish(entries: Readonly<Record<string, string | number>>, state?: XenbusStateValue, then?: () => void): void {
    if (!this.isGone) this.publisher.publish(entries, state, then);
  }

  fail(error: SplitringError): void {
    if (this.isGone) return;
    const home = `${domainPath(this.kernel.hypercalls.domid)}/`;
    const name = this.nodePath.startsWith(home) ? this.nodePath.slice(home.length) : this.nodePath.slice(1);
    this.kernel.store.write(
      `error/${name}/error`,
      `${error.code} ${error.message}`.replace(/[^ -~]/g, '?').slice(0, 1024),
    );
    this.publisher.cancel();
    const isFirst = !this.hasFailed; // a store that refuses even this would be asked for ever
    this.hasFailed = true;
    if (isFirst && this.ownState !== XenbusState.Closed) {
      this.publish({}, XenbusState.Closing, () => {
        this.hasFailed = false;
        this.readOtherEnd(); // it may have closed before we did
      });
    }
    this.driver?.disconnect();
    this.driver?.failed?.();
  }

  /** Look again at our own directory: removed, replaced, moved to another back end, or its state set by the toolstack. */
  refresh(): void {
    readLink(this.kernel, this.side, this.nodePath, (link) => {
      if (this.isGone) return;
      this.isStale = this.publisher.isBusy; // then look once more when our own writing is over
      if (!link || link.attachment !== this.link.attachment) this.onGone(this);
      else if (this.publisher.isBusy)
        return; // what we are writing now; the publisher tells if it was overtaken
      else this.follow(link);
    });
  }

  /** Ask the driver to close in good order. `then` is called once we are Closed, or the device is gone. */
  close(then: () => void): void {
    if (this.isGone || this.ownState === XenbusState.Closed || !this.driver?.close) {
      then();
      return;
    }
    this.whenClosed.push(then);
    this.driver.close();
  }

  /** The directory is gone or the bus closes: no event from now on, everything released. */
  dismiss(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.publisher.cancel();
    for (const end of [...this.watches, ...this.otherWatches]) end();
    this.driver?.disconnect();
    this.driver?.remove();
    this.reportClosed();
  }

  private reportClosed(): void {
    for (const report of this.whenClosed.splice(0)) report();
  }

  private follow(link: DeviceLink): void {
    const hasMoved = link.otherEndPath !== this.link.otherEndPath || link.otherEndId !== this.link.otherEndId;
    const isForced = link.state !== this.ownState;
    this.link = link;
    this.ownState = link.state;
    if (hasMoved) {
      this.driver?.disconnect();
      if (link.state !== XenbusState.Initialising) this.publish({}, XenbusState.Initialising);
      this.watchOtherEnd();
    } else if (isForced) {
      if (this.driver?.ownStateForced) this.driver.ownStateForced(link.state);
      else if (link.state === XenbusState.Initialising) this.driver?.disconnect();
      this.readOtherEnd();
    }
  }

  private watchOtherEnd(): void {
    for (const end of this.otherWatches) end();
    const path = below(this.otherEndPath, 'state');
    this.otherWatches = [this.kernel.store.watch(path, () => this.readOtherEnd(), 0)];
  }

  /** The value counts as it is now; a front end that does not point back at us counts as not there. */
  private readOtherEnd(): void {
    const path = this.otherEndPath;
    const keys = this.side === 'back' ? ['state', 'backend'] : ['state'];
    this.readAt(path, keys, (values) => {
      if (this.isGone || path !== this.otherEndPath) return;
      const { state, backend } = values;
      const isOurs = this.side === 'front' || backend === this.nodePath;
      this.driver?.otherEndChanged(isOurs ? parseState(state) : XenbusState.Unknown);
    });
  }

  private readAt(path: string, keys: readonly string[], then: (values: KeyValues) => void): void {
    readValues(this.kernel, path, keys, (values) => {
      if (!this.isGone) then(values);
    });
  }
}

/** The key in our own directory that names the other end's. */
function linkKey(side: XenbusSide): 'backend' | 'frontend' {
  return side === 'front' ? 'backend' : 'frontend';
}

/** Read several keys below `path`; all answers come before `then`. */
export function readValues(
  kernel: Kernel,
  path: string,
  keys: readonly string[],
  then: (values: KeyValues) => void,
): void {
  const values: Record<string, string | undefined> = {};
  let missing = keys.length;
  for (const key of keys) {
    kernel.store.read(below(path, key), (reply) => {
      values[key] = reply.ok ? reply.value : undefined;
      missing -= 1;
      if (missing === 0) then(values);
    });
  }
}

/** Read the link of a device directory. @returns through `then` undefined if it is not (or no longer) a device */
export function readLink(
  kernel: Kernel,
  side: XenbusSide,
  nodePath: string,
  then: (link: DeviceLink | undefined) => void,
): void {
  const key = linkKey(side);
  readValues(kernel, nodePath, [key, `${key}-id`, 'state', 'attachment'], (values) => {
    const { state, attachment } = values;
    const otherEndPath = values[key];
    const domid = parseKey(values[`${key}-id`], { min: 0, max: DOMID_MAX });
    const isWhole = state !== undefined && otherEndPath !== undefined && domid !== undefined;
    if (!isWhole || !otherEndPath.startsWith(`${domainPath(domid)}/`)) then(undefined);
    // The cast: a number just checked to be an ordinary domid.
    else then({ otherEndPath, otherEndId: domid as DomId, state: parseState(state), attachment });
  });
}
