// Run AVA, pass its output on, and end with the plain line `N passed, N failed`.
//
// `--soak` runs test/soak instead of the suite, `--clients` test/clients; all other arguments go to AVA (files, --match …).
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const args = process.argv.slice(2);
const other = ['soak', 'clients'].find((name) => args.includes(`--${name}`));
const ava = fileURLToPath(new URL('cli.mjs', import.meta.resolve('ava')));
const own = other === undefined ? [] : ['--config', `./ava.${other}.config.js`];
const child = spawn(process.execPath, [ava, ...own, ...args.filter((arg) => arg !== `--${other}`)], {
  cwd: root,
  stdio: ['inherit', 'pipe', 'inherit'],
});

let passed = 0;
let failed = 0;
for await (const line of createInterface({ input: child.stdout })) {
  console.log(line);
  const plain = stripVTControlCharacters(line);
  if (/^ {2}✔ /.test(plain)) passed += 1;
  else if (/^ {2}✘ \[fail\]: /.test(plain)) failed += 1;
}
const code = await new Promise((resolve) => {
  if (child.exitCode !== null) resolve(child.exitCode);
  else child.once('exit', (status) => resolve(status ?? 1));
});
if (code !== 0 && failed === 0) failed = 1; // a crash, a time-out or a file without tests
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = code;
