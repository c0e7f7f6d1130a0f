// The README's example is the example that runs, and it does what it says.
import { readFileSync } from 'node:fs';
import test from 'ava';
import { run } from '../../support/command.ts';

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');

/** The code that the README shows under a file's name. */
function shown(readme: string, path: string): string {
  const after = readme.split(`// ${path}\n`)[1] ?? '';
  return (after.split(/```|\n\/\/ examples\//)[0] ?? '').trim();
}

/** A file without its head comment. */
const body = (source: string): string => source.replace(/^(\/\/.*\n)+/, '').trim();

for (const path of ['examples/01-host.ts', 'examples/01-hello.guest.ts']) {
  test(`the README shows ${path} as it is`, (t) => {
    t.is(shown(read('README.md'), path), body(read(path)));
  });
}

test('the README’s example runs and prints what the guest read back', async (t) => {
  const { code, stdout, stderr } = await run('examples/01-host.ts');
  t.is(code, 0, stderr);
  t.is(stdout, 'hello\n');
});

test('the README stays short', (t) => {
  t.true(read('README.md').split('\n').length <= 150);
});
