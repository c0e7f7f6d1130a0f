// Messages sent and received one by one and many at a time, mixed at random: in order, whole, none lost, none made up.
import test from 'ava';
import fc from 'fast-check';
import { createFixedRing, FixedConsumer, FixedProducer, SharedMemory, SlotBuffer } from 'sharedarraybuffer-ring';

const SLOTS = 8;
const PLACES = 11;
const STARTS = [0, 2 ** 31 - 3, 2 ** 32 - 3];

const step = fc.oneof(
  fc.record({ act: fc.constantFrom('sendMany' as const, 'receiveMany' as const), count: fc.nat(PLACES) }),
  fc.record({ act: fc.constantFrom('send' as const, 'receive' as const, 'flush' as const), count: fc.constant(1) }),
);

/** Fill place `slot` so that each of its bytes tells the message. */
function mark(box: SlotBuffer, slot: number, message: number): void {
  box.bytes.fill((message * 7 + 1) & 255, box.offset(slot), box.offset(slot) + box.slotBytes);
}

function holds(box: SlotBuffer, slot: number, message: number): boolean {
  const bytes = box.bytes.subarray(box.offset(slot), box.offset(slot) + box.slotBytes);
  return bytes.every((byte) => byte === ((message * 7 + 1) & 255));
}

for (const kind of ['plain', 'wasm'] as const) {
  for (const slotBytes of [3, 8, 64, 112, 256]) {
    test(`trySendMany and tryReceiveMany move ${slotBytes} B messages as single calls do (${kind})`, (t) => {
      const property = fc.property(fc.constantFrom(...STARTS), fc.array(step, { maxLength: 40 }), (at, steps) => {
        const memory = SharedMemory.allocate(1 << 16, kind);
        const handle = createFixedRing({ slotBytes, slots: SLOTS, memory });
        new Int32Array(memory.buffer)[0] = at;
        new Int32Array(memory.buffer)[32] = at;
        const places = () => {
          const region = memory.reserve(PLACES * Math.ceil(slotBytes / 8) * 8);
          return new SlotBuffer(PLACES, slotBytes, { memory, region });
        };
        const producer = new FixedProducer(handle, { memory, batch: 4, defer: () => undefined });
        const consumer = new FixedConsumer(handle, { memory, batch: 4 });
        const [outbox, inbox] = [places(), places()];
        let sent = 0;
        let received = 0;
        const take = (count: number) => {
          for (let i = 0; i < count; i += 1) if (!holds(inbox, i, received + i)) return false;
          received += count;
          return true;
        };
        for (const { act, count } of [...steps, { act: 'flush' as const, count: 1 }]) {
          const staged = producer.staged;
          const room = SLOTS - (sent - received);
          if (act === 'flush') producer.flush();
          else if (act === 'send' || act === 'sendMany') {
            for (let i = 0; i < count; i += 1) mark(outbox, i, sent + i);
            const accepted =
              act === 'send' ? Number(producer.trySend(outbox, 0)) : producer.trySendMany(outbox, 0, count);
            if (accepted > Math.min(count, room)) return false;
            if (accepted < count && producer.staged !== 0) return false; // a full ring must be seen
            sent += accepted;
          } else {
            const got =
              act === 'receive' ? Number(consumer.tryReceive(inbox, 0)) : consumer.tryReceiveMany(inbox, 0, count);
            if (got > count || got > sent - received - staged || !take(got)) return false;
          }
        }
        for (let got = -1; got !== 0; ) {
          got = consumer.tryReceiveMany(inbox, 0, PLACES);
          if (!take(got)) return false;
        }
        // The consumer gave everything back when it found the ring empty: the whole of it is free again.
        return received === sent && producer.trySendMany(outbox, 0, PLACES) === SLOTS;
      });
      t.notThrows(() => fc.assert(property, { numRuns: 60 }));
    });
  }
}
