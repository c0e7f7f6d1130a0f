// Sockets that speak QEMU's stream framing: QEMU guests attach to the bridge, or the bridge attaches to passt.
import { connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net';
import type { Kernel, Stepped } from '@splitring/hypervisor';
import type { Bridge, LinkOptions } from './bridge.ts';
import { Redial } from './redial.ts';
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
  link: LinkOptions = {},
): Promise<StreamListener> {
  const uplinks = new Set<Uplink>();
  const sockets = new Set<Socket>();
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    const uplink = new Uplink(`stream${count}`, bridge, kernel, (frame) => sendOn(socket, frame), link);
    serve(socket, uplink);
    sockets.add(socket);
    uplinks.add(uplink);
    socket.once('close', () => {
      uplink.close();
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

/** A tie to a peer that listens. */
export interface StreamConnection {
  /** The bridge's port; without a carrier while the peer is gone. */
  readonly uplink: Uplink;
  /** Attempts to reach the peer again so far. */
  readonly redials: number;
  /** Hang up, and leave the bridge. Idempotent. */
  close(): void;
}

/** How a connection is watched. */
export interface ConnectStreamOptions {
  /** Told when the peer has hung up (false), and when it answers again (true). */
  readonly onCarrier?: (isOn: boolean) => void;
  /** The port's place on the bridge. */
  readonly link?: LinkOptions;
}

/**
 * Attach the bridge to a peer that listens, such as passt. A peer that hangs up later is called back, ever more rarely
 * but at least every ten seconds; until it answers the uplink has no carrier and counts what it drops.
 *
 * @throws the socket's error if the peer cannot be reached now
 * @example
 * const passt = await connectStream(bridge, kernel, { path: '/run/passt.sock' });
 */
export async function connectStream(
  bridge: Bridge,
  kernel: Kernel,
  address: StreamAddress,
  options: ConnectStreamOptions = {},
): Promise<StreamConnection> {
  const target: NetConnectOpts = { ...address };
  let socket = await reach(target);
  let isClosed = false;
  const uplink = new Uplink('stream0', bridge, kernel, (frame) => sendOn(socket, frame), options.link);
  const redial = new Redial(kernel.clock, {
    dial: () => watch(connect(target)),
    hangUp: () => socket.destroy(),
  });
  const setCarrier = (isOn: boolean) => {
    if (uplink.hasCarrier === isOn) return;
    uplink.setCarrier(isOn);
    options.onCarrier?.(isOn);
  };
  const answered = () => {
    redial.reached();
    setCarrier(true);
    kernel.requestPoll();
  };
  const watch = (next: Socket) => {
    socket = next;
    serve(next, uplink);
    next.once('connect', answered);
    next.once('close', () => {
      if (isClosed || socket !== next) return;
      redial.lost();
      setCarrier(false);
      kernel.requestPoll(); // the domain has a new deadline
    });
  };
  watch(socket);
  kernel.add(redial, 'control');
  return {
    uplink,
    get redials() {
      return redial.attempts;
    },
    close: () => {
      isClosed = true;
      redial.stop();
      kernel.remove(redial);
      uplink.close();
      socket.destroy();
    },
  };
}

/** Connect. @throws the socket's error */
function reach(target: NetConnectOpts): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(target, () => {
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

/** Send a frame. @returns false if too much waits for a slow peer: it is dropped */
function sendOn(socket: Socket, frame: Uint8Array): boolean {
  if (socket.destroyed || socket.writableLength > MAX_WAITING_BYTES) return false;
  socket.write(frameForStream(frame));
  return true;
}

/** Hand on what comes in; a peer that breaks the framing is hung up on. */
function serve(socket: Socket, uplink: Uplink): void {
  const decoder = new StreamDecoder();
  const onFrame = (frame: Uint8Array) => uplink.input(frame);
  socket.on('data', (chunk: Uint8Array) => {
    decoder.push(chunk, onFrame);
    if (!decoder.isBroken) return;
    uplink.refuse();
    socket.destroy();
  });
  socket.on('error', () => undefined); // `close` follows
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
