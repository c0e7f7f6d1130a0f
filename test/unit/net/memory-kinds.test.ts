// Frames between guests whose extents lie in plain buffers, in wasm memories of their own, or all in one.
import {
  canCopyBetweenMemories,
  type MemorySource,
  NativeCopy,
  separateBuffers,
  sharedWasmMemory,
  wasmMemoryPerExtent,
} from '@splitring/hypervisor';
import test from 'ava';
import fc from 'fast-check';
import { Frame } from '../../../packages/backend/src/net/frame.ts';
import { PageCopy } from '../../../packages/backend/src/net/page-copy.ts';
import { PrivatePage } from '../../../packages/backend/src/net/private-page.ts';
import { NetCluster } from '../../support/net-cluster.ts';
import { BROADCAST, etherFrame, pattern } from '../../support/net-lab.ts';

const kinds: readonly [string, () => MemorySource][] = [
  ['separate buffers', () => separateBuffers],
  ['a wasm memory for each extent', wasmMemoryPerExtent],
  ['one shared wasm memory', () => sharedWasmMemory(32 << 20)],
];
for (const [name, source] of kinds) {
  test(`frames of every size arrive as they were sent: ${name}`, (t) => {
    const cluster = new NetCluster({}, { memory: source() });
    const [a, b] = [cluster.guest(), cluster.guest()];
    const [from, to] = [cluster.nic(a), cluster.nic(b)];
    cluster.rig.pump();
    to.send(etherFrame(BROADCAST, b.mac, new Uint8Array(46)));
    cluster.rig.pump();
    const got: Uint8Array[] = [];
    to.onFrame = (frame) => got.push(frame.toBytes());
    // Some frames lie in memory of the guest's own: with one wasm memory, they are copied natively on the way in, too.
    const { bytes } = a.hypercalls.allocateFrames(a.hypercalls.domid, 16);
    let sent = 0;
    for (let round = 0; round < 3; round += 1) {
      for (const [seed, size] of [0, 1, 46, 300, 1500, 4082, 4083, 9000, 30_000, 65_000].entries()) {
        let frame: Uint8Array = etherFrame(b.mac, a.mac, pattern(size, seed + 16 * round));
        const plain = frame;
        if (seed % 2 === 0) {
          bytes.set(frame);
          frame = bytes.subarray(0, frame.length);
        }
        t.true(from.send(frame));
        sent += 1;
        cluster.rig.pump();
        t.is(got.length, sent);
        t.is(Buffer.compare(got[sent - 1] as Uint8Array, plain), 0, `frame of ${size} bytes`);
      }
    }
  });
}

test('NativeCopy copies within one memory, and between two where the engine can', (t) => {
  const cluster = new NetCluster({}, { memory: wasmMemoryPerExtent() });
  const { driver } = cluster;
  const [one, two] = [driver.allocateFrames(driver.domid, 64), driver.allocateFrames(driver.domid, 128)];
  const { nativeCopy } = driver;
  const [first, second] = [nativeCopy.memoryOf(one.bytes), nativeCopy.memoryOf(two.bytes)];
  t.true(first >= 0 && second >= 0 && first !== second);
  one.bytes.set(pattern(5000, 7));
  nativeCopy.between(first, first)?.(one.bytes.byteOffset + 8192, one.bytes.byteOffset, 5000);
  t.deepEqual(one.bytes.slice(8192, 13_192), pattern(5000, 7));
  const across = nativeCopy.between(first, second);
  t.is(across !== undefined, canCopyBetweenMemories());
  across?.(two.bytes.byteOffset + 3, one.bytes.byteOffset + 1, 4998);
  if (across !== undefined) t.deepEqual(two.bytes.slice(3, 5001), pattern(5000, 7).slice(1, 4999));
  t.is(nativeCopy.memoryOf(new Uint8Array(8)), -1);
  t.is(new NativeCopy().between(first, second), undefined);
});

test('PageCopy.copy copies frames of every short length from anywhere, and not a byte more', (t) => {
  const source = pattern(4096, 5);
  const copier = new PageCopy(undefined);
  for (let lengthBytes = 1; lengthBytes <= 160; lengthBytes += 1) {
    for (const from of [0, 3, 4, 1028, 4096 - lengthBytes]) {
      const target = new PrivatePage(new Uint8Array(4096));
      copier.copy(new PrivatePage(source), from, target, lengthBytes);
      t.deepEqual(target.bytes.subarray(0, lengthBytes), source.subarray(from, from + lengthBytes));
      t.true(
        target.bytes.subarray(lengthBytes).every((byte) => byte === 0),
        `${lengthBytes} bytes from ${from}`,
      );
    }
  }
});

test('PageCopy puts any fragments into any buffers, merged or not', (t) => {
  const pieces = fc.array(
    fc.record({ page: fc.nat(5), from: fc.nat(4095), length: fc.integer({ min: 1, max: 4096 }) }),
    { minLength: 1, maxLength: 6 },
  );
  const order = fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 });
  fc.assert(
    fc.property(pieces, order, fc.nat(2), (fragments, targetPages, skips) => {
      const source = pattern(6 * 4096, 3);
      const target = new Uint8Array(8 * 4096);
      const page = (memory: Uint8Array, index: number) =>
        new PrivatePage(memory.subarray(index * 4096, (index + 1) * 4096));
      const frame = new Frame();
      const want: number[] = [];
      for (const { page: index, from, length } of fragments) {
        const count = Math.min(length, 4096 - from);
        frame.append(page(source, index), from, count);
        want.push(...source.subarray(index * 4096 + from, index * 4096 + from + count));
      }
      const targets = targetPages.map((index) => page(target, index));
      new PageCopy(undefined).copyChain(frame, targets, skips);
      const used = targets.filter((_, i) => i === 0 || i !== skips);
      const got = Buffer.concat(used.map((one) => one.bytes)).subarray(0, want.length);
      return Buffer.compare(got, Uint8Array.from(want)) === 0;
    }),
    { numRuns: 200 },
  );
  t.pass();
});
