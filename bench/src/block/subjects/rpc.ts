// What people do today: a worker that owns the file, asked by postMessage, requests pipelined to the same depth.
import { openSync, readSync, writeSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { pinThread, threadId } from '../../harness/affinity.ts';
import type { OpenSubject } from '../../harness/contract.ts';
import { makeImage } from '../image.ts';
import { OwnLoop } from '../own-loop.ts';
import { type BlockParams, Positions } from '../params.ts';

interface ServerData {
  readonly image: string;
  readonly memory: SharedArrayBuffer;
  readonly params: BlockParams;
}

/** Serve: read or write the asked block of the shared memory, answer with its number. */
function serve({ image, memory, params }: ServerData): void {
  const file = openSync(image, 'r+');
  const isRead = params.op === 'read';
  const blocks = Array.from({ length: params.depth }, (_, i) => new Uint8Array(memory, i * params.bytes, params.bytes));
  parentPort?.on('message', ({ block, offset }: { block: number; offset: number }) => {
    const buffer = blocks[block] as Uint8Array; // our own client's numbers
    if (isRead) readSync(file, buffer, 0, params.bytes, offset);
    else writeSync(file, buffer, 0, params.bytes, offset);
    parentPort?.postMessage(block);
  });
  parentPort?.postMessage(-1 - (threadId() ?? 0));
}

/** Open the subject. */
export async function open(params: BlockParams): Promise<OpenSubject> {
  const image = makeImage();
  const memory = new SharedArrayBuffer(params.bytes * params.depth);
  const data: ServerData = { image: image.path, memory, params };
  const worker = new Worker(new URL(import.meta.url), { workerData: data });
  const ready = await new Promise<number>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', resolve);
  });
  pinThread(-1 - ready, 1);
  pinThread(threadId(), 0);
  const positions = new Positions(params, 7);
  const own = new OwnLoop(image.path, params, 99);

  function run(operations: number): Promise<number> {
    return new Promise((resolve) => {
      let submitted = 0;
      let completed = 0;
      const from = performance.now();
      const submit = (block: number) => {
        submitted += 1;
        worker.postMessage({ block, offset: positions.next() });
      };
      worker.removeAllListeners('message');
      worker.on('message', (block: number) => {
        completed += 1;
        if (completed === operations) resolve(((performance.now() - from) * 1e6) / operations);
        else if (submitted < operations) submit(block);
      });
      for (let i = 0; i < Math.min(params.depth, operations); i += 1) submit(i);
    });
  }

  return {
    trial: async (operations) => {
      const before = own.run(Math.max(16, operations >> 2));
      const value = await run(operations);
      return { value, bases: { own: (before + own.run(Math.max(16, operations >> 2))) / 2 } };
    },
    close: async () => {
      await worker.terminate();
      own.close();
      image.remove();
    },
  };
}

if (!isMainThread && workerData !== null) serve(workerData as ServerData); // made by open()
