// Real NBD clients drive the whole path: nbdinfo, qemu-io, nbdcopy, fio, and the kernel's ext4 through nbdfuse and loop.
// apt install qemu-utils libnbd-bin fio e2fsprogs fuse3; a tool that is missing is a loud skip.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';

const SIZE = 64 << 20;
const folder = mkdtempSync(join(tmpdir(), 'splitring-nbd-'));
const image = join(folder, 'disk.img');
let server: ChildProcess | undefined;
let uri = '';

test.before(async () => {
  const cli = new URL('../../../packages/splitring/src/cli/serve-nbd.ts', import.meta.url).pathname;
  const args = [...process.execArgv.filter((flag) => !flag.startsWith('--inspect')), cli];
  server = spawn(process.execPath, [...args, '--image', image, '--size', String(SIZE)]);
  server.stderr?.pipe(process.stderr);
  uri = await new Promise<string>((resolve, reject) => {
    server?.stdout?.once('data', (line: Buffer) => resolve(line.toString().trim()));
    server?.once('exit', (code) => reject(new Error(`serve-nbd ended with ${code}`)));
  });
});

test.after.always(async () => {
  const ended = new Promise((resolve) => server?.once('exit', resolve));
  server?.kill('SIGINT');
  await ended;
  rmSync(folder, { recursive: true, force: true });
});

/** Run a tool. @returns its output, or undefined, said aloud, if it is not installed */
function run(t: ExecutionContext, tool: string, ...args: readonly string[]): string | undefined {
  const { error, status, stdout, stderr } = spawnSync(tool, args, { cwd: folder, encoding: 'utf8', timeout: 45_000 });
  if (error !== undefined && 'code' in error && error.code === 'ENOENT') {
    console.warn(`SKIPPED: ${t.title}: ${tool} is not installed`);
    t.pass();
    return undefined;
  }
  t.is(status, 0, `${tool} ${args.join(' ')}\n${stdout}\n${stderr}`);
  return stdout;
}

test.serial('nbdinfo sees the export and all it can do', (t) => {
  const output = run(t, 'nbdinfo', '--json', uri);
  if (output === undefined) return;
  const [info] = (JSON.parse(output) as { exports: Record<string, unknown>[] }).exports;
  t.is(info?.['export-size'], SIZE);
  for (const ability of ['can_flush', 'can_fua', 'can_multi_conn', 'can_trim', 'can_zero', 'can_df']) {
    t.is(info?.[ability], true, ability);
  }
  t.is(info?.['block_size_minimum'], 512);
});

test.serial('nbdinfo maps a new image as one hole, and what was written as data', (t) => {
  const map = () => {
    const output = run(t, 'nbdinfo', '--map', '--json', uri);
    return output && (JSON.parse(output) as { offset: number; length: number; type: number }[]);
  };
  const before = map();
  if (before === undefined) return;
  t.deepEqual(
    (before || []).map(({ length, type }) => [length, type]),
    [[SIZE, 3]],
  );
  if (run(t, 'qemu-io', '-f', 'raw', '-c', 'write -P 1 1M 64k', uri) === undefined) return;
  t.deepEqual(
    (map() || []).map(({ offset, length, type }) => [offset, length, type]),
    [
      [0, 1 << 20, 3],
      [1 << 20, 65_536, 0],
      [(1 << 20) + 65_536, SIZE - (1 << 20) - 65_536, 3],
    ],
  );
  run(t, 'qemu-io', '-f', 'raw', '-c', 'write -z 1M 64k', uri);
  t.deepEqual(
    (map() || []).map(({ type }) => type),
    [3],
  );
});

test.serial('qemu-io writes, forces, zeroes, discards and reads back patterns', (t) => {
  const commands = [
    'write -P 0xa5 0 1M',
    'write -f -P 0x11 1M 64k',
    'write -z 128k 64k',
    'aio_write -P 0x22 2M 512k',
    'discard 256k 64k',
    'aio_flush',
    'flush',
    'read -P 0xa5 0 128k',
    'read -P 0 128k 64k',
    'read -P 0x11 1M 64k',
    'read -P 0x22 2M 512k',
  ];
  const output = run(t, 'qemu-io', '-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri);
  t.notRegex(output ?? '', /verification failed/);
});

test.serial('nbdcopy carries an image there and back over several connections', (t) => {
  const source = join(folder, 'source');
  const copy = join(folder, 'copy');
  writeFileSync(source, randomBytes(SIZE));
  if (run(t, 'nbdcopy', '--flush', source, uri) === undefined) return;
  run(t, 'nbdcopy', uri, copy);
  const bytes = readFileSync(source);
  t.true(bytes.equals(readFileSync(copy)));
  t.true(bytes.equals(readFileSync(image)), 'and the image holds the very bytes');
});

test.serial('fio writes at random and verifies every block by crc32c', (t) => {
  const engines = spawnSync('fio', ['--enghelp'], { encoding: 'utf8' });
  if (engines.error === undefined && !/\bnbd\b/.test(engines.stdout)) {
    console.warn(`SKIPPED: ${t.title}: this fio has no nbd engine`);
    t.pass();
    return;
  }
  const load = ['--rw=randrw', '--bs=4k', '--iodepth=16', `--size=${SIZE}`, '--io_size=8M'];
  const verify = ['--verify=crc32c', '--verify_fatal=1'];
  const output = run(t, 'fio', '--name=v', '--ioengine=nbd', `--uri=${uri}`, ...load, ...verify);
  if (output !== undefined) t.regex(output, /err= 0/);
});

test.serial('the kernel makes an ext4 on it, mounts it, and e2fsck finds it clean in the image', (t) => {
  const script = `
    set -eu
    for tool in nbdfuse fusermount3 mkfs.ext4 e2fsck losetup; do command -v $tool >/dev/null || exit 77; done
    [ "$(id -u)" = 0 ] && [ -e /dev/fuse ] && [ -e /dev/loop-control ] || exit 77
    nbdfuse ${folder}/mnt '${uri}' & sleep 1; n=0
    until [ -e ${folder}/mnt/nbd ]; do n=$((n + 1)); [ $n -lt 20 ] || exit 1; sleep 0.5; done
    mkfs.ext4 -q -F ${folder}/mnt/nbd
    loop=$(losetup -f --show ${folder}/mnt/nbd)
    mount $loop ${folder}/fs
    cp ${folder}/source ${folder}/fs/part || true; echo hello > ${folder}/fs/hello; sync
    umount ${folder}/fs; losetup -d $loop; fusermount3 -u ${folder}/mnt
    e2fsck -fn ${image}`;
  for (const name of ['mnt', 'fs']) mkdirSync(join(folder, name));
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8', timeout: 55_000 });
  if (status === 77) console.warn(`SKIPPED: ${t.title}: root, FUSE, loop devices and their tools are needed`);
  else t.is(status, 0, `${stdout}\n${stderr}`);
  t.pass();
});
