// A file through a worker as Node streams: the reader's pace holds the writer, whatever the sizes.
// Read next: ../packages/ring/README.md
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { createChannel, openChannel, watch } from 'sharedarraybuffer-ring';
import { toReadable, toWritable } from 'sharedarraybuffer-ring/node-streams';

if (isMainThread) {
  const channel = createChannel({ capacityBytes: 1 << 14 });
  const worker = new Worker(new URL(import.meta.url), { workerData: channel.handle });
  watch(worker, channel);
  const theirs = new Promise((resolve) => worker.once('message', resolve));
  const chunks = Array.from({ length: 64 }, (_, i) => Buffer.alloc(20_000, i));
  await pipeline(Readable.from(chunks), toWritable(channel.sender));
  const ours = createHash('sha256').update(Buffer.concat(chunks)).digest('hex');
  console.log((await theirs) === ours ? 'the same bytes' : 'other bytes');
} else {
  const hash = createHash('sha256');
  await pipeline(toReadable(openChannel(workerData).receiver), hash);
  parentPort?.postMessage(hash.digest('hex'));
}
