// Byte rings with no thread: seams, full against empty, inconsistent indices.
import test from 'ava';
import {
  ByteRingConsumer,
  ByteRingProducer,
  CONSOLE_PAGE,
  flexRingLayout,
  RingError,
  XENSTORE_PAGE,
} from 'sharedarraybuffer-ring';

const page = () => new Uint8Array(new SharedArrayBuffer(4096));

for (const at of [0, 2 ** 31 - 4, 2 ** 32 - 4]) {
  test(`ByteRingProducer and ByteRingConsumer fill, drain and cross the seam from index ${at}`, (t) => {
    const region = page();
    const { req } = XENSTORE_PAGE;
    new Int32Array(region.buffer).fill(at, req.cons / 4, req.prod / 4 + 1);
    const producer = new ByteRingProducer(region, req);
    const consumer = new ByteRingConsumer(region, req);
    const into = new Uint8Array(2000);
    let next = 0;
    let expected = 0;
    for (let round = 0; round < 20; round += 1) {
      const bytes = Uint8Array.from({ length: round === 3 ? 1500 : 700 }, () => next++);
      const accepted = producer.write(bytes);
      t.is(accepted, Math.min(bytes.length, 1024));
      next -= bytes.length - accepted;
      t.is(consumer.available(), accepted);
      t.is(consumer.read(into), accepted);
      for (let i = 0; i < accepted; i += 1) if (into[i] !== (expected++ & 255)) t.fail(`byte ${expected} is wrong`);
      t.is(consumer.read(into), 0);
    }
  });
}

test('ByteRingProducer tells a full ring from an empty one', (t) => {
  const region = page();
  const producer = new ByteRingProducer(region, CONSOLE_PAGE.out);
  t.is(producer.write(new Uint8Array(2048)), 2048);
  t.is(producer.write(new Uint8Array(1)), 0);
  t.is(new ByteRingConsumer(region, CONSOLE_PAGE.out).available(), 2048);
});

test('byte ring ends refuse inconsistent or overwritten indices and stay broken', (t) => {
  const region = page();
  const words = new Int32Array(region.buffer);
  const producer = new ByteRingProducer(region, CONSOLE_PAGE.out);
  const consumer = new ByteRingConsumer(region, CONSOLE_PAGE.out);
  Atomics.store(words, CONSOLE_PAGE.out.prod / 4, 2049);
  t.is(consumer.read(new Uint8Array(4)), -1);
  t.is(consumer.broken?.code, 'RING_INDEX_INCONSISTENT');
  t.is(producer.write(new Uint8Array(4)), -1);
  t.is(producer.broken?.code, 'RING_INDEX_OVERWRITTEN');
  Atomics.store(words, CONSOLE_PAGE.out.prod / 4, 0);
  t.is(consumer.available(), -1);
});

test('flexRingLayout halves the data pages; data may lie apart from the indices', (t) => {
  const layout = flexRingLayout(1);
  t.is(layout.out.buf, 4096);
  const data = new Uint8Array(new SharedArrayBuffer(8192));
  const region = page();
  const producer = new ByteRingProducer(region, layout.out, { data });
  t.is(producer.write(new Uint8Array(5000).fill(7)), 4096);
  t.is(data[4095], 0);
  t.is(data[4096], 7);
  t.is(t.throws(() => new ByteRingProducer(region, layout.out), { instanceOf: RingError })?.code, 'RING_LAYOUT');
  t.is(t.throws(() => flexRingLayout(10), { instanceOf: RingError })?.code, 'RING_ORDER');
});
