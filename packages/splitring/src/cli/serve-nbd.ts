// `npm run serve-nbd`: a guest that serves its virtual disk to NBD clients, until Ctrl-C.
import { existsSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { RunningGuest } from '../host/domain.ts';
import { createHost, type Host } from '../host/host.ts';
import { NBD_COUNTERS, NBD_GUEST_URL, type NbdArguments } from '../nbd/nbd-arguments.ts';
import { formatSize } from '../size.ts';
import { fail, filled, integerIn, isExplained, parseOptions, size, socketPath } from './options.ts';

interface Options {
  readonly image: string;
  readonly size?: number;
  readonly socket?: string;
  readonly port?: number;
  readonly readonly: boolean;
  readonly name: string;
}

const POLL_MS = 5;
/** Most bytes of a string in the NBD protocol. */
const MOST_NAME_BYTES = 4096;

function exportName(text: string): string {
  if (Buffer.byteLength(text) <= MOST_NAME_BYTES) return text;
  throw new InvalidArgumentError(`an export's name has ${MOST_NAME_BYTES} bytes at most.`);
}

const command = new Command('serve-nbd')
  .description(
    'Serve a disk image by NBD through the whole path: guest, front end, ring, back end, NVMe model, file. Prints the URI.',
  )
  .requiredOption('--image <file>', 'disk image, created when missing', filled)
  .option('--size <bytes>', 'size of a new image (64MiB)', size)
  .option('--socket <path>', 'listen on this Unix socket', socketPath)
  .addOption(
    new Option('--port <n>', 'listen on this port of 127.0.0.1; without --socket and --port: any free port')
      .argParser(integerIn(0, 65_535))
      .conflicts('socket'),
  )
  .option('--readonly', 'refuse writes', false)
  .option('--name <export>', 'name of the export', exportName, 'disk0');

function argumentsOf(options: Options, isNew: boolean): NbdArguments {
  const { name: exportName, socket, port } = options;
  return socket === undefined ? { exportName, isNew, port: port ?? 0 } : { exportName, isNew, socket };
}

async function start(host: Host, options: Options, isNew: boolean): Promise<{ guest: RunningGuest; uri: string }> {
  const { socket, name } = options;
  const guest = await host.createDomain({
    name: 'nbd',
    program: NBD_GUEST_URL,
    args: argumentsOf(options, isNew),
    counters: [...NBD_COUNTERS],
    disks: [{ name: 'xvda', from: 'vol0', readonly: options.readonly }],
  });
  let outcome: string | undefined;
  void guest.exited.then(({ message }) => {
    outcome = message;
  });
  while (guest.counters.read('port') === 0) {
    if (outcome !== undefined) fail(outcome);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  const path = encodeURIComponent(name);
  const uri =
    socket === undefined
      ? `nbd://127.0.0.1:${guest.counters.read('port')}/${path}`
      : `nbd+unix:///${path}?socket=${encodeURI(socket)}`;
  return { guest, uri };
}

async function main(): Promise<void> {
  const options = parseOptions<Options>(command, process.argv.slice(2));
  const { image, size: sizeBytes } = options;
  const disk = { image, readonly: options.readonly, ...(sizeBytes === undefined ? {} : { size: sizeBytes }) };
  const isNew = !existsSync(image);
  const host = await createHost({ driverDomains: [{ name: 'io', disks: { vol0: disk } }] }).catch((error: unknown) => {
    if (isExplained(error)) fail(error);
    throw error;
  });
  const servedBytes = host.diskBytes('vol0');
  if (sizeBytes !== undefined && servedBytes !== sizeBytes) {
    console.error(`note: ${image} exists and keeps its size of ${formatSize(servedBytes)}`);
  }
  try {
    const { guest, uri } = await start(host, options, isNew);
    console.log(uri);
    const stop = () => void guest.shutdown(5000);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop);
    const { ok, message } = await guest.exited;
    if (!ok) {
      console.error(`error: ${message}`);
      process.exitCode = 1;
    }
  } finally {
    await host.close();
  }
}

await main();
