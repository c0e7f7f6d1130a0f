// The wasm helper: what it exports and where it traps; where WebAssembly is refused, everything works plainly.
import { readFileSync } from 'node:fs';
import test from 'ava';
import { createFixedRing, FixedConsumer, FixedProducer, SharedMemory, SlotBuffer } from 'sharedarraybuffer-ring';
import { allocateWasmMemory, compileCopyHelper } from '../../../packages/ring/src/copy-wasm.ts';

const globals = globalThis as unknown as { WebAssembly: unknown }; // taken away and given back

/** Run `body` as if the engine, or a content policy, had this WebAssembly. */
function under(wasm: unknown, body: () => void): void {
  const real = globals.WebAssembly;
  globals.WebAssembly = wasm;
  try {
    body();
  } finally {
    globals.WebAssembly = real;
  }
}

test.serial('SharedMemory falls back to a plain SharedArrayBuffer where there is no WebAssembly', (t) => {
  under(undefined, () => {
    const memory = SharedMemory.allocate(4096, 'wasm');
    t.is(memory.kind, 'plain');
    t.is(memory.helper, undefined);
    memory.bytes.fill(7, 0, 600);
    memory.copy(1000, 0, 600);
    t.deepEqual([memory.bytes[1000], memory.bytes[1599], memory.bytes[1600]], [7, 7, 0]);
  });
});

test.serial('a wasm memory whose helper may not be compiled copies plainly, and both ends still agree', (t) => {
  const real = globals.WebAssembly as { Memory: unknown };
  const memory = allocateWasmMemory(1 << 16);
  const refusing = {
    Memory: real.Memory,
    Module: class {
      constructor() {
        throw new Error("Refused to compile: 'unsafe-eval' is not allowed");
      }
    },
    Instance: class {
      constructor() {
        throw new Error('refused');
      }
    },
  };
  under(refusing, () => {
    if (memory === undefined) return t.fail('no shared wasm memory here');
    t.is(compileCopyHelper(memory), undefined);
    const shared = SharedMemory.open({ memory });
    t.is(shared.helper, undefined);
    const handle = createFixedRing({ slotBytes: 1024, slots: 4, memory: shared });
    const box = new SlotBuffer(1, 1024, { memory: shared, region: shared.reserve(1024) });
    box.bytes.fill(9);
    const producer = new FixedProducer(handle);
    producer.trySend(box, 0);
    producer.flush();
    const inbox = new SlotBuffer(1, 1024);
    t.true(new FixedConsumer(handle).tryReceive(inbox, 0));
    t.true(inbox.bytes.every((byte) => byte === 9));
  });
});

test('the embedded helper exports copy and publish, and traps outside its memory', (t) => {
  const memory = allocateWasmMemory(65536);
  const helper = memory && compileCopyHelper(memory);
  t.deepEqual(Object.keys(helper ?? {}), ['copy', 'publish']);
  helper?.publish(64, -5);
  t.is(new Int32Array(memory?.buffer ?? new SharedArrayBuffer(68))[16], -5);
  t.throws(() => helper?.copy(0, 65536 - 8, 16), { message: /out of bounds/ });
  const source = readFileSync(new URL('../../../packages/ring/src/copy-wasm.wat', import.meta.url), 'utf8');
  const exported = [...source.matchAll(/\(export "(\w+)"\)/g)].map(([, name]) => name);
  t.deepEqual(exported, ['copy', 'publish']);
});
