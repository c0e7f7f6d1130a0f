// npm run bench: build what an embedder would get, then measure that.
//
// No source condition here: every import of a package resolves to its compiled dist.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = fileURLToPath(new URL('../bin/tsc', import.meta.resolve('typescript')));
const build = spawnSync(process.execPath, [tsc, '-b', 'bench'], { cwd: root, stdio: 'inherit' });
if (build.status !== 0) process.exit(build.status ?? 1);
const args = ['--enable-source-maps', `${root}bench/dist/main.js`, ...process.argv.slice(2)];
const bench = spawnSync(process.execPath, args, { stdio: 'inherit' });
process.exit(bench.status ?? (bench.signal === 'SIGINT' ? 130 : 1));
