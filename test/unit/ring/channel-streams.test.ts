// Channels as streams: contents, endings in both directions, and back-pressure that really holds the writer.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import test from 'ava';
import { createChannel } from 'sharedarraybuffer-ring';
import { toReadable, toWritable } from 'sharedarraybuffer-ring/node-streams';
import { toReadableStream, toWritableStream } from 'sharedarraybuffer-ring/web-streams';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const big = Uint8Array.from({ length: 10_000 }, (_, i) => (i * 31) & 0xff);

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Uint8Array.from(all.flatMap((chunk) => [...chunk]));
}

test('toWritable and toReadable carry bytes through a small channel and end together', async (t) => {
  const channel = createChannel({ capacityBytes: 256 });
  const source = Readable.from([big.subarray(0, 5000), big.subarray(5000, 5001), big.subarray(5001)]);
  const sent = pipeline(source, toWritable(channel.sender));
  t.deepEqual(await collect(toReadable(channel.receiver)), big);
  await sent;
  t.deepEqual(channel.receiver.ending, { kind: 'closed' });
});

test('toReadable in object mode keeps messages apart, empty ones included', async (t) => {
  const channel = createChannel({ capacityBytes: 1024 });
  for (const length of [3, 0, 5]) channel.sender.trySend(big.subarray(0, length));
  channel.sender.close();
  const lengths: number[] = [];
  for await (const message of toReadable(channel.receiver, { objectMode: true })) lengths.push(message.length);
  t.deepEqual(lengths, [3, 0, 5]);
  const bytes = createChannel({ capacityBytes: 1024 });
  for (const length of [3, 0, 5]) bytes.sender.trySend(big.subarray(0, length));
  bytes.sender.close();
  t.is((await collect(toReadable(bytes.receiver))).length, 8);
});

test('toReadable takes no more than it may buffer; the rest stays in the channel and holds the writer', async (t) => {
  const channel = createChannel({ capacityBytes: 1024 });
  const writable = toWritable(channel.sender, { highWaterMark: 1 });
  const readable = toReadable(channel.receiver, { highWaterMark: 1 });
  let written = 0;
  readable.on('readable', () => undefined); // start reading, take nothing
  const write = (): void => {
    writable.write(new Uint8Array(56), () => {
      written += 1;
      if (written < 1000) write();
    });
  };
  write();
  for (let i = 0; i < 50; i += 1) await turn();
  t.true(written <= 1024 / 64 + 3, `${written} messages went in`);
  const stuckAt = written;
  while (readable.read() !== null) await turn();
  for (let i = 0; i < 20; i += 1) await turn();
  t.true(written > stuckAt, 'reading lets the writer go on');
  readable.destroy();
  writable.on('error', () => undefined);
});

test('Node streams: failures cross in both directions', async (t) => {
  const a = createChannel({ capacityBytes: 1024 });
  const reading = collect(toReadable(a.receiver));
  toWritable(a.sender)
    .on('error', () => undefined)
    .destroy(new Error('disk full'));
  await t.throwsAsync(reading, { code: 'CHANNEL_FAILED', message: /disk full/ });
  const b = createChannel({ capacityBytes: 64 });
  toReadable(b.receiver).destroy();
  await turn();
  await t.throwsAsync(pipeline(Readable.from([big]), toWritable(b.sender)), { code: 'CHANNEL_CLOSED' });
  const c = createChannel({ capacityBytes: 64 });
  toReadable(c.receiver)
    .on('error', () => undefined)
    .destroy(new Error('reader broke'));
  await turn();
  t.deepEqual(c.sender.ending, { kind: 'failed', reason: 'reader broke' });
  const d = createChannel({ capacityBytes: 64 });
  toWritable(d.sender).destroy();
  await t.throwsAsync(collect(toReadable(d.receiver)), { code: 'CHANNEL_FAILED' }, 'cut off is not complete');
});

test('toWritable in object mode refuses a message that does not fit', async (t) => {
  const { sender } = createChannel({ capacityBytes: 64 });
  await t.throwsAsync(pipeline(Readable.from([big]), toWritable(sender, { objectMode: true })), {
    instanceOf: RangeError,
  });
});

test('toWritableStream and toReadableStream carry bytes through a small channel and end together', async (t) => {
  const channel = createChannel({ capacityBytes: 256 });
  const writer = toWritableStream(channel.sender).getWriter();
  const sent = (async () => {
    await writer.write(big);
    await writer.write(new Uint8Array(0));
    await writer.close();
  })();
  t.deepEqual(await collect(toReadableStream(channel.receiver)), big);
  await sent;
});

test('toReadableStream reads nothing ahead, and a full channel holds the writer', async (t) => {
  const channel = createChannel({ capacityBytes: 256 });
  const stream = toReadableStream(channel.receiver);
  const writer = toWritableStream(channel.sender).getWriter();
  let written = 0;
  for (let i = 0; i < 20; i += 1) {
    void writer.write(new Uint8Array(56)).then(
      () => {
        written += 1;
      },
      () => undefined,
    );
  }
  for (let i = 0; i < 20; i += 1) await turn();
  t.is(written, 4);
  const reader = stream.getReader();
  await reader.read();
  for (let i = 0; i < 20; i += 1) await turn();
  t.is(written, 5);
  await reader.cancel();
  await t.throwsAsync(() => writer.closed, { code: 'CHANNEL_CLOSED' });
});

test('WHATWG streams: an aborted writer fails the reader with its reason', async (t) => {
  const channel = createChannel({ capacityBytes: 256 });
  const reading = collect(toReadableStream(channel.receiver));
  await toWritableStream(channel.sender).abort(new Error('given up'));
  await t.throwsAsync(reading, { code: 'CHANNEL_FAILED', message: /given up/ });
});
