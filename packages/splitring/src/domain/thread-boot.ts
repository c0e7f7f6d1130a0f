// What a domain's thread is started with: plain data, shared buffers, one port.

import type { MessagePort } from 'node:worker_threads';
import type { LinkFaults } from '@splitring/device';
import type { DomainBoot, RoutingId } from '@splitring/hypervisor';

/** A disk that a driver domain shall serve. */
export interface DiskBoot {
  /** Its name in the configuration. */
  readonly name: string;
  /** The controller's PCI function. */
  readonly routingId: RoutingId;
  /** Path of the image file; undefined for a disk in memory. */
  readonly image: string | undefined;
  /** Memory of a disk without an image: it is the platform's and outlives the domain. */
  readonly memory: SharedArrayBuffer | undefined;
  /** Refuse writes. */
  readonly isReadonly: boolean;
}

/** A port's place among the VLANs of its bridge: in one, a trunk of all, or on the untagged network. */
export interface LaneBoot {
  readonly vlan?: number;
  readonly isTrunk?: boolean;
}

/** A way of a bridge out of the machine. */
export type UplinkBoot = {
  readonly lane: LaneBoot;
  readonly bridge: string;
  /** Its position in the configuration of its driver domain. */
  readonly index: number;
} & (
  | {
      readonly vxlan: {
        readonly vni: number;
        readonly remotes: readonly string[];
        readonly port?: number | undefined;
        readonly localAddress?: string | undefined;
      };
    }
  | { readonly listen: string }
  | { readonly connect: string }
);

/** Where, below its home in the xenstore, a driver domain leaves why an uplink is down: there while it is. */
export function uplinkErrorNode(index: number): string {
  return `error/uplink/${index}/error`;
}

/** One function of a network card in a driver domain. */
export interface CardBoot {
  /** Name of its port. */
  readonly name: string;
  /** The bridge that it is a port of. */
  readonly bridge: string;
  /** Its PCI function. */
  readonly routingId: RoutingId;
  /** The address in its memory. */
  readonly mac: Uint8Array;
  /** Queue pairs that its driver uses. */
  readonly queuePairs: number;
  readonly lane: LaneBoot;
}

/** A cable from a card to another one, or to a bridge of that name beyond which sockets lie. */
export interface CableBoot {
  /** The functions of the card; its embedded switch joins several. */
  readonly near: readonly CardBoot[];
  readonly far: CardBoot | { readonly outside: string };
  /** What it does to frames. */
  readonly faults: LinkFaults;
  /** Decides which frames. */
  readonly seed: number;
}

/** Counters that a domain writes and the host reads. */
export interface CountersBoot {
  readonly buffer: SharedArrayBuffer;
  readonly names: readonly string[];
}

/** What a driver domain does. */
export interface DriverRole {
  readonly kind: 'driver';
  readonly disks: readonly DiskBoot[];
  readonly bridges: readonly string[];
  /** Counters that its back ends write. */
  readonly counters: CountersBoot;
  /** Its network cards, by their cables. */
  readonly cables: readonly CableBoot[];
  /** Ways of its bridges, or from its cables, out of the machine. */
  readonly uplinks: readonly UplinkBoot[];
  /** Capture files by bridge. */
  readonly captures: Readonly<Record<string, string>>;
}

/** What a guest does. */
export interface GuestRole {
  readonly kind: 'guest';
  /** URL of the module whose default export is the program. */
  readonly program: string;
  /** Plain data for it. */
  readonly args: unknown;
  /** Disks to wait for. */
  readonly disks: readonly string[];
  /** Number of network cards to wait for. */
  readonly nics: number;
  /** Counters that the program writes. */
  readonly counters: CountersBoot;
}

/** Everything that a domain's thread needs to start. */
export interface ThreadBoot {
  /** The domain's name. */
  readonly name: string;
  /** For its hypercalls. */
  readonly hypervisor: DomainBoot;
  /** Its end of the control channel; absent in a simulation, where calls take its place. */
  readonly control: MessagePort | undefined;
  /** What it does. */
  readonly role: DriverRole | GuestRole;
  /** One word [HOST]: empty polls before a sleep; it follows the number of domains. */
  readonly spinPolls: Int32Array;
}

/** How a domain's program ended, as plain data: an error's class and fields do not survive the way out of a thread. */
export type ThreadResult =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly name: string; readonly code: string | undefined; readonly message: string };
