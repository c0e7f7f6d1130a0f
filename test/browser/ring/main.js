// What an embedder's page would do, told to the server that started the browser.
import { canThreadBlock, createChannel, createRpc, watch } from 'sharedarraybuffer-ring';
import { toReadableStream } from 'sharedarraybuffer-ring/web-streams';

async function fill(channel, count) {
  for (let i = 1; i <= count; i += 1) {
    const message = new Uint8Array(4 + (i % 100));
    new DataView(message.buffer).setUint32(0, i, true);
    await channel.sender.send(message);
  }
  channel.sender.close();
}

async function run() {
  const numbers = createChannel({ capacityBytes: 4096 });
  const memory = createChannel({ capacityBytes: 4096, memory: 'wasm' });
  const rpc = createRpc({ capacityBytes: 4096 });
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  const sum = new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
  worker.postMessage({ numbers: numbers.handle, memory: memory.handle, rpc: rpc.handle });
  await fill(numbers, 2000);
  await fill(memory, 2000);
  const result = { isolated: crossOriginIsolated, canBlock: canThreadBlock(), sum: await sum };

  result.reply = [...(await rpc.caller.call(Uint8Array.of(1, 2, 3)))];
  try {
    rpc.caller.callSync(Uint8Array.of(1));
  } catch (error) {
    result.blocking = error.code;
  }
  const dying = watch(worker, rpc.requests, { end: 'receiver' });
  const dyingToo = watch(worker, rpc.replies, { end: 'sender' });
  worker.terminate(); // a browser reports no end of a worker: say it
  dying.died();
  dyingToo.died();
  try {
    await rpc.caller.call(Uint8Array.of(1));
  } catch (error) {
    result.death = error.code;
  }

  const local = createChannel({ capacityBytes: 1024 });
  local.sender.trySend(Uint8Array.of(42));
  local.sender.close();
  result.streamed = [];
  const reader = toReadableStream(local.receiver).getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) result.streamed.push(...next.value);
  return result;
}

const result = await run().catch((error) => ({ error: `${error.code ?? ''} ${error.stack ?? error}` }));
await fetch('/result', { method: 'POST', body: JSON.stringify(result) });
