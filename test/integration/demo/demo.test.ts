// The demo as its users meet it: what it prints, what it leaves on the disk, how it ends.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { Summary } from '../../../packages/splitring/src/demo/report.ts';
import { DEMO, run, start } from '../../support/command.ts';

const MIB = 2 ** 20;

function scratch(t: { teardown(fn: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'splitring-demo-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test.serial('demo works, verifies, and leaves every guest’s pattern in its slice of the image', async (t) => {
  const image = join(scratch(t), 'disk.img');
  const { code, lines, stderr } = await run(DEMO, ['--seconds', '2', '--image', image, '--size', '6MiB', '--json']);
  t.is(code, 0, stderr);
  const summary = JSON.parse(lines.at(-1) ?? '') as Summary;
  t.deepEqual(Object.keys(summary).sort(), ['bytes', 'errors', 'frames', 'guests', 'ok', 'operations', 'seconds']);
  t.true(summary.ok);
  t.is(summary.guests, 3);
  t.is(summary.errors, 0);
  t.true(summary.operations > 100);
  t.true(summary.frames > 100);
  t.true(summary.bytes > 12 * MIB);
  t.is(statSync(image).size, 6 * MIB);
  const check = await run('test/integration/demo/check-image.ts', [image, '3', '1']);
  t.deepEqual(
    JSON.parse(check.lines[0] ?? ''),
    Array.from({ length: 3 }, () => ({ whole: 512, wrong: 0, empty: 0 })),
  );
});

test.serial('demo prints plain lines without escape sequences when stdout is no terminal', async (t) => {
  const image = join(scratch(t), 'disk.img');
  const { code, stdout } = await run(DEMO, ['--seconds', '1', '--guests', '1', '--image', image, '--size', '1MiB']);
  t.is(code, 0);
  t.false(stdout.includes('\u001b'));
  t.regex(stdout, /verified: [\d,]+ operations/);
});

const refusals: readonly {
  name: string;
  args: (directory: string) => readonly string[];
  message: RegExp;
}[] = [
  {
    name: 'an image in a directory that does not exist',
    args: () => ['--image', '/nonexistent/dir/x.img'],
    message: /no such file or directory.*directory that exists/,
  },
  {
    name: 'an image that is read-only',
    args: (directory) => {
      const image = join(directory, 'ro.img');
      writeFileSync(image, '');
      truncateSync(image, MIB);
      chmodSync(image, 0o444);
      return ['--image', image];
    },
    message: /read-only; make it writable/,
  },
  {
    name: 'an image that is too small',
    args: (directory) => {
      writeFileSync(join(directory, 'small.img'), 'small');
      return ['--image', join(directory, 'small.img')];
    },
    message: /has 5 B.*use a larger image or fewer guests/,
  },
  {
    name: 'a new image that would be too small',
    args: (directory) => ['--image', join(directory, 'new.img'), '--size', '4096'],
    message: /has 4\.0 KiB.*use a larger image or fewer guests/,
  },
  {
    name: 'a directory for an image',
    args: (directory) => {
      mkdirSync(join(directory, 'd'));
      return ['--image', join(directory, 'd')];
    },
    message: /is a directory; name a file/,
  },
  { name: 'an option that does not exist', args: () => ['--wrong'], message: /unknown option.*--help/ },
  { name: 'no guests', args: () => ['--guests', '0'], message: /integer from 1 to 64/ },
  { name: 'a thousand guests', args: () => ['--guests', '1000'], message: /integer from 1 to 64/ },
  { name: 'a size that is none', args: () => ['--size', 'big'], message: /Cannot read the size "big"/ },
  { name: 'a time that is none', args: () => ['--seconds', 'soon'], message: /a number from 0.1/ },
  { name: 'an argument it does not know', args: () => ['fast'], message: /too many arguments/ },
];
for (const { name, args, message } of refusals) {
  test.serial(`demo refuses ${name}: one line, exit code 2, nothing left behind`, async (t) => {
    const directory = scratch(t);
    const given = args(directory);
    const before = readdirSync(directory);
    const { code, stdout, stderr } = await run(DEMO, given);
    t.is(code, 2, stderr);
    t.is(stdout, '');
    t.regex(stderr, /^error: [^\n]+\n$/);
    t.regex(stderr, message);
    t.deepEqual(readdirSync(directory), before);
  });
}

test.serial('demo refuses an image that another demo uses, and both end well', async (t) => {
  const image = join(scratch(t), 'disk.img');
  const options = ['--guests', '1', '--image', image, '--size', '1MiB'];
  const first = start(DEMO, ['--seconds', '4', ...options]);
  await first.saw('operations');
  const second = await run(DEMO, options);
  t.is(second.code, 2);
  t.regex(second.stderr, /another process holds it/);
  t.is((await first.ended).code, 0);
});

test.serial('demo starts again after it was killed with SIGKILL', async (t) => {
  const directory = scratch(t);
  const options = ['--guests', '2', '--image', join(directory, 'disk.img'), '--size', '1MiB'];
  const first = start(DEMO, ['--seconds', '30', ...options]);
  await first.saw('operations');
  first.child.kill('SIGKILL');
  t.is((await first.ended).signal, 'SIGKILL');
  const second = await run(DEMO, ['--seconds', '1', ...options]);
  t.is(second.code, 0, second.stderr);
  t.deepEqual(readdirSync(directory), ['disk.img']);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test.serial(`demo ends cleanly on ${signal}: exit code 130, no thread and no file left`, async (t) => {
    const directory = scratch(t);
    const image = join(directory, 'disk.img');
    const demo = start(DEMO, ['--seconds', '30', '--image', image, '--size', '3MiB']);
    await demo.saw('1.'); // a second into the work
    demo.child.kill(signal);
    const { code, stderr } = await demo.ended; // 'close' also waits for every thread's hold on the output
    t.is(code, 130, stderr);
    t.regex(stderr, /everything is stopped/);
    t.deepEqual(readdirSync(directory), ['disk.img']);
    t.true(existsSync(image));
  });
}
