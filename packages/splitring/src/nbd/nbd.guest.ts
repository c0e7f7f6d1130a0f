// A guest that serves its disk to the world by the NBD protocol, over a Unix socket or loopback TCP.
import { chmodSync, rmSync, statSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { defineGuest, type GuestContext, type NbdExport, NbdSession, ZeroRanges } from '@splitring/frontend';
import { SplitringError } from 'sharedarraybuffer-ring';
import type { NbdArguments } from './nbd-arguments.ts';

/** A client that has not finished its negotiation by then is not meant for us. */
const NEGOTIATION_MS = 10_000;
const MAX_CONNECTIONS = 64;
/** Bytes that may wait for a client that does not read. */
const MAX_UNSENT_BYTES = 64 << 20;

function serve(target: NbdExport, socket: Socket, counters: GuestContext['counters']): void {
  counters.add('connections', 1);
  socket.setNoDelay(true);
  socket.setTimeout(NEGOTIATION_MS, () => {
    if (!session.isTransmitting) socket.destroy();
  });
  const session = new NbdSession(target, {
    send: (bytes) => {
      // What is answered in one go is written in one go.
      if (socket.writableCorked === 0) {
        socket.cork();
        queueMicrotask(() => socket.uncork());
      }
      socket.write(bytes);
      if (socket.writableLength > MAX_UNSENT_BYTES) socket.pause();
    },
    close: () => socket.end(),
  });
  const resume = () => {
    if (!session.isBusy && socket.writableLength <= MAX_UNSENT_BYTES) socket.resume();
  };
  session.onResume = resume;
  socket.on('drain', resume);
  socket.on('data', (chunk) => {
    counters.add('bytes', chunk.byteLength);
    session.receive(chunk);
    if (session.isTransmitting) socket.setTimeout(0);
    if (session.isBusy) socket.pause();
  });
  socket.on('error', () => {}); // a client may vanish at any time; 'close' follows
  socket.on('close', () => {
    session.end();
    counters.add('connections', -1);
  });
}

/** Remove a socket file that a server has left behind which was killed: one that nobody answers. */
async function removeStale(path: string): Promise<void> {
  const code = await new Promise<string | undefined>((resolve) => {
    const probe = createConnection(path, () => resolve(undefined));
    probe.on('error', (error: NodeJS.ErrnoException) => resolve(error.code));
    probe.on('connect', () => probe.destroy());
  });
  if (code === 'ECONNREFUSED' && statSync(path).isSocket()) rmSync(path);
}

function listen(server: Server, args: NbdArguments): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const where = args.socket ?? `port ${args.port}`;
      const why = error.code === 'EADDRINUSE' ? 'it is in use' : error.message;
      reject(new SplitringError('NBD_LISTEN', `Cannot listen on ${where}: ${why}`, { where }, error));
    });
    const isListening = () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 1);
    };
    if (args.socket === undefined) server.listen({ host: '127.0.0.1', port: args.port ?? 0 }, isListening);
    else server.listen(args.socket, isListening);
  });
}

export default defineGuest<NbdArguments>(async (guest) => {
  const { args, counters } = guest;
  const disk = guest.disk('xvda');
  // Shared by all connections: what one client writes, the others are told of.
  const zeroes = new ZeroRanges(args.isNew === true ? disk.capacityBytes : 0);
  const target = { name: args.exportName, disk, zeroes };
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serve(target, socket, counters);
  });
  server.maxConnections = MAX_CONNECTIONS;
  if (args.socket !== undefined) await removeStale(args.socket);
  const port = await listen(server, args);
  if (args.socket !== undefined) chmodSync(args.socket, 0o600);
  counters.set('port', port);
  await new Promise<void>((resolve) => {
    if (guest.signal.aborted) resolve();
    guest.signal.addEventListener('abort', () => resolve());
  });
  server.close();
  for (const socket of sockets) socket.destroy();
  if (disk.hasFlush && !disk.isReadOnly) await disk.flush();
  if (args.socket !== undefined) rmSync(args.socket, { force: true });
});
