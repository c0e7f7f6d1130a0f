// A VXLAN tunnel to other hosts over a UDP socket of Node; their kernels, or other driver domains, are the other ends.
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import type { Kernel } from '@splitring/hypervisor';
import type { Bridge } from './bridge.ts';
import { Uplink } from './uplink.ts';
import { decapsulate, encapsulate, VXLAN_PORT } from './vxlan.ts';

/** How a tunnel is made. */
export interface VxlanOptions {
  /** Network identifier, 0 … 2^24 − 1. */
  readonly vni: number;
  /** Addresses of the other hosts; every one gets its own copy of a flooded frame. */
  readonly remotes: readonly string[];
  /** UDP port of all hosts; 4789 by default. */
  readonly port?: number;
  /** Address to bind to; all by default. */
  readonly localAddress?: string;
}

/** Datagrams that may wait in the socket; more are dropped. */
const MAX_QUEUED = 256;

/** An open tunnel. */
export interface Vxlan {
  /** One port of the bridge for each remote host. */
  readonly uplinks: ReadonlyMap<string, Uplink>;
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
  const { vni, remotes, port = VXLAN_PORT, localAddress } = options;
  encapsulate(vni, new Uint8Array()); // refuses a bad network before anything is opened
  const socket = createSocket({ type: localAddress?.includes(':') === true ? 'udp6' : 'udp4' });
  await bound(socket, port, localAddress);
  let queued = 0;
  const sent = () => {
    queued -= 1;
  };
  const uplinks = new Map(
    remotes.map((remote): [string, Uplink] => {
      const carry = (frame: Uint8Array) => {
        if (queued >= MAX_QUEUED) return false;
        queued += 1;
        socket.send(encapsulate(vni, frame), port, remote, sent);
        return true;
      };
      const link = { splitHorizon: `vxlan ${vni}` };
      return [remote, new Uplink(`vxlan${vni}-${remote}`, bridge, kernel, carry, link)];
    }),
  );
  socket.on('message', (datagram: Uint8Array, from: RemoteInfo) => {
    const uplink = uplinks.get(from.address); // a stranger is not answered and not listened to
    const frame = uplink && decapsulate(vni, datagram);
    if (frame !== undefined) uplink?.input(frame);
    else uplink?.refuse();
  });
  socket.on('error', () => undefined); // a remote that is not there: its frames are lost, as on any wire
  return {
    uplinks,
    close: () =>
      new Promise((resolve) => {
        for (const uplink of uplinks.values()) uplink.close();
        socket.close(() => resolve());
      }),
  };
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
