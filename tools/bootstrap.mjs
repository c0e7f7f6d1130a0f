// Install what is missing, and be quick when nothing is.
//
// pnpm writes node_modules/.pnpm/lock.yaml last, so it equals pnpm-lock.yaml exactly when an install ended. An install
// that was killed, a deleted node_modules and a changed lockfile all show as a difference.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const PNPM = JSON.parse(readFileSync(`${root}package.json`, 'utf8')).packageManager;

function read(path) {
  try {
    return readFileSync(`${root}${path}`, 'utf8');
  } catch {
    return undefined;
  }
}

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`splitring needs Node 20.19 or newer, this is ${process.versions.node}: install a newer Node`);
  process.exit(2);
}

const isInstalled = () => {
  const wanted = read('pnpm-lock.yaml');
  return wanted !== undefined && wanted === read('node_modules/.pnpm/lock.yaml');
};

if (!isInstalled()) {
  console.error('Installing dependencies (once) …');
  // npm's own `yes` setting would make exec refuse; a foreign node_modules tree (npm's) is replaced without a question.
  const env = { ...process.env, CI: 'true', npm_config_yes: 'true', npm_config_loglevel: 'error' };
  const install = () =>
    spawnSync(
      'npm',
      [
        'exec',
        '--yes',
        `--package=${PNPM}`,
        '--',
        'pnpm',
        'install',
        '--frozen-lockfile',
        '--prefer-offline',
        '--reporter=append-only',
      ],
      { cwd: root, env, encoding: 'utf8', shell: process.platform === 'win32', maxBuffer: 1 << 26 },
    );
  let result = install();
  if (result.status !== 0) {
    // A half-written tree can defeat pnpm itself: start over once, from nothing.
    rmSync(`${root}node_modules`, { recursive: true, force: true });
    result = install();
  }
  if (result.status !== 0 || !isInstalled()) {
    console.error(result.stdout ?? '');
    console.error(result.stderr ?? result.error?.message ?? '');
    console.error(
      'The installation failed: check the network and the npm registry setting, then run the same command again',
    );
    process.exit(1);
  }
}
