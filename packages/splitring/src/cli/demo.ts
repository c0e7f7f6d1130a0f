// `npm run demo`: the demo cluster, watched.
import { Command, Option } from 'commander';
import { DemoCluster } from '../demo/demo-cluster.ts';
import { LiveReport, type Summary, summaryLine } from '../demo/report.ts';
import { EXIT_INTERRUPTED, fail, integerIn, isExplained, parseOptions, secondsIn, size } from './options.ts';

/** Each guest is a thread with a heap of its own: more than this is a wish for another machine. */
const MOST_GUESTS = 64;
const REDRAW_MS = 100;

interface Options {
  readonly seconds: number;
  readonly guests: number;
  readonly image: string;
  readonly size: number;
  readonly capture?: string;
  readonly json: boolean;
}

const command = new Command('demo')
  .description(
    'Boot a driver domain and guests; they write, read back and verify a disk image, and exchange Ethernet frames.',
  )
  .option('--seconds <n>', 'how long the guests work', secondsIn(0.1, 86_400), 5)
  .option('--guests <n>', `number of guests, 1 to ${MOST_GUESTS}`, integerIn(1, MOST_GUESTS), 3)
  .option('--image <file>', 'disk image, created when missing', 'splitring-demo.img')
  .addOption(new Option('--size <bytes>', 'size of a new image').argParser(size).default(64 * 2 ** 20, '64MiB'))
  .option('--capture <file>', 'write every frame to a file that tcpdump and tshark read (pcapng)')
  .option('--json', 'end with one line of JSON: ok, seconds, guests, operations, bytes, frames, errors', false);

async function watch(cluster: DemoCluster, interrupted: Promise<void>): Promise<{ seconds: number }> {
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  const report = new LiveReport(process.stdout);
  const timer = setInterval(() => report.show(cluster.rows(), elapsed()), REDRAW_MS);
  try {
    await Promise.race([cluster.ended(), interrupted]);
  } finally {
    clearInterval(timer);
  }
  const seconds = elapsed();
  report.show(cluster.rows(), seconds, true);
  return { seconds };
}

async function main(): Promise<void> {
  const options = parseOptions<Options>(command, process.argv.slice(2));
  let isInterrupted = false;
  const interrupted = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        isInterrupted = true;
        resolve();
      });
    }
  });
  const cluster = await DemoCluster.start({ ...options, sizeBytes: options.size, seed: 1 }).catch((error: unknown) => {
    if (isExplained(error)) fail(error);
    throw error;
  });
  cluster.onConsole((domain, line) => console.error(`${domain}: ${line}`));
  let summary: Summary;
  try {
    const { seconds } = await watch(cluster, interrupted);
    summary = cluster.summary(seconds);
  } finally {
    await cluster.close(isInterrupted ? 1000 : undefined);
  }
  if (isInterrupted) {
    console.error('interrupted: everything is stopped');
    process.exitCode = EXIT_INTERRUPTED;
    return;
  }
  for (const { name, state } of cluster.rows()) {
    if (state !== 'done') console.error(`${name} ${state}`);
  }
  console.log(summaryLine(summary));
  if (options.json) console.log(JSON.stringify(summary));
  process.exitCode = summary.ok ? 0 : 1;
}

await main();
