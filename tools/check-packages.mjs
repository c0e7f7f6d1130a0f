// Would a stranger be able to use our packages? Packs each and asks publint and are-the-types-wrong.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = (name) => `${root}node_modules/.bin/${name}`;
const temporary = mkdtempSync(join(tmpdir(), 'splitring-pack-'));
let isGood = true;

function run(what, command, args, cwd) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  if (status === 0) return;
  isGood = false;
  console.log(`${what}:\n${stdout}${stderr}`);
}

try {
  for (const name of readdirSync(`${root}packages`)) {
    const directory = `${root}packages/${name}`;
    run(`publint ${name}`, bin('publint'), ['--strict', '--pack', 'npm'], directory);
    const before = new Set(readdirSync(temporary));
    run(`pack ${name}`, 'npm', ['pack', '--silent', '--pack-destination', temporary], directory);
    const tarball = readdirSync(temporary).find((file) => !before.has(file));
    if (tarball !== undefined) {
      run(`types of ${name}`, bin('attw'), [join(temporary, tarball), '--profile', 'esm-only'], directory);
    }
  }
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
process.exitCode = isGood ? 0 : 1;
