// Streams through every copy of the package without WebAssembly: `node … no-wasm-program.ts WAY`. Prints what came out.
//
// Ways: `native` leaves the engine as it is; `absent` takes WebAssembly away before the package is loaded; `refused` has the
// compiler throw, as a content policy without `wasm-unsafe-eval` does, while memories may still be made.
import { createHash } from 'node:crypto';

const globals = globalThis as unknown as { WebAssembly?: { Module: unknown } }; // taken away, or made to throw
if (process.argv[2] === 'absent') delete globals.WebAssembly;
if (process.argv[2] === 'refused' && globals.WebAssembly !== undefined) {
  globals.WebAssembly.Module = class {
    constructor() {
      throw new EvalError("Refused to compile: 'wasm-unsafe-eval' is not allowed");
    }
  };
}
const { createChannel, createFixedRing, FixedConsumer, FixedProducer, SharedMemory, SlotBuffer } = await import(
  'sharedarraybuffer-ring'
);

const LENGTHS = [1, 7, 8, 15, 61, 64, 112, 255, 256, 264, 511, 512, 1000, 2047, 2048, 5000];
const digest = createHash('sha256');
const memories: string[] = [];

/** Bytes that tell every place and length apart. */
function fill(target: Uint8Array, seed: number): void {
  for (let i = 0; i < target.length; i += 1) target[i] = (i * 31 + seed * 17 + (i >> 8)) & 0xff;
}

for (const kind of ['plain', 'wasm'] as const) {
  for (const length of LENGTHS) {
    const memory = SharedMemory.allocate(1 << 20, kind);
    memories.push(`${memory.kind}${memory.helper === undefined ? '' : ' with helper'}`);
    const place = () => new SlotBuffer(2, length, { memory, region: memory.reserve(2 * Math.ceil(length / 8) * 8) });
    const [outbox, inbox] = [place(), place()];
    const ring = createFixedRing({ slotBytes: length, slots: 4, memory });
    const [producer, consumer] = [new FixedProducer(ring, { memory }), new FixedConsumer(ring, { memory })];
    const { sender, receiver } = createChannel({ capacityBytes: 1 << 15, memory });
    for (let round = 0; round < 9; round += 1) {
      fill(outbox.bytes, round);
      producer.trySend(outbox, 1);
      producer.flush();
      consumer.tryReceive(inbox, 0);
      digest.update(inbox.bytes.slice(0, length));
      sender.trySendFrom(outbox, 0, length, round);
      receiver.tryReceiveTo(inbox, inbox.bytes.length - length);
      digest.update(inbox.bytes.slice(inbox.bytes.length - length));
      sender.trySend(outbox.bytes.slice(0, length));
      const copy = receiver.tryReceive();
      digest.update(copy ?? 'nothing');
    }
    const region = memory.reserve(2 * 8192);
    fill(region.subarray(0, length), length);
    memory.copy(region.byteOffset + 8192, region.byteOffset, length);
    digest.update(region.slice(8192));
  }
}
console.log(JSON.stringify({ memories: [...new Set(memories)], digest: digest.digest('hex') }));
