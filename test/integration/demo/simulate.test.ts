// The simulation: the same seed is the same run, another seed another one.
import test from 'ava';
import { run, SIMULATE } from '../../support/command.ts';

interface Outcome {
  readonly ok: boolean;
  readonly seed: number;
  readonly steps: number;
  readonly hash: string;
}

async function simulate(seed: number, steps: number): Promise<Outcome> {
  const { code, lines, stderr } = await run(SIMULATE, ['--seed', String(seed), '--steps', String(steps), '--json']);
  if (code !== 0) throw new Error(`seed ${seed} ended with ${code}: ${lines.join('\n')}${stderr}`);
  return JSON.parse(lines.at(-1) ?? '') as Outcome;
}

test('simulate gives the same trace for the same seed and another one for another', async (t) => {
  const [first, again, other] = await Promise.all([simulate(7, 5000), simulate(7, 5000), simulate(8, 5000)]);
  t.deepEqual(first, again);
  t.like(first, { ok: true, seed: 7, steps: 5000 });
  t.regex(first.hash, /^[0-9a-f]{64}$/);
  t.not(first.hash, other.hash);
});

test('simulate works without errors from many seeds', async (t) => {
  for (let seed = 100; seed < 105; seed += 1) t.true((await simulate(seed, 3000)).ok);
});

for (const args of [[], ['--seed', '-1'], ['--seed', 'x'], ['--seed', '1', '--steps', '0']]) {
  test(`simulate ${args.join(' ') || 'without a seed'} is refused in one line with code 2`, async (t) => {
    const { code, stderr } = await run(SIMULATE, args);
    t.is(code, 2);
    t.regex(stderr, /^error: [^\n]+\n$/);
  });
}
