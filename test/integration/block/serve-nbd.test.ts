// `npm run serve-nbd` as a person meets it: prints a URI, refuses in words, leaves nothing behind, takes over a stale socket.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';

const CLI = new URL('../../../packages/splitring/src/cli/serve-nbd.ts', import.meta.url).pathname;
const flags = process.execArgv.filter((flag) => !flag.startsWith('--inspect'));
const folder = mkdtempSync(join(tmpdir(), 'splitring-serve-'));
const socket = join(folder, 'n.sock');
const image = join(folder, 'a.img');
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

/** Start it, and wait for its first line or its end. */
async function serve(...args: readonly string[]) {
  const child: ChildProcess = spawn(process.execPath, [...flags, CLI, ...args]);
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const line = new Promise<string>((resolve) =>
    child.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString().trim())),
  );
  const uri = await Promise.race([line, ended.then(() => '')]);
  const stop = (signal: NodeJS.Signals) => {
    child.kill(signal);
    return ended;
  };
  return { uri, stop, code: uri === '' ? await ended : undefined, errors: () => errors };
}

/** The first bytes that the server says. */
function greeting(): Promise<string> {
  return new Promise((resolve, reject) => {
    const client = createConnection(socket);
    client.once('data', (chunk: Buffer) => {
      client.destroy();
      resolve(chunk.toString('latin1', 0, 8));
    });
    client.once('error', reject);
  });
}

test.serial(
  'it serves, refuses a second user of image and socket, and takes its socket away when asked to end',
  async (t) => {
    t.timeout(55_000);
    const server = await serve('--image', image, '--size', '1MiB', '--socket', socket);
    t.is(server.uri, `nbd+unix:///disk0?socket=${socket}`);
    t.is(await greeting(), 'NBDMAGIC');
    const second = await serve('--image', image);
    t.is(second.code, 2);
    t.regex(second.errors(), /another process holds it/);
    writeFileSync(join(folder, 'b.img'), new Uint8Array(4096));
    const third = await serve('--image', join(folder, 'b.img'), '--socket', socket);
    t.is(third.code, 2);
    t.regex(third.errors(), /it is in use/);
    t.is(await server.stop('SIGINT'), 0);
    t.false(existsSync(socket));
  },
);

test.serial('a server that was killed leaves a socket, which the next one takes over', async (t) => {
  t.timeout(55_000);
  const killed = await serve('--image', image, '--socket', socket);
  t.not(killed.uri, '');
  await killed.stop('SIGKILL');
  t.true(existsSync(socket));
  const next = await serve('--image', image, '--socket', socket);
  t.is(next.uri, `nbd+unix:///disk0?socket=${socket}`, next.errors());
  t.is(await greeting(), 'NBDMAGIC');
  t.is(await next.stop('SIGTERM'), 0);
});

const long = join(folder, 'x'.repeat(120));
for (const [what, args, message] of [
  ['a size of no whole sectors', ['--image', image, '--size', '1000'], /multiple of 512/],
  ['an image without a name', ['--image', ''], /it is empty/],
  ['a socket and a port', ['--image', image, '--socket', socket, '--port', '0'], /cannot be used with/],
  ['a socket in no directory', ['--image', image, '--socket', join(folder, 'none', 's')], /there is no directory/],
  ['a path that is too long for a socket', ['--image', image, '--socket', long], /107 bytes at most/],
  ['a name that is too long for the protocol', ['--image', image, '--name', 'x'.repeat(4097)], /4096 bytes/],
] as const) {
  test.serial(`${what} is refused in one line, and no image is made`, async (t) => {
    const before = existsSync(image);
    const { code, errors } = await serve(...args);
    t.is(code, 2);
    t.regex(errors(), message);
    t.is(errors().trim().split('\n').length, 1);
    t.is(existsSync(image), before);
  });
}

test.serial('an image that exists keeps its size, and its user is told', async (t) => {
  const path = join(folder, 'kept.img');
  writeFileSync(path, new Uint8Array(4096));
  const server = await serve('--image', path, '--size', '1MiB', '--socket', socket);
  t.regex(server.errors(), /keeps its size of 4.0 KiB/);
  t.is(await server.stop('SIGTERM'), 0);
});
