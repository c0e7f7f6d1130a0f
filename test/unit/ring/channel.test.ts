// The message channel on one thread: geometry, records, batching, claims, controlled reads, several producers.
import test from 'ava';
import {
  type Channel,
  type ChannelHandle,
  createChannel,
  openChannel,
  SharedMemory,
  SlotBuffer,
} from 'sharedarraybuffer-ring';

const bytes = (length: number, seed = 1): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);
const drain = (channel: Channel): number[][] => channel.receiver.receiveBatch(1e6).map((message) => [...message]);

for (const kind of ['plain', 'wasm'] as const) {
  test(`Channel (${kind}): every length from 0 to the longest arrives unchanged, however it is sent and received`, (t) => {
    const memory = SharedMemory.allocate(1 << 16, kind);
    const channel = createChannel({ capacityBytes: 1024, memory });
    const { sender, receiver } = channel;
    const outbox = new SlotBuffer(1, 512, { memory, region: memory.reserve(512) });
    const inbox = new SlotBuffer(1, 512, { memory, region: memory.reserve(512) });
    const scratch = new Uint8Array(600);
    t.is(sender.maxMessageBytes, 504);
    for (let length = 0; length <= 504; length += 1) {
      const message = bytes(length, length);
      outbox.bytes.fill(0xee);
      outbox.bytes.set(message);
      t.true(sender.trySend(message, length));
      t.deepEqual(receiver.tryReceive(), message);
      t.is(receiver.tag, length);
      t.true(sender.trySendFrom(outbox, 0, length, -length));
      scratch.fill(0xaa);
      t.is(receiver.tryReceiveInto(scratch), length);
      t.deepEqual(scratch.subarray(0, length), message);
      t.true(scratch.subarray(length).every((byte) => byte === 0xaa));
      t.true(sender.trySendFrom(outbox, 0, length));
      inbox.bytes.fill(0xbb);
      sender.flush();
      t.is(receiver.tryReceiveTo(inbox, 0), length);
      t.deepEqual(inbox.bytes.subarray(0, length), message);
      t.true(inbox.bytes.subarray(length).every((byte) => byte === 0xbb));
    }
    t.is(receiver.tryReceive(), undefined);
  });
}

test('Channel: a reused array takes the aligned path and still carries its present bytes', (t) => {
  const { sender, receiver } = createChannel({ capacityBytes: 4096 });
  const reused = new Uint8Array(100);
  const target = new Uint8Array(100);
  for (let i = 0; i < 40; i += 1) {
    reused.set(bytes(100, i));
    t.true(sender.trySend(reused));
    sender.flush();
    t.is(receiver.tryReceiveInto(target), 100);
    t.deepEqual(target, reused);
  }
});

test('createChannel refuses impossible geometry before it allocates', (t) => {
  for (const capacityBytes of [0, 63, 65, 96, -64, 1.5, Number.NaN, 2 ** 31]) {
    t.throws(() => createChannel({ capacityBytes }), { code: 'CHANNEL_CAPACITY' });
  }
  for (const producers of [0, -1, 1.5, 1025]) {
    t.throws(() => createChannel({ capacityBytes: 64, producers }), { code: 'CHANNEL_LANES' });
  }
});

test('openChannel refuses what is no handle of this version, and a handle that does not fit its memory', (t) => {
  const { handle } = createChannel({ capacityBytes: 64 });
  const wrong: [string, object][] = [
    ['CHANNEL_HANDLE', { ...handle, version: 2 }],
    ['CHANNEL_HANDLE', { ...handle, kind: 'fixed-ring' }],
    ['CHANNEL_HANDLE', { ...handle, capacityBytes: 128 }],
    ['CHANNEL_HANDLE', { ...handle, at: 128 }],
    ['CHANNEL_HANDLE', { ...handle, at: 4 }],
    ['CHANNEL_HANDLE', { ...handle, at: -128 }],
    ['CHANNEL_HANDLE', { ...handle, at: Number.NaN }],
    ['CHANNEL_LANES', { ...handle, producers: 0 }],
    ['CHANNEL_CAPACITY', { ...handle, capacityBytes: 100 }],
    ['RING_NOT_SHARED', { ...handle, memory: { buffer: new ArrayBuffer(1 << 16) } }],
    ['RING_NOT_SHARED', { ...handle, memory: {} }],
    ['CHANNEL_HANDLE', { ...handle, memory: { buffer: new SharedArrayBuffer(1 << 16) } }],
  ];
  for (const [code, value] of wrong) t.throws(() => openChannel(value as ChannelHandle), { code });
  t.throws(() => openChannel(undefined as unknown as ChannelHandle), { code: 'CHANNEL_HANDLE' });
  t.is(openChannel(handle).inspect().receiver.state, 'free');
});

test('ChannelSender refuses a message longer than half the capacity, and nothing changes', (t) => {
  const channel = createChannel({ capacityBytes: 64 });
  t.is(channel.sender.maxMessageBytes, 24);
  t.throws(() => channel.sender.trySend(bytes(25)), { instanceOf: RangeError });
  t.throws(() => channel.sender.claim(25), { instanceOf: RangeError });
  t.throws(() => channel.sender.claim(Number.NaN), { instanceOf: RangeError });
  t.is(channel.sender.usedBytes, 0);
});

test('ChannelSender fills up, refuses, and goes on where it stopped, across the seam, for every start and length', (t) => {
  for (let length = 0; length <= 24; length += 1) {
    const channel = createChannel({ capacityBytes: 64 });
    let sent = 0;
    let received = 0;
    for (let round = 0; round < 50; round += 1) {
      while (channel.sender.trySend(bytes(length, sent))) sent += 1;
      t.true(sent > received);
      const take = 1 + (round % 3);
      for (const message of channel.receiver.receiveBatch(take)) {
        t.deepEqual(message, bytes(length, received));
        received += 1;
      }
    }
    t.deepEqual(drain(channel).length, sent - received);
  }
});

test('ChannelSender never claims the end of the lane without room for the message at its start', (t) => {
  const channel = createChannel({ capacityBytes: 64 }, { publish: 'manual' });
  const { sender, receiver } = channel;
  t.true(sender.trySend(bytes(24)));
  t.true(sender.trySend(bytes(8)));
  t.is(sender.usedBytes, 48);
  t.deepEqual(receiver.tryReceive()?.length, undefined, 'nothing is published yet');
  sender.flush();
  t.is(receiver.tryReceive()?.length, 24);
  receiver.release(); // 32 bytes free at the start, 16 at the end
  t.false(sender.trySend(bytes(25 - 1 + 0).subarray(0, 24)) && sender.usedBytes > 64);
  t.true(sender.usedBytes <= 64);
  t.is(receiver.tryReceive()?.length, 8);
  t.true(sender.trySend(bytes(24)) || sender.usedBytes <= 64);
});

test('PublishPolicy auto: the first message at once, the rest of the burst at the end of the turn', async (t) => {
  const channel = createChannel({ capacityBytes: 4096 });
  const visible = (): number => (channel.inspect().senders[0]?.usedBytes ?? 0) / 16;
  for (let i = 0; i < 5; i += 1) channel.sender.trySend(bytes(8));
  t.is(visible(), 1);
  await Promise.resolve();
  t.is(visible(), 5);
  channel.sender.trySend(bytes(8));
  t.is(visible(), 6, 'the next burst starts anew');
  for (let i = 0; i < 200; i += 1) channel.sender.trySend(bytes(8));
  t.true(visible() > 100 && visible() < 206, 'a long burst is published in batches');
});

test('PublishPolicy auto: a thread that finds a receiver empty, or waits, holds nothing back', async (t) => {
  const channel = createChannel({ capacityBytes: 4096 });
  const other = createChannel({ capacityBytes: 4096 });
  for (let i = 0; i < 5; i += 1) channel.sender.trySend(bytes(8));
  t.is(other.receiver.tryReceive(), undefined);
  t.is(channel.inspect().senders[0]?.usedBytes, 80);
});

test('PublishPolicy each and manual', async (t) => {
  const each = createChannel({ capacityBytes: 1024 }, { publish: 'each' });
  for (let i = 0; i < 3; i += 1) {
    each.sender.trySend(bytes(8));
    t.is(each.receiver.receiveBatch(10).length, 1);
  }
  const manual = createChannel({ capacityBytes: 1024 }, { publish: 'manual' });
  manual.sender.trySend(bytes(8));
  await new Promise((resolve) => setImmediate(resolve));
  t.is(manual.receiver.receiveBatch(10).length, 0);
  manual.sender.flush();
  t.is(manual.receiver.receiveBatch(10).length, 1);
  while (manual.sender.trySend(bytes(8)));
  t.true(manual.receiver.receiveBatch(1e3).length > 10, 'a full lane is published');
});

test('claim, write in place, commit shorter or abort', (t) => {
  const { sender, receiver } = createChannel({ capacityBytes: 256 }, { publish: 'each' });
  const at = sender.claim(16);
  t.is(at % 8, 0);
  sender.data.setUint32(at, 0xdeadbeef, true);
  t.throws(() => sender.claim(8), { code: 'CHANNEL_CLAIMED' });
  t.throws(() => sender.trySend(bytes(1)), { code: 'CHANNEL_CLAIMED' });
  t.throws(() => sender.commit(0, 17), { code: 'CHANNEL_NOT_CLAIMED' });
  sender.commit(5, 4);
  t.deepEqual(receiver.tryReceive(), Uint8Array.of(0xef, 0xbe, 0xad, 0xde));
  t.is(receiver.tag, 5);
  t.throws(() => sender.commit(), { code: 'CHANNEL_NOT_CLAIMED' });
  t.true(sender.claim(100) >= 0);
  sender.abort();
  t.is(receiver.tryReceive(), undefined);
  t.true(sender.trySend(bytes(3)));
  t.deepEqual(receiver.tryReceive(), bytes(3));
});

test('read: a refused message, and one whose handler throws, stay in place', (t) => {
  const { sender, receiver } = createChannel({ capacityBytes: 1024 });
  for (let i = 0; i < 5; i += 1) sender.trySend(Uint8Array.of(i), i);
  sender.flush();
  const seen: number[] = [];
  const taken = receiver.read((data, at, length, tag) => {
    seen.push(data[at] as number);
    t.is(length, 1);
    return tag !== 2;
  });
  t.is(taken, 2);
  t.deepEqual(seen, [0, 1, 2]);
  t.throws(
    () =>
      receiver.read(() => {
        throw new Error('no');
      }),
    { message: 'no' },
  );
  t.is(
    receiver.read(() => true, 2),
    2,
  );
  t.deepEqual(drain({ receiver } as Channel), [[4]]);
});

test('tryReceiveInto refuses a target that is too small and leaves the message', (t) => {
  const { sender, receiver } = createChannel({ capacityBytes: 1024 });
  sender.trySend(bytes(10));
  t.throws(() => receiver.tryReceiveInto(new Uint8Array(9)), { instanceOf: RangeError });
  t.throws(() => receiver.tryReceiveTo(new SlotBuffer(1, 16), 8), { instanceOf: RangeError });
  t.is(receiver.tryReceiveInto(new Uint8Array(10)), 10);
});

test('several producers: each in its own order, none starved, none beyond the lanes', (t) => {
  const channel = createChannel({ capacityBytes: 8192, producers: 3 }, { publish: 'each' });
  const senders = [channel.openSender(), channel.openSender(), channel.openSender()];
  t.throws(() => channel.openSender(), { code: 'CHANNEL_END_TAKEN' });
  for (let i = 0; i < 200; i += 1) for (const [p, sender] of senders.entries()) sender.trySend(Uint8Array.of(i), p);
  const next = [0, 0, 0];
  const firstHundred = new Set<number>();
  for (let n = 0; n < 600; n += 1) {
    const message = channel.receiver.tryReceive();
    const { producer, tag } = channel.receiver;
    t.is(producer, tag);
    t.true(message?.[0] === next[tag]);
    next[tag] = (next[tag] ?? 0) + 1;
    if (n < 200) firstHundred.add(tag);
  }
  t.deepEqual(next, [200, 200, 200]);
  t.is(firstHundred.size, 3);
  senders[1]?.close();
  t.is(channel.openSender().generation, 2, 'a lane closed in order is free for another producer');
});

test('Channel.inspect reads states and occupancy without touching the channel', (t) => {
  const channel = createChannel({ capacityBytes: 256, producers: 2 }, { publish: 'each' });
  t.deepEqual(channel.inspect(), {
    receiver: { state: 'free', generation: 0 },
    senders: [
      { state: 'free', generation: 0, usedBytes: 0 },
      { state: 'free', generation: 0, usedBytes: 0 },
    ],
  });
  channel.sender.trySend(bytes(9));
  t.is(channel.inspect().senders[0]?.usedBytes, 24);
  t.is(channel.inspect().receiver.state, 'free', 'looking does not open an end');
  channel.receiver.close();
  t.is(channel.inspect().receiver.state, 'closed');
});

test('a message longer than one window, and empty messages, keep order across 4 GiB of positions', (t) => {
  for (const start of [-64, 0x7fffffff - 63, -8, 0x7ffffff8]) {
    const fresh = createChannel({ capacityBytes: 256 });
    const words = new Int32Array(fresh.handle.memory.buffer as SharedArrayBuffer);
    words[128] = start; // tail
    words[128 + 32] = start; // head
    let sent = 0;
    let got = 0;
    for (let i = 0; i < 100; i += 1) {
      while (fresh.sender.trySend(Uint8Array.of(sent & 0xff, 1, 2), sent)) sent += 1;
      for (const message of fresh.receiver.receiveBatch(1e3)) {
        t.is(message[0], got & 0xff);
        got += 1;
      }
    }
    t.is(got, sent);
    t.true(got > 1000);
  }
});
