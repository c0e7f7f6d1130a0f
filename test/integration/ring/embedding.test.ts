// What a stranger does with the package: installs the tarball into an empty project and uses it from TypeScript, from
// require, from a bundle, and in a browser.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import test from 'ava';
import { build } from 'vite';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const home = mkdtempSync(join(tmpdir(), 'splitring-embed-'));
const tsc = `${root}node_modules/typescript/bin/tsc`;

/** Bytes that the core takes at most, minified and compressed: what it is now, rounded up. The aim is 8 KiB. */
const CORE_LIMIT_BYTES = 12 * 1024;
const CORE = `export {
  BackRing, createChannel, FrontRing, initRing, openChannel, spinThenWait, waitAsync, watch,
} from 'sharedarraybuffer-ring';`;

function run(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    shell: process.platform === 'win32',
    timeout: 50_000,
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? ''}${stdout}${stderr}`);
  return stdout;
}

test.before('build, pack and install into an empty project', (t) => {
  t.timeout(55_000);
  run(process.execPath, [tsc, '-b', 'packages/ring/tsconfig.streams.json'], root);
  run('npm', ['pack', '--silent', '--pack-destination', home], `${root}packages/ring`);
  const tarball = readdirSync(home).find((name) => name.endsWith('.tgz')) ?? '';
  writeFileSync(join(home, 'package.json'), '{"name":"empty","private":true}');
  run('npm', ['install', '--offline', '--no-audit', '--no-fund', '--ignore-scripts', `./${tarball}`], home);
});

test.after.always('remove the project', () => rmSync(home, { recursive: true, force: true, maxRetries: 10 }));

test.serial('the tarball has no dependency, no test, no build leftovers', (t) => {
  const { dependencies } = JSON.parse(readFileSync(`${root}packages/ring/package.json`, 'utf8'));
  t.is(dependencies, undefined);
  t.deepEqual(readdirSync(join(home, 'node_modules')).sort(), ['.package-lock.json', 'sharedarraybuffer-ring']);
  const files = readdirSync(join(home, 'node_modules/sharedarraybuffer-ring'), { recursive: true }).map(String);
  t.deepEqual(
    files.filter((file) => /test|tsbuildinfo|tsconfig/.test(file)),
    [],
  );
  t.true(files.includes('README.md'));
});

const TYPED = `
import { createChannel, openChannel, type Channel, RingError } from 'sharedarraybuffer-ring';
declare const console: { log(...values: unknown[]): void };
const channel: Channel = createChannel({ capacityBytes: 1024 });
channel.sender.trySend(Uint8Array.of(1, 2, 3));
const received: Uint8Array | undefined = openChannel(channel.handle).receiver.tryReceive();
// @ts-expect-error: the types really arrive
const wrong: string = received;
try { createChannel({ capacityBytes: 3 }); } catch (error) { if (error instanceof RingError) console.log(error.code); }
console.log(received?.length, wrong?.length);
`;

test.serial('ESM TypeScript: types resolve with nodenext and bundler, skipLibCheck off, and the program runs', (t) => {
  writeFileSync(join(home, 'app.mts'), TYPED);
  for (const [module, moduleResolution, noEmit] of [
    ['esnext', 'bundler', true],
    ['nodenext', 'nodenext', false],
  ] as const) {
    const compilerOptions = { strict: true, target: 'es2023', lib: ['es2023'], types: [], skipLibCheck: false };
    const config = { compilerOptions: { ...compilerOptions, module, moduleResolution, noEmit }, files: ['app.mts'] };
    writeFileSync(join(home, 'tsconfig.json'), JSON.stringify(config));
    run(process.execPath, [tsc, '-p', '.'], home);
  }
  t.is(run(process.execPath, ['app.mjs'], home), 'CHANNEL_CAPACITY\n3 3\n');
});

test.serial('require works: no top-level await anywhere', (t) => {
  const code = `const { createChannel } = require('sharedarraybuffer-ring');
    const { toReadable } = require('sharedarraybuffer-ring/node-streams');
    const { toReadableStream } = require('sharedarraybuffer-ring/web-streams');
    const c = createChannel({ capacityBytes: 64 });
    c.sender.trySend(Uint8Array.of(7));
    console.log(c.receiver.tryReceive()[0], typeof toReadable, typeof toReadableStream);`;
  writeFileSync(join(home, 'app.cjs'), code);
  t.is(run(process.execPath, ['app.cjs'], home), '7 function function\n');
});

/** Bundle with Vite as an embedder would. */
async function bundle(entry: string, outDir: string): Promise<void> {
  await build({
    root: home,
    configFile: false,
    logLevel: 'error',
    build: { outDir, emptyOutDir: true, target: 'es2022', lib: { entry, formats: ['es'], fileName: 'bundle' } },
  });
}

test.serial('the core stays small: Xen ring and channel, minified and compressed', async (t) => {
  writeFileSync(join(home, 'core.js'), CORE);
  await build({
    root: home,
    configFile: false,
    logLevel: 'error',
    build: {
      outDir: 'core',
      target: 'es2022',
      minify: true,
      rolldownOptions: {
        input: join(home, 'core.js'),
        preserveEntrySignatures: 'strict',
        output: { entryFileNames: 'core.js' },
      },
    },
  });
  const code = readFileSync(join(home, 'core/core.js'));
  const bytes = gzipSync(code, { level: 9 }).length;
  t.log(`${bytes} bytes of ${code.length}`);
  t.false(/(from|import)\s*\(?['"]/.test(code.toString()), 'the bundle needs nothing');
  t.true(bytes < CORE_LIMIT_BYTES, `${bytes} bytes`);
});

test.serial('a Vite bundle of the core runs by itself', async (t) => {
  writeFileSync(join(home, 'entry.js'), CORE);
  await bundle('entry.js', 'lib');
  const code = `import { createChannel } from './lib/bundle.mjs';
    const c = createChannel({ capacityBytes: 64 }); c.sender.trySend(Uint8Array.of(9)); console.log(c.receiver.tryReceive()[0]);`;
  writeFileSync(join(home, 'use.mjs'), code);
  t.is(run(process.execPath, ['use.mjs'], home), '9\n');
});

const CHROMIUMS = [
  'chromium',
  'chromium-browser',
  'google-chrome',
  'google-chrome-stable',
  process.env['CHROMIUM'] ?? '',
];
const chromium = CHROMIUMS.flatMap((name) =>
  name.includes('/') ? [name] : (process.env['PATH'] ?? '').split(':').map((folder) => join(folder, name)),
).find((path) => path !== '' && existsSync(path));
const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript' };

/** Serve a folder with the headers that shared memory needs in a browser, until the page posts its result. */
function serve(folder: string) {
  let tell: (result: unknown) => void = () => undefined;
  const result = new Promise((resolve) => {
    tell = resolve;
  });
  const server = createServer((request, response) => {
    if (request.method === 'POST') {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        response.end();
        tell(JSON.parse(body));
      });
      return;
    }
    const path = join(folder, request.url === '/' ? 'index.html' : (request.url ?? ''));
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    response.setHeader('Content-Type', TYPES[extname(path)] ?? 'application/octet-stream');
    if (existsSync(path)) response.end(readFileSync(path));
    else response.writeHead(404).end();
  });
  return { server, result };
}

if (chromium === undefined) {
  test.skip('SKIPPED: no Chromium here (set CHROMIUM to one): the ring in a cross-origin isolated page', () =>
    undefined);
} else {
  test.serial(
    'Chromium: a cross-origin isolated page and its worker talk over channels, bundled by Vite',
    async (t) => {
      t.timeout(55_000);
      const app = join(home, 'page');
      mkdirSync(app);
      cpSync(`${root}test/browser/ring`, app, { recursive: true });
      await build({
        root: app,
        configFile: false,
        logLevel: 'error',
        worker: { format: 'es' },
        build: { outDir: 'out', target: 'es2022' },
      });
      const { server, result } = serve(join(app, 'out'));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
      const flags = [
        '--headless=new',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-dev-shm-usage',
        `--user-data-dir=${home}/profile`,
      ];
      const browser = spawn(chromium, [...flags, url], { stdio: 'ignore' });
      try {
        t.deepEqual(await result, {
          isolated: true,
          canBlock: false,
          sum: 2 * ((2000 * 2001) / 2),
          reply: [2, 3, 4],
          blocking: 'WAIT_CANNOT_BLOCK',
          death: 'CHANNEL_PEER_DIED',
          streamed: [42],
        });
      } finally {
        const gone = once(browser, 'exit');
        browser.kill('SIGKILL');
        await gone;
        server.closeAllConnections();
        server.close();
      }
    },
  );
}
