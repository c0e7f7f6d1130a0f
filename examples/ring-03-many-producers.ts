// Three workers write to one reader; one of them crashes. The others are not held up, and the reader is not left waiting.
// Read next: ring-04-streams.ts
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { createChannel, openChannel, watch } from 'sharedarraybuffer-ring';

if (isMainThread) {
  const channel = createChannel({ capacityBytes: 1 << 14, producers: 3 }); // it ends when three have come and are gone
  for (const name of ['a', 'b', 'crash']) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { name, handle: channel.handle } });
    worker.on('error', () => undefined); // the crash below; the channel tells it too
    watch(worker, channel, { end: 'sender' });
  }

  const received = new Map<number, number>();
  for (;;) {
    try {
      if (!(await channel.receiver.ready())) break;
    } catch {
      break; // closed and died at once: the death counts, and every message has been read
    }
    channel.receiver.read((_bytes, _at, _length, tag) => {
      received.set(tag, (received.get(tag) ?? 0) + 1);
    });
  }
  console.log(Object.fromEntries([...received].sort(([a], [b]) => a - b)));
  const crashed = channel.inspect().senders.filter(({ state }) => state === 'died');
  console.log(`${crashed.length} producer died`);
} else {
  const { name, handle } = workerData;
  const { sender } = openChannel(handle);
  const tag = name.charCodeAt(0);
  for (let i = 0; i < 1000; i += 1) sender.sendSync(new Uint8Array(i % 200), { tag });
  if (name === 'crash') {
    sender.flush();
    sender.claim(100); // never committed: nobody waits for it
    throw new Error('crashed on purpose');
  }
  sender.close();
}
