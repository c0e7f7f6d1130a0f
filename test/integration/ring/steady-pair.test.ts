// Two real workers, a sender and a receiver, in their steady state: neither allocates per message, however they wait. A
// sleep and an awaited wait cost a bounded number of bytes each, and are counted; there is about one in hundreds of messages.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import type { PairReport } from './steady-pair-worker.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
// Room for all that a faulty round allocates, so that no collection hides it from the figures.
const V8_OPTIONS = ['--min-semi-space-size=128', '--max-semi-space-size=128'];

/** Readings of a clock, each a number on the heap; and iterators, since waiting is too rare to be compiled well. */
const BYTES_PER_SLEEP = 3072;
/** Promises, their reactions, and what the engine keeps of a wait. */
const BYTES_PER_AWAIT = 12 * 1024;

interface Subject {
  readonly name: string;
  /** What a wait may cost; undefined: waits do not show. */
  readonly bytesPerWait?: number;
  /** What a message may cost: by default nothing, up to the measuring itself. */
  readonly bytesPerMessage?: number;
}

const SUBJECTS: readonly Subject[] = [
  { name: 'fixed-spin' },
  { name: 'xen-spin' },
  { name: 'xen-blocking', bytesPerWait: BYTES_PER_SLEEP },
  { name: 'channel-spin', bytesPerWait: BYTES_PER_SLEEP },
  { name: 'channel-spin-then-wait', bytesPerWait: BYTES_PER_SLEEP },
  { name: 'channel-blocking', bytesPerWait: BYTES_PER_SLEEP },
  { name: 'channel-await', bytesPerWait: BYTES_PER_AWAIT },
  // The price of `await` itself, and of a fresh copy: what `ready` and `read` are there to spare.
  { name: 'channel-await-each', bytesPerWait: BYTES_PER_AWAIT, bytesPerMessage: 1024 },
];

async function measure(subject: string): Promise<PairReport[]> {
  const program = 'test/integration/ring/steady-pair-program.ts';
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...V8_OPTIONS, '--import=./tools/ts.mjs', '--conditions=@splitring/source', program, subject],
    { cwd: root, timeout: 40_000, killSignal: 'SIGKILL' },
  );
  return JSON.parse(stdout) as PairReport[]; // as the program prints it
}

/** Bytes per message of the cheapest round, waits apart: the compiler's own work falls into some rounds. */
function leastBytes({ bytesPerMessage, waitsPerMessage }: PairReport, bytesPerWait = 0): number {
  return Math.min(
    ...bytesPerMessage.map((bytes, round) => Math.abs(bytes) - bytesPerWait * (waitsPerMessage[round] ?? 0)),
  );
}

for (const { name, bytesPerWait, bytesPerMessage = 0.1 } of SUBJECTS) {
  test.serial(`${name}: neither of two workers allocates per message`, async (t) => {
    for (const report of await measure(name)) {
      const told = JSON.stringify(report);
      t.true(leastBytes(report, bytesPerWait) < bytesPerMessage, told);
      t.is(report.collections, 0, told);
      t.log(told);
    }
  });
}

test.serial('an allocation of 32 bytes per message in one of two workers is seen', async (t) => {
  const [sender] = await measure('planted-allocation');
  t.true(sender !== undefined && leastBytes(sender, BYTES_PER_SLEEP) > 16, JSON.stringify(sender));
});
