// Everything that CI checks besides the tests, one line each: `npm run check`. Ends with `N passed, N failed`.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const node = process.execPath;
const bin = (name) => `${root}node_modules/.bin/${name}`;
const ts = ['--import', './tools/ts.mjs', '--conditions=@splitring/source'];

const checks = [
  ['types and build', bin('tsc'), ['-b']],
  ['types of tests, benchmarks, examples', bin('tsc'), ['-p', 'tsconfig.check.json']],
  ['lint and format', bin('biome'), ['check', '--error-on-warnings']],
  ['structure', node, [...ts, 'tools/tidy/main.ts']],
  ['dead code', bin('knip'), []],
  ['documentation of the ring', bin('typedoc'), ['--options', 'packages/ring/typedoc.json', '--emit', 'none']],
  ['packages', node, ['tools/check-packages.mjs']],
];

let failed = 0;
for (const [name, command, args] of checks) {
  const started = performance.now();
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    shell: process.platform === 'win32',
    maxBuffer: 1 << 26,
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)`);
  if (status !== 0) {
    failed += 1;
    console.log(`${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`);
  }
}
console.log(`${checks.length - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
