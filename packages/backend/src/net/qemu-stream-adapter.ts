// Sockets that speak QEMU's stream framing: QEMU guests attach to the bridge, or the bridge attaches to passt.
import { connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net';
import type { Kernel, Stepped } from '@splitring/hypervisor';
import type { Bridge } from './bridge.ts';
import { frameForStream, StreamDecoder } from './stream-framing.ts';
import { Uplink } from './uplink.ts';

/** Where a socket lies: a path (Unix), or a port and host (TCP). */
export type StreamAddress = { readonly path: string } | { readonly port: number; readonly host?: string };

/** Bytes that may wait for a slow peer; frames beyond are dropped. */
const MAX_WAITING_BYTES = 4 << 20;

/** An open listener. */
export interface StreamListener {
  /** Uplinks of the peers attached now. */
  readonly uplinks: ReadonlySet<Uplink>;
  /** Stop listening and drop every peer. */
  close(): Promise<void>;
}

/**
 * Let peers attach: `qemu-system-x86_64 -netdev stream,id=n0,server=off,addr.type=unix,addr.path=PATH …`.
 *
 * @example
 * const listener = await listenForStreams(bridge, kernel, { path: '/run/lan0.sock' });
 */
export async function listenForStreams(
  bridge: Bridge,
  kernel: Kernel,
  address: StreamAddress,
): Promise<StreamListener> {
  const uplinks = new Set<Uplink>();
  const sockets = new Set<Socket>();
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    const uplink = attach(`stream${count}`, bridge, kernel, socket);
    sockets.add(socket);
    uplinks.add(uplink);
    socket.once('close', () => {
      sockets.delete(socket);
      uplinks.delete(uplink);
    });
  });
  await listening(server, address);
  const waiting: Stepped = { poll: () => false, usesEventLoop: () => true }; // a peer may come at any time
  kernel.add(waiting);
  return {
    uplinks,
    close: () =>
      new Promise((resolve) => {
        kernel.remove(waiting);
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

/** Attach the bridge to a peer that listens, such as passt. @returns the uplink; it closes when the peer goes */
export async function connectStream(
  bridge: Bridge,
  kernel: Kernel,
  address: StreamAddress,
): Promise<{ readonly uplink: Uplink; readonly closed: Promise<void>; close(): void }> {
  const options: NetConnectOpts = { ...address };
  const socket = await new Promise<Socket>((resolve, reject) => {
    const opening = connect(options, () => {
      opening.off('error', reject);
      resolve(opening);
    });
    opening.once('error', reject);
  });
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
  });
  const uplink = attach('stream0', bridge, kernel, socket);
  return { uplink, closed, close: () => void socket.destroy() };
}

/** Tie a connected socket to the bridge for as long as it lives. */
function attach(name: string, bridge: Bridge, kernel: Kernel, socket: Socket): Uplink {
  const uplink = new Uplink(name, bridge, kernel, (frame) => {
    if (socket.destroyed || socket.writableLength > MAX_WAITING_BYTES) return false;
    socket.write(frameForStream(frame));
    return true;
  });
  const decoder = new StreamDecoder();
  const onFrame = (frame: Uint8Array) => uplink.input(frame);
  socket.on('data', (chunk: Uint8Array) => {
    decoder.push(chunk, onFrame);
    if (!decoder.isBroken) return;
    uplink.refuse();
    socket.destroy();
  });
  socket.on('error', () => undefined); // `close` follows
  socket.once('close', () => uplink.close());
  return uplink;
}

function listening(server: Server, address: StreamAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ ...address }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
