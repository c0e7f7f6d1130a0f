// In the steady state nothing is allocated per message and V8 takes no compiled code back. Every subject is a process of
// its own, watched by V8's own reports; two planted faults show that the watching sees.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { ROUND_MESSAGES, SUBJECT_NAMES } from './steady-subjects.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
// Room for all that a faulty round allocates, so that no collection hides it from the figures.
const V8_OPTIONS = ['--min-semi-space-size=128', '--max-semi-space-size=128'];

interface Report {
  /** Bytes of heap per message, smallest round first: the compiler's own work falls into some of them. */
  readonly bytesPerMessage: readonly number[];
  readonly deoptimizations: readonly string[];
  /** Collections for want of room, which would make the figures too small. */
  readonly scavenges: readonly string[];
}

async function watch(subject: string): Promise<Report> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      ...V8_OPTIONS,
      '--import=./tools/ts.mjs',
      '--conditions=@splitring/source',
      'test/integration/ring/steady-program.ts',
      subject,
    ],
    { cwd: root, timeout: 40_000, killSignal: 'SIGKILL', maxBuffer: 1 << 24 },
  );
  const lines = stdout.split('\n');
  const { bytes } = JSON.parse(lines.find((line) => line.startsWith('{')) ?? '{}') as { readonly bytes: number[] };
  return {
    bytesPerMessage: bytes.map((count) => Math.abs(count) / ROUND_MESSAGES).sort((a, b) => a - b),
    // Going from one compiled form of a running loop to a better one is called a deoptimization too, and is none.
    deoptimizations: lines.filter((line) => /^\[bailout/.test(line) && !line.includes('on stack replacement')),
    scavenges: lines.filter((line) => /Scavenge/.test(line)),
  };
}

for (const subject of SUBJECT_NAMES.filter((name) => !name.startsWith('planted'))) {
  test.serial(`${subject} neither allocates per message nor loses compiled code`, async (t) => {
    const { bytesPerMessage, deoptimizations, scavenges } = await watch(subject);
    t.true((bytesPerMessage[0] ?? Number.NaN) < 0.5, `${bytesPerMessage} bytes per message`);
    t.deepEqual(deoptimizations, []);
    t.deepEqual(scavenges, []);
  });
}

test.serial('an allocation of 32 bytes per message is seen', async (t) => {
  t.true(((await watch('planted-allocation')).bytesPerMessage.at(-1) ?? 0) >= 16);
});

test.serial('code that the warm-up taught wrongly is seen', async (t) => {
  t.regex((await watch('planted-deoptimization')).deoptimizations.join('\n'), /wrong map/);
});
