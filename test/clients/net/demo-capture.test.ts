// A capture taken while the demo runs opens in tshark and tcpdump without complaint, and holds every frame.
// apt install tshark tcpdump; a tool that is missing is a loud skip.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { Summary } from '../../../packages/splitring/src/demo/report.ts';
import { DEMO, run } from '../../support/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'splitring-capture-'));
const capture = join(folder, 'demo.pcapng');
let frames = 0;

test.before(async () => {
  const options = ['--seconds', '1', '--image', join(folder, 'disk.img'), '--size', '3MiB', '--capture', capture];
  const { code, lines, stderr } = await run(DEMO, [...options, '--json']);
  if (code !== 0) throw new Error(stderr);
  ({ frames } = JSON.parse(lines.at(-1) ?? '') as Summary);
});

test.after.always(() => rmSync(folder, { recursive: true, force: true }));

const readers: readonly [tool: string, args: readonly string[]][] = [
  ['tshark', ['-n', '-r', capture, '-T', 'fields', '-e', 'frame.number', '-e', 'eth.src', '-e', 'frame.len']],
  ['tcpdump', ['-n', '-e', '-r', capture]],
];
for (const [tool, args] of readers) {
  test.serial(`${tool} reads a capture of the demo without complaint`, (t) => {
    const { error, status, stdout, stderr } = spawnSync(tool, args, {
      encoding: 'utf8',
      maxBuffer: 1 << 30,
      timeout: 120_000,
    });
    if (error !== undefined && 'code' in error && error.code === 'ENOENT') {
      console.warn(`SKIPPED: ${t.title}: ${tool} is not installed`);
      t.pass();
      return;
    }
    t.is(status, 0, stderr);
    t.notRegex(stderr, /cut short|truncated|malformed|appears to|error/i);
    const lines = stdout.split('\n').filter((line) => /00:16:3e:00:00:0\d/.test(line)); // others are bytes in hex
    t.true(frames > 100);
    // Each frame is seen coming in, and going out at each port that takes it.
    t.true(lines.length >= 2 * frames, `${lines.length} lines for ${frames} frames`);
  });
}
