// Fixed-size messages, one producer and one consumer, in both kinds of memory; no thread.
import test from 'ava';
import {
  createFixedRing,
  FixedConsumer,
  FixedProducer,
  RingError,
  SharedMemory,
  SlotBuffer,
} from 'sharedarraybuffer-ring';

const SIZES = [1, 8, 60, 64, 112, 200, 255, 256, 1024, 16384];

for (const kind of ['plain', 'wasm'] as const) {
  for (const slotBytes of SIZES) {
    test(`FixedProducer and FixedConsumer carry ${slotBytes} B messages whole and in order (${kind})`, (t) => {
      const memory = SharedMemory.allocate(1 << 19, kind);
      const handle = createFixedRing({ slotBytes, slots: 8, memory });
      const inMemory = () =>
        new SlotBuffer(2, slotBytes, { memory, region: memory.reserve(2 * Math.ceil(slotBytes / 8) * 8) });
      const producer = new FixedProducer(handle, { memory });
      const consumer = new FixedConsumer(handle, { memory });
      for (const [outbox, inbox] of [
        [inMemory(), inMemory()],
        [new SlotBuffer(2, slotBytes), new SlotBuffer(2, slotBytes)],
      ] as const) {
        let sent = 0;
        let received = 0;
        while (received < 100) {
          outbox.bytes.fill(sent, outbox.offset(1), outbox.offset(1) + slotBytes);
          if (sent < 100 && producer.trySend(outbox, 1)) sent += 1;
          else {
            producer.flush();
            t.true(consumer.tryReceive(inbox, 1));
            const seen = inbox.bytes.subarray(inbox.offset(1), inbox.offset(1) + slotBytes);
            t.true(seen.every((byte) => byte === (received & 255)));
            received += 1;
          }
        }
        t.false(consumer.tryReceive(inbox, 1));
      }
    });
  }
}

test('FixedProducer publishes to a starving consumer at once, then in growing batches', (t) => {
  const handle = createFixedRing({ slotBytes: 8, slots: 256 });
  const producer = new FixedProducer(handle);
  const consumer = new FixedConsumer(handle);
  const box = new SlotBuffer(1, 8);
  const drain = () => {
    let count = 0;
    while (consumer.tryReceive(box, 0)) count += 1;
    return count;
  };
  const seen: number[] = [];
  for (let i = 0; i < 200; i += 1) {
    producer.trySend(box, 0);
    const count = drain();
    if (count > 0) seen.push(count);
  }
  t.deepEqual(seen.slice(0, 6), [1, 2, 4, 8, 16, 32]);
  t.true(producer.staged > 0);
  producer.flush();
  t.is(producer.staged, 0);
});

test('FixedProducer.trySendMany sends across the seam, up to the room there is, and publishes full batches', (t) => {
  const handle = createFixedRing({ slotBytes: 8, slots: 64 });
  const producer = new FixedProducer(handle);
  const consumer = new FixedConsumer(handle);
  const outbox = new SlotBuffer(80, 8);
  const inbox = new SlotBuffer(80, 8);
  for (let i = 0; i < 80; i += 1) outbox.words[2 * i] = i;
  t.is(producer.trySendMany(outbox, 0, 0), 0);
  t.is(producer.trySendMany(outbox, 5, 40), 40);
  t.is(producer.staged, 0, 'a full batch is published');
  t.is(consumer.tryReceiveMany(inbox, 0, 0), 0);
  t.is(consumer.tryReceiveMany(inbox, 3, 50), 40);
  t.is(consumer.tryReceiveMany(inbox, 0, 80), 0);
  t.is(producer.trySendMany(outbox, 0, 80), 64);
  t.is(producer.trySendMany(outbox, 0, 1), 0);
  t.is(consumer.tryReceiveMany(inbox, 0, 80), 64);
  t.deepEqual([inbox.words[0], inbox.words[2 * 63]], [0, 63]);
});

test('FixedProducer publishes what is staged at the end of the turn', async (t) => {
  const handle = createFixedRing({ slotBytes: 8, slots: 256 });
  const producer = new FixedProducer(handle);
  const consumer = new FixedConsumer(handle);
  const box = new SlotBuffer(1, 8);
  for (let i = 0; i < 4; i += 1) producer.trySend(box, 0);
  t.is(producer.staged, 3, 'the consumer did not take the first');
  await Promise.resolve();
  t.is(producer.staged, 0);
  for (let i = 0; i < 4; i += 1) t.true(consumer.tryReceive(box, 0));
});

test('FixedProducer and FixedConsumer claim, commit, peek and release in place', (t) => {
  const handle = createFixedRing({ slotBytes: 16, slots: 2 });
  const producer = new FixedProducer(handle);
  const consumer = new FixedConsumer(handle);
  for (let i = 0; i < 10; i += 1) {
    const place = producer.claim();
    t.is(producer.claim(), place);
    producer.ring.view.setUint32(producer.ring.offset(place), i, true);
    t.is(consumer.peek(), -1);
    producer.commit();
    producer.flush();
    const found = consumer.peek();
    t.is(consumer.ring.view.getUint32(consumer.ring.offset(found), true), i);
    consumer.release();
  }
  for (let i = 0; i < 2; i += 1) {
    t.true(producer.claim() >= 0);
    producer.commit();
  }
  t.is(producer.claim(), -1);
});

test('fixed ring ends refuse an impossible peer index and stay broken', (t) => {
  const handle = createFixedRing({ slotBytes: 8, slots: 4 });
  const words = new Int32Array(SharedMemory.open(handle.memory).buffer);
  const box = new SlotBuffer(1, 8);
  const producer = new FixedProducer(handle);
  const consumer = new FixedConsumer(handle);
  Atomics.store(words, 0, 5);
  t.false(consumer.tryReceive(box, 0));
  t.is(consumer.broken?.code, 'RING_INDEX_INCONSISTENT');
  Atomics.store(words, 32, 1);
  t.false(producer.trySend(box, 0));
  t.is(producer.broken?.code, 'RING_INDEX_INCONSISTENT');
  t.is(producer.claim(), -1);
  t.is(consumer.tryReceiveMany(box, 0, 1), 0);
  t.is(producer.trySendMany(box, 0, 1), 0);
});

test('fixed rings, memories and slot buffers refuse what cannot be with a code', (t) => {
  const memory = SharedMemory.allocate(1024);
  const handle = createFixedRing({ slotBytes: 8, slots: 4 });
  const other = { ...handle, version: 2 } as unknown as typeof handle; // what a later release may post
  const cases: [string, () => unknown][] = [
    ['RING_SLOT_BYTES', () => createFixedRing({ slotBytes: 0, slots: 4 })],
    ['RING_SLOTS', () => createFixedRing({ slotBytes: 8, slots: 3 })],
    ['MEMORY_FULL', () => createFixedRing({ slotBytes: 8, slots: 1024, memory })],
    ['MEMORY_BYTES', () => SharedMemory.allocate(0)],
    ['RING_BATCH', () => new FixedProducer(handle, { batch: 5 })],
    ['RING_HANDLE', () => new FixedProducer(other)],
    ['RING_MISALIGNED', () => new FixedConsumer({ ...handle, at: 4 })],
    ['RING_TOO_SMALL', () => new FixedConsumer({ ...handle, slots: 1024 })],
    ['RING_NOT_SHARED', () => new FixedConsumer({ ...handle, memory: {} })],
    ['SLOT_BUFFER', () => new FixedProducer(handle).trySend(new SlotBuffer(1, 16), 0)],
    ['SLOT_BUFFER', () => new FixedProducer(handle).trySend(new SlotBuffer(1, 8), 1)],
    ['SLOT_BUFFER', () => new FixedProducer(handle).trySendMany(new SlotBuffer(2, 8), 1, 2)],
    ['SLOT_BUFFER', () => new FixedProducer(handle).trySendMany(new SlotBuffer(2, 8), 0.5, 1)],
    ['SLOT_BUFFER', () => new FixedConsumer(handle).tryReceiveMany(new SlotBuffer(2, 8), 0, -1)],
    ['SLOT_BUFFER', () => new FixedConsumer(handle).tryReceiveMany(new SlotBuffer(2, 16), 0, 1)],
    ['SLOT_BUFFER', () => new SlotBuffer(0, 8)],
    ['SLOT_BUFFER', () => new SlotBuffer(100, 64, { memory, region: memory.bytes })],
  ];
  for (const [code, act] of cases) t.is(t.throws(act, { instanceOf: RingError })?.code, code);
});

test('SharedMemory copies any size at any offset, wasm as plain', (t) => {
  for (const kind of ['plain', 'wasm'] as const) {
    const memory = SharedMemory.allocate(8192, kind);
    t.is(memory.kind, kind);
    t.is(memory.helper !== undefined, kind === 'wasm');
    for (let bytes = 0; bytes < 1100; bytes = bytes < 140 ? bytes + 1 : bytes + 97) {
      for (const [to, from] of [
        [4096, 0],
        [4099, 8],
        [4100, 17],
      ] as const) {
        memory.bytes.fill(0);
        for (let i = 0; i < bytes; i += 1) memory.bytes[from + i] = (i % 251) + 1;
        memory.copy(to, from, bytes);
        const got = memory.bytes.subarray(to - 1, to + bytes + 1);
        if (got[0] !== 0 || got[bytes + 1] !== 0) t.fail(`${kind}: ${bytes} bytes at ${to} spilled`);
        for (let i = 0; i < bytes; i += 1) if (got[i + 1] !== (i % 251) + 1) t.fail(`${kind}: byte ${i} of ${bytes}`);
      }
    }
  }
});
