// Byte rings and fixed rings against a plain queue, from start indices around 0, 2^31 and 2^32; structs against DataView.
import test from 'ava';
import fc from 'fast-check';
import {
  ByteRingConsumer,
  ByteRingProducer,
  FixedConsumer,
  FixedProducer,
  i16,
  i32,
  SharedMemory,
  SlotBuffer,
  struct,
  u8,
  u16,
  u32,
  u64,
} from 'sharedarraybuffer-ring';

const starts = fc.oneof(
  fc.constantFrom(0, 2 ** 31 - 3, 2 ** 31 - 1, 2 ** 32 - 3, 2 ** 32 - 1),
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
);

test('ByteRingProducer and ByteRingConsumer are a bounded queue of bytes', (t) => {
  const chunks = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 40 })), { maxLength: 200, size: 'max' });
  fc.assert(
    fc.property(starts, fc.constantFrom(1, 2, 16, 32), chunks, (at, sizeBytes, script) => {
      const region = new Uint8Array(new SharedArrayBuffer(48));
      new Int32Array(region.buffer, 0, 2).fill(at);
      const layout = { buf: 8, sizeBytes, cons: 0, prod: 4 };
      const producer = new ByteRingProducer(region, layout);
      const consumer = new ByteRingConsumer(region, layout);
      const queue: number[] = [];
      let next = 0;
      for (const [isWrite, length] of script) {
        if (isWrite) {
          const bytes = Uint8Array.from({ length }, (_, i) => next + i);
          const room = sizeBytes - queue.length;
          if (producer.free() !== room || producer.write(bytes) !== Math.min(room, length)) return false;
          for (const byte of bytes.subarray(0, room)) queue.push(byte);
          next += Math.min(room, length);
        } else {
          const into = new Uint8Array(length);
          if (consumer.available() !== queue.length) return false;
          const count = consumer.read(into);
          const expected = queue.splice(0, length);
          if (count !== expected.length || expected.some((byte, i) => byte !== into[i])) return false;
        }
      }
      return true;
    }),
    { numRuns: 300 },
  );
  t.pass();
});

test('FixedProducer and FixedConsumer are a bounded queue of messages, in any batches', (t) => {
  const script = fc.array(fc.constantFrom('send', 'send', 'claim', 'flush', 'receive', 'peek'), {
    maxLength: 200,
    size: 'max',
  });
  const ring = fc.record({
    at: starts,
    slotBytes: fc.constantFrom(1, 8, 12, 112, 300),
    slots: fc.constantFrom(2, 4, 64),
    kind: fc.constantFrom('plain' as const, 'wasm' as const),
  });
  const batches = fc.tuple(fc.constantFrom(1, 2, undefined), fc.constantFrom(1, 2, undefined));
  const memories = { plain: SharedMemory.allocate(1 << 16, 'plain'), wasm: SharedMemory.allocate(1 << 16, 'wasm') };
  fc.assert(
    fc.property(ring, batches, script, ({ at, slotBytes, slots, kind }, [sendBatch, receiveBatch], steps) => {
      const memory = memories[kind];
      memory.bytes.fill(0);
      const words = new Int32Array(memory.buffer);
      words[0] = at;
      words[32] = at;
      const handle = { kind: 'fixed-ring', version: 1, memory: memory.handle, at: 0, slots, slotBytes } as const;
      const producer = new FixedProducer(handle, { memory, defer: () => {}, ...(sendBatch && { batch: sendBatch }) });
      const consumer = new FixedConsumer(handle, { memory, ...(receiveBatch && { batch: receiveBatch }) });
      const box = new SlotBuffer(1, slotBytes);
      const inbox = new SlotBuffer(1, slotBytes);
      let sent = 0;
      let received = 0;
      const expectByte = () => received & 255;
      for (const step of steps) {
        if (step === 'flush') producer.flush();
        else if (step === 'send') {
          box.bytes.fill(sent);
          if (producer.trySend(box, 0)) sent += 1;
          else if (sent - received < slots / 2) return false;
        } else if (step === 'claim') {
          const place = producer.claim();
          if (place < 0) continue;
          const from = producer.ring.offset(place);
          producer.ring.bytes.fill(sent, from, from + slotBytes);
          producer.commit();
          sent += 1;
        } else if (step === 'receive') {
          if (!consumer.tryReceive(inbox, 0)) {
            if (sent - received > producer.staged) return false;
            continue;
          }
          if (inbox.bytes.subarray(0, slotBytes).some((byte) => byte !== expectByte())) return false;
          received += 1;
        } else {
          const place = consumer.peek();
          if (place < 0) continue;
          if (consumer.ring.view.getUint8(consumer.ring.offset(place)) !== expectByte()) return false;
          consumer.release();
          received += 1;
        }
        if (sent - received > slots || producer.broken !== undefined || consumer.broken !== undefined) return false;
      }
      producer.flush();
      while (consumer.tryReceive(inbox, 0)) received += 1;
      return sent === received;
    }),
    { numRuns: 300 },
  );
  t.pass();
});

test('struct reads and writes what hand-written DataView code does', (t) => {
  const layout = struct({ a: u8, b: u16, c: i16, d: u32, e: u64, f: i32 });
  const value = fc.record({
    a: fc.integer({ min: 0, max: 255 }),
    b: fc.integer({ min: 0, max: 65535 }),
    c: fc.integer({ min: -32768, max: 32767 }),
    d: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    e: fc.maxSafeNat(),
    f: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  });
  fc.assert(
    fc.property(value, fc.integer({ min: 0, max: 9 }), (values, base) => {
      const view = new DataView(new ArrayBuffer(64));
      layout.write(view, base, values);
      const byHand = {
        a: view.getUint8(base),
        b: view.getUint16(base + 2, true),
        c: view.getInt16(base + 4, true),
        d: view.getUint32(base + 8, true),
        e: Number(view.getBigUint64(base + 16, true)),
        f: view.getInt32(base + 24, true),
      };
      const read = layout.read(view, base, layout.create());
      return [byHand, read].every((one) => JSON.stringify(one) === JSON.stringify(values)) && layout.sizeof === 32;
    }),
    { numRuns: 500 },
  );
  t.pass();
});
