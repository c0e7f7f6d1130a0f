// A VXLAN tunnel to other hosts over a UDP socket of Node; their kernels, or other driver domains, are the other ends.
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6, SocketAddress } from 'node:net';
import type { Kernel } from '@splitring/hypervisor';
import type { Bridge, LinkOptions } from './bridge.ts';
import { Uplink } from './uplink.ts';
import { decapsulate, encapsulate, VXLAN_PORT } from './vxlan.ts';

/** How a tunnel is made. */
export interface VxlanOptions {
  /** Network identifier, 0 … 2^24 − 1. */
  readonly vni: number;
  /** Addresses of the other hosts, all IPv4 or all IPv6; every one gets its own copy of a flooded frame. */
  readonly remotes: readonly string[];
  /** UDP port of all hosts; 4789 by default. */
  readonly port?: number;
  /** Address to bind to; all by default. */
  readonly localAddress?: string;
  /** The ports' place on the bridge. */
  readonly link?: LinkOptions;
}

/** Datagrams that may wait in the socket; more are dropped. */
const MAX_QUEUED = 256;

/** An open tunnel. */
export interface Vxlan {
  /** One port of the bridge for each remote host. */
  readonly uplinks: ReadonlyMap<string, Uplink>;
  /** Datagrams that came from none of them, so far. */
  readonly strangers: number;
  /** Close the socket and leave the bridge. */
  close(): Promise<void>;
}

/**
 * Connect a bridge with other hosts. Frames of one remote host never go to another: they all have tunnels to each other.
 * Give guests an MTU of 1450 where the path between the hosts carries 1500.
 *
 * @example
 * const tunnel = await openVxlan(bridge, kernel, { vni: 42, remotes: ['10.200.0.2'] });
 */
export async function openVxlan(bridge: Bridge, kernel: Kernel, options: VxlanOptions): Promise<Vxlan> {
  const { vni, port = VXLAN_PORT, localAddress } = options;
  encapsulate(vni, new Uint8Array()); // refuses a bad network before anything is opened
  const remotes = [...new Set(options.remotes.map(canonical))];
  const isV6 = isIPv6(localAddress ?? remotes[0] ?? '');
  const other = remotes.find((remote) => isIPv6(remote) !== isV6);
  if (other !== undefined) throw new RangeError(`Cannot reach ${other} over ${isV6 ? 'IPv6' : 'IPv4'}`);
  const socket = createSocket({ type: isV6 ? 'udp6' : 'udp4' });
  await bound(socket, port, localAddress);
  let queued = 0;
  let strangers = 0;
  const link = { ...options.link, splitHorizon: `vxlan ${vni}` };
  const open = (remote: string): Uplink => {
    const uplink: Uplink = new Uplink(
      `vxlan${vni}-${remote}`,
      bridge,
      kernel,
      (frame) => {
        if (queued >= MAX_QUEUED) return false;
        queued += 1;
        socket.send(encapsulate(vni, frame), port, remote, (error) => {
          queued -= 1;
          if (error !== null) uplink.failed(); // a remote that is not there: lost, as on any wire, but counted
        });
        return true;
      },
      link,
    );
    return uplink;
  };
  const uplinks = new Map(remotes.map((remote) => [remote, open(remote)]));
  socket.on('message', (datagram: Uint8Array, from: RemoteInfo) => {
    const uplink = uplinks.get(from.address);
    if (uplink === undefined) {
      strangers += 1; // not answered and not listened to
      return;
    }
    const frame = decapsulate(vni, datagram);
    if (frame === undefined) uplink.refuse();
    else uplink.input(frame);
  });
  socket.on('error', () => undefined); // of sending: each frame's own callback has it, too
  return {
    uplinks,
    get strangers() {
      return strangers;
    },
    close: () =>
      new Promise((resolve) => {
        for (const uplink of uplinks.values()) uplink.close();
        socket.close(() => resolve());
      }),
  };
}

/** An address as the system writes it: one host, one name. */
function canonical(address: string): string {
  return new SocketAddress({ address, family: isIPv6(address) ? 'ipv6' : 'ipv4' }).address;
}

function bound(socket: Socket, port: number, address: string | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ port, ...(address === undefined ? {} : { address }) }, () => {
      socket.off('error', reject);
      resolve();
    });
  });
}
