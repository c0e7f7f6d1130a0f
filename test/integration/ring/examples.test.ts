// The ring's examples do what they say, and the README shows the first as it is.
import { readFileSync } from 'node:fs';
import test from 'ava';
import { run } from '../../support/command.ts';

const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');

const EXAMPLES: readonly [string, string][] = [
  ['ring-01-channel', 'the worker received 100000 messages, 11200000 bytes\n'],
  ['ring-02-request-reply', 'BLOCKING\nONE, TWO, THREE\nCHANNEL_TIMED_OUT\nAFTERWARDS\n'],
  ['ring-03-many-producers', "{ '97': 1000, '98': 1000, '99': 1000 }\n1 producer died\n"],
  ['ring-04-streams', 'the same bytes\n'],
];

for (const [name, output] of EXAMPLES) {
  test.serial(`examples/${name}.ts runs and prints what it should`, async (t) => {
    const { code, stdout, stderr } = await run(`examples/${name}.ts`);
    t.is(code, 0, stderr);
    t.is(stdout, output);
  });

  test(`examples/${name}.ts is short`, (t) => {
    t.true(read(`examples/${name}.ts`).split('\n').length < 80);
  });
}

test('the README of the ring shows the first example as it is, and stays short', (t) => {
  const readme = read('packages/ring/README.md');
  const shown = (readme.split('// examples/ring-01-channel.ts\n')[1] ?? '').split('```')[0] ?? '';
  t.is(
    shown.trim(),
    read('examples/ring-01-channel.ts')
      .replace(/^(\/\/.*\n)+/, '')
      .trim(),
  );
  t.true(readme.split('\n').length <= 150);
});
