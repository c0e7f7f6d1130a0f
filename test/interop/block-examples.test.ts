// The examples with real guests on their disks, run as a person would; mtools and fsck.fat read what FAT has left.
// apt install mtools dosfstools; a tool that is missing is a loud skip.
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';

const folder = mkdtempSync(join(tmpdir(), 'splitring-examples-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

const VERIFIED = '20000 writes, 4096 blocks verified\n';

function example(t: ExecutionContext, name: string, image: string, code = 0): string {
  const file = new URL(`../../examples/${name}`, import.meta.url).pathname;
  const flags = process.execArgv.filter((flag) => !flag.startsWith('--inspect'));
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, file, image], {
    encoding: 'utf8',
    timeout: 50_000,
  });
  t.is(status, code, stderr);
  return stdout;
}

test.serial('SQLite adds to its database on the image at every run', (t) => {
  const image = join(folder, 'sqlite.img');
  t.is(example(t, '03-sqlite.ts', image), '20 visits, integrity ok\n');
  t.is(example(t, '03-sqlite.ts', image), '40 visits, integrity ok\n');
});

test.serial('a load verifies each block it reads, those of the run before it, and finds one that was changed', (t) => {
  const image = join(folder, 'verify.img');
  for (let runs = 0; runs < 2; runs += 1) t.is(example(t, '05-verify.ts', image), VERIFIED);
  const file = openSync(image, 'r+');
  const byte = new Uint8Array(1);
  readSync(file, byte, 0, 1, 5 * 4096 + 2000);
  writeSync(file, Uint8Array.of(~(byte[0] ?? 0)), 0, 1, 5 * 4096 + 2000);
  closeSync(file);
  t.regex(example(t, '05-verify.ts', image, 1), /^Block 5 is not what was written/);
});

test.serial('mtools and fsck.fat read the FAT file system from the image', (t) => {
  const image = join(folder, 'fat.img');
  t.regex(example(t, '04-fat.ts', image), /19000 bytes/);
  for (const [tool, args, expected] of [
    ['mtype', ['-i', image, '::hello.txt'], 'hello from a guest\n'.repeat(1000)],
    ['fsck.fat', ['-n', image], undefined],
  ] as const) {
    const { error, status, stdout, stderr } = spawnSync(tool, args, { encoding: 'utf8' });
    if (error !== undefined && 'code' in error && error.code === 'ENOENT') {
      console.warn(`SKIPPED: ${tool} is not installed`);
      continue;
    }
    t.is(status, 0, `${tool}: ${stdout} ${stderr}`);
    if (expected !== undefined) t.is(stdout, expected);
  }
});
