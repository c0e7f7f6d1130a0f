// The two buses of a domain: they find its devices in the store and give each its driver.
import type { Kernel } from '../kernel.ts';
import { domainPath } from '../xenstore/path.ts';
import { DeviceNode, readLink, type XenbusSide } from './device-node.ts';
import { below } from './keys.ts';
import type { DeviceClass, XenbusDevice } from './xenbus-device.ts';

/** What front and back buses have in common; only the shape of the directories differs. */
abstract class XenbusBus {
  private readonly kernel: Kernel;
  private readonly side: XenbusSide;
  private readonly root: string;
  private readonly classes = new Map<string, DeviceClass>();
  private readonly devices = new Map<string, DeviceNode>();
  private readonly probing = new Set<string>();
  private endWatch: (() => void) | undefined;

  constructor(kernel: Kernel, side: XenbusSide, classes: readonly DeviceClass[]) {
    this.kernel = kernel;
    this.side = side;
    this.root = below(domainPath(kernel.hypercalls.domid), side === 'front' ? 'device' : 'backend');
    for (const deviceClass of classes) this.classes.set(deviceClass.type, deviceClass);
    // Device directories lie two levels below `device` and three below `backend`; what is inside them is not ours.
    this.endWatch = kernel.store.watch(this.root, (path) => this.changed(path), this.levels);
  }

  /** Devices that have a driver now. */
  list(): readonly XenbusDevice[] {
    return [...this.devices.values()];
  }

  /**
   * Close every device in good order: what is in flight is finished, both ends become Closed. `then` is called once all
   * of ours are; a peer that does not play along is waited for, so bound it with a deadline and `close()`.
   */
  closeDevices(then: () => void): void {
    const nodes = [...this.devices.values()];
    let open = nodes.length + 1;
    const closed = () => {
      open -= 1;
      if (open === 0) then();
    };
    for (const node of nodes) node.close(closed);
    closed();
  }

  /** Let go of every device at once: connections released, drivers removed. States in the store stay as they are. */
  close(): void {
    this.endWatch?.();
    this.endWatch = undefined;
    for (const node of [...this.devices.values()]) this.drop(node);
  }

  private get levels(): number {
    return this.side === 'front' ? 2 : 3;
  }

  private drop(node: DeviceNode): void {
    if (this.devices.get(node.nodePath) === node) this.devices.delete(node.nodePath);
    node.dismiss();
  }

  /** Something appeared or went: look at that device, or at all of them if the event does not name one. */
  private changed(path: string): void {
    const names = path.slice(this.root.length + 1).split('/');
    if (names.length === this.levels) this.probe(names);
    else this.scan(this.root, []);
  }

  private scan(path: string, names: readonly string[]): void {
    this.kernel.store.directory(path, (reply) => {
      if (!reply.ok || this.endWatch === undefined) return;
      for (const name of reply.value) {
        const next = [...names, name];
        if (names.length === 0 && !this.classes.has(name)) continue;
        if (next.length === this.levels) this.probe(next);
        else this.scan(below(path, name), next);
      }
    });
  }

  private probe(names: readonly string[]): void {
    const nodePath = below(this.root, names.join('/'));
    const deviceClass = this.classes.get(names[0] ?? '');
    const known = this.devices.get(nodePath);
    if (known) known.refresh();
    if (known || !deviceClass || this.probing.has(nodePath)) return;
    this.probing.add(nodePath);
    readLink(this.kernel, this.side, nodePath, (link) => {
      this.probing.delete(nodePath);
      if (!link || this.endWatch === undefined || this.devices.has(nodePath)) return;
      if (this.side === 'back' && String(link.otherEndId) !== names[1]) return; // its directory says who it is for
      const node = new DeviceNode({
        kernel: this.kernel,
        side: this.side,
        type: deviceClass.type,
        id: names[names.length - 1] ?? '',
        nodePath,
        link,
        onGone: (gone) => {
          this.drop(gone);
          this.probe(names); // it may have been replaced
        },
      });
      this.devices.set(nodePath, node);
      node.driver = deviceClass.create(node, this.kernel);
      node.start();
    });
  }
}

/**
 * The bus of a guest: devices below `device/`.
 *
 * @example
 * const bus = new XenbusFrontend(kernel, [blockFrontend, netFrontend]);
 */
export class XenbusFrontend extends XenbusBus {
  /** Begin to look for devices of the given classes. */
  constructor(kernel: Kernel, classes: readonly DeviceClass[]) {
    super(kernel, 'front', classes);
  }
}

/**
 * The bus of a driver domain: devices below `backend/`.
 *
 * @example
 * const bus = new XenbusBackend(kernel, [blockBackend, netBackend]);
 */
export class XenbusBackend extends XenbusBus {
  /** Begin to look for devices of the given classes. */
  constructor(kernel: Kernel, classes: readonly DeviceClass[]) {
    super(kernel, 'back', classes);
  }
}
