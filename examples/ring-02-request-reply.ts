// Request and reply: a blocked caller, an awaiting caller, and a call that gives up without harming the next one.
// Read next: ring-03-many-producers.ts
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { createRpc, openRpc, type RingError, watch } from 'sharedarraybuffer-ring';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

if (isMainThread) {
  const rpc = createRpc({ capacityBytes: 1 << 16 });
  const worker = new Worker(new URL(import.meta.url), { workerData: rpc.handle });
  watch(worker, rpc.requests, { end: 'receiver' });
  watch(worker, rpc.replies, { end: 'sender' });

  // A thread that watches the worker may block only with a timeout: while blocked, it could not see the death.
  console.log(text(rpc.caller.callSync(bytes('blocking'), { timeoutMs: 10_000 })));

  const answers = await Promise.all(['one', 'two', 'three'].map((word) => rpc.caller.call(bytes(word))));
  console.log(answers.map(text).join(', '));

  try {
    await rpc.caller.call(bytes('sleep'), { timeoutMs: 20 });
  } catch (error) {
    console.log((error as RingError).code);
  }
  console.log(text(await rpc.caller.call(bytes('afterwards'))));
  rpc.caller.close();
} else {
  await openRpc(workerData).responder.serve(async (request) => {
    if (text(request) === 'sleep') await new Promise((resolve) => setTimeout(resolve, 100));
    return bytes(text(request).toUpperCase());
  });
}
