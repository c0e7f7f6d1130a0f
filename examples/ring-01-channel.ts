// A channel from the main thread to a worker: messages of any length, back-pressure, an orderly end.
// Read next: ring-02-request-reply.ts
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { createChannel, openChannel, watch } from 'sharedarraybuffer-ring';

if (isMainThread) {
  const channel = createChannel({ capacityBytes: 1 << 16 });
  const worker = new Worker(new URL(import.meta.url), { workerData: channel.handle });
  watch(worker, channel); // if it dies, every call below learns it
  const answer = new Promise((resolve) => worker.once('message', resolve));

  const bytes = new Uint8Array(112).fill(1);
  for (let i = 0; i < 100_000; i += 1) {
    if (!channel.sender.trySend(bytes)) await channel.sender.send(bytes); // full: wait for room
  }
  channel.sender.close();
  console.log('the worker received', await answer);
} else {
  let messages = 0;
  let sum = 0;
  for await (const message of openChannel(workerData).receiver) {
    messages += 1;
    sum += message.length;
  }
  parentPort?.postMessage(`${messages} messages, ${sum} bytes`);
}
