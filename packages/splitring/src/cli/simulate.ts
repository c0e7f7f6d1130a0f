// `npm run simulate`: the demo cluster in one thread, in an order drawn from a seed.
import type { GuestProgram } from '@splitring/frontend';
import { Command } from 'commander';
import { DemoCluster } from '../demo/demo-cluster.ts';
import loadGuest from '../demo/load.guest.ts';
import { LOAD_GUEST_URL } from '../demo/load-arguments.ts';
import { SimulationScheduler } from '../simulation/scheduler.ts';
import { SimulatedPlatform } from '../simulation/simulated-platform.ts';
import { integerIn, parseOptions } from './options.ts';

const DISK_BYTES = 3 * 2 ** 20;
const GUESTS = 3;
/** Longer than any simulation: its guests work until the steps are used up. */
const FOREVER_SECONDS = 1e6;
/** Steps within which the devices connect. */
const BOOT_STEPS = 100_000;

interface Options {
  readonly seed: number;
  readonly steps: number;
  readonly json: boolean;
}

const command = new Command('simulate')
  .description(
    'Run the demo cluster in one thread under a seeded scheduler and clock; the same seed gives the same trace.',
  )
  .requiredOption('--seed <n>', 'seed, 0 to 2^53 − 1', integerIn(0, Number.MAX_SAFE_INTEGER))
  .option('--steps <n>', 'polls of a domain to do once the guests run', integerIn(1, 1e9), 20_000)
  .option('--json', 'end with one line of JSON: ok, seed, steps, hash', false);

async function main(): Promise<void> {
  const { seed, steps, json } = parseOptions<Options>(command, process.argv.slice(2));
  const scheduler = new SimulationScheduler(seed);
  const program = loadGuest as GuestProgram; // its arguments come from DemoCluster, which knows their type
  const platform = new SimulatedPlatform(scheduler, new Map([[LOAD_GUEST_URL, program]]));
  let cluster: DemoCluster | undefined;
  let failure: unknown;
  DemoCluster.start(
    { guests: GUESTS, seconds: FOREVER_SECONDS, image: undefined, sizeBytes: DISK_BYTES, seed },
    platform,
  ).then(
    (started) => {
      cluster = started;
    },
    (error: unknown) => {
      failure = error;
    },
  );
  await scheduler.run(() => cluster !== undefined || failure !== undefined, BOOT_STEPS);
  if (cluster === undefined) throw failure ?? new Error(`the cluster did not start in ${BOOT_STEPS} steps`);
  cluster.onConsole((domain, line) => console.error(`${domain}: ${line}`));
  const bootSteps = scheduler.steps;
  const end = await scheduler.run(() => false, bootSteps + steps);
  const rows = cluster.rows();
  for (const row of rows) scheduler.note(JSON.stringify(row));
  const operations = rows.reduce((sum, row) => sum + row.operations, 0);
  const errors = rows.reduce((sum, row) => sum + row.errors, 0);
  const isRunning = rows.every(({ state }) => state === 'running');
  const ok = end === 'out of steps' && errors === 0 && operations > 0 && isRunning;
  console.log(
    `seed ${seed}: ${bootSteps} steps to start, ${steps} steps of work, ${scheduler.clock.nowMs().toFixed(1)} simulated ms, ` +
      `${operations} operations, ${rows.reduce((sum, row) => sum + row.frames, 0)} frames, ${errors} errors` +
      `${end === 'stuck' ? ', stuck' : ''}`,
  );
  console.log(`trace ${scheduler.hash()}`);
  if (json) console.log(JSON.stringify({ ok, seed, steps, hash: scheduler.hash() }));
  process.exit(ok ? 0 : 1); // guests that still wait for their next turn hold nothing outside this process
}

await main();
