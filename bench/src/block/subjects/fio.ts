// fio, which storage people trust: on the image by pread and pwrite, or on our export as an NBD client.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { OpenSubject } from '../../harness/contract.ts';
import { makeImage } from '../image.ts';
import { OwnLoop } from '../own-loop.ts';
import { type BlockParams, IMAGE_BYTES } from '../params.ts';

/** One run. @returns nanoseconds per operation by fio's own clock, its start-up not counted */
async function runFio(target: readonly string[], params: BlockParams, operations: number): Promise<number> {
  const { bytes, depth, pattern, op } = params;
  const fio = spawn(
    'fio',
    [
      '--name=bench',
      '--output-format=json',
      '--norandommap',
      '--invalidate=0', // the image stays cached, as for everybody else
      `--rw=${pattern === 'random' ? 'rand' : ''}${op}`,
      `--bs=${bytes}`,
      `--iodepth=${depth}`,
      `--size=${IMAGE_BYTES}`,
      `--io_size=${operations * bytes}`,
      ...target,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let output = '';
  for await (const chunk of fio.stdout.setEncoding('utf8')) output += chunk;
  const report = JSON.parse(output.slice(output.indexOf('{'))) as FioReport; // fio's documented output
  return 1e9 / (report.jobs[0]?.[op === 'read' ? 'read' : 'write'].iops ?? 0);
}

interface FioReport {
  readonly jobs: readonly Readonly<Record<'read' | 'write', { readonly iops: number }>>[];
}

/** Serve the image in a process of its own. @returns its address and how to end it */
async function serve(image: string): Promise<{ uri: string; end: () => Promise<void> }> {
  const cli = fileURLToPath(new URL('./cli/serve-nbd.js', import.meta.resolve('splitring')));
  const server = spawn(process.execPath, [cli, '--image', image, '--socket', `${image}.sock`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const uri = await new Promise<string>((resolve, reject) => {
    server.stdout.once('data', (line: Buffer) => resolve(line.toString().trim()));
    void ended.then(() => reject(new Error('serve-nbd ended')));
  });
  const end = () => {
    server.kill('SIGTERM');
    return ended;
  };
  return { uri, end };
}

/** Open the subject; `engine` is `psync` or `nbd`. */
export async function open(params: BlockParams): Promise<OpenSubject> {
  const image = makeImage();
  const own = new OwnLoop(image.path, { ...params, depth: 1 }, 99);
  const server = params['engine'] === 'nbd' ? await serve(image.path) : undefined;
  const target =
    server === undefined ? ['--ioengine=psync', `--filename=${image.path}`] : ['--ioengine=nbd', `--uri=${server.uri}`];
  return {
    trial: async (operations) => {
      const base = Math.max(16, operations >> 2);
      const before = own.run(base);
      const value = await runFio(target, params, Math.max(256, operations)); // fio's clock has milliseconds
      return { value, bases: { own: (before + own.run(base)) / 2 } };
    },
    close: async () => {
      own.close();
      await server?.end();
      image.remove();
    },
  };
}
