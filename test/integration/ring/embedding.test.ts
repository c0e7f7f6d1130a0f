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

/** What an embedder imports, as the package's README names it. */
const IMPORTS = {
  'the Xen ring': "{ FrontRing, BackRing, initRing } from 'sharedarraybuffer-ring/sync'",
  'the channel, polling and blocking': "{ createChannel, openChannel } from 'sharedarraybuffer-ring/sync'",
  'the Xen ring and that channel':
    "{ FrontRing, BackRing, initRing, createChannel, openChannel } from 'sharedarraybuffer-ring/sync'",
  'the same and `watch`, for the thread that owns the worker':
    "{ FrontRing, BackRing, initRing, createChannel, openChannel, watch } from 'sharedarraybuffer-ring/sync'",
  'the channel, awaited too, with native copies': "{ createChannel, openChannel } from 'sharedarraybuffer-ring'",
  'the Xen ring, that channel and `watch`':
    "{ FrontRing, BackRing, initRing, createChannel, openChannel, watch } from 'sharedarraybuffer-ring'",
} as const;
const CORE = `export ${IMPORTS['the Xen ring and that channel']}`;
/** Bytes that the core takes at most, minified and compressed. */
const CORE_LIMIT_BYTES = 8 * 1024;

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
    const sync = require('sharedarraybuffer-ring/sync').openChannel(c.handle); // ends of either import fit together
    console.log(sync.receiver.tryReceive()[0], typeof toReadable, typeof toReadableStream);`;
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

/** Bytes of a bundle of one import, minified and compressed. */
async function bundledBytes(name: string, code: string): Promise<number> {
  writeFileSync(join(home, `${name}.js`), code);
  await build({
    root: home,
    configFile: false,
    logLevel: 'error',
    build: {
      outDir: name,
      target: 'es2022',
      minify: true,
      rolldownOptions: {
        input: join(home, `${name}.js`),
        preserveEntrySignatures: 'strict',
        output: { entryFileNames: 'bundle.js' },
      },
    },
  });
  const bundled = readFileSync(join(home, name, 'bundle.js'));
  if (/(from|import)\s*\(?['"]/.test(bundled.toString())) throw new Error('the bundle needs something');
  return gzipSync(bundled, { level: 9 }).length;
}

test.serial('the core stays small, minified and compressed, and the README tells the sizes', async (t) => {
  const readme = readFileSync(`${root}packages/ring/README.md`, 'utf8');
  for (const [what, code] of Object.entries(IMPORTS)) {
    const bytes = await bundledBytes('core', `export ${code}`);
    const kilobytes = (bytes / 1000).toFixed(1);
    t.log(`| ${what} | ${kilobytes} kB |`);
    const told = Number(
      readme
        .split('\n')
        .find((line) => line.startsWith(`| ${what} `))
        ?.match(/([\d.]+) kB/)?.[1],
    );
    t.true(Math.abs(told * 1000 - bytes) < 250, `the README tells ${told} kB of "${what}", it is ${kilobytes}`);
    if (code === IMPORTS['the Xen ring and that channel']) t.true(bytes < CORE_LIMIT_BYTES, `${bytes} bytes`);
  }
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
