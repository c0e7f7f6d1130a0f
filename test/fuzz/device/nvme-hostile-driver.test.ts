// A hostile driver: random registers, doorbells, queue entries and PRP lists. The controller never throws, works a bounded
// time per poll, and touches no frame and no block that the driver's domain was not given.
import { MemoryMedium } from '@splitring/device';
import { PCI, PCI_COMMAND } from '@splitring/hypervisor';
import test from 'ava';
import fc from 'fast-check';
import { createMachine } from '../../unit/device/machine.ts';

const FRAMES = 8;
const ENTRIES = 8;

/** A word of an entry or register: a page of ours or just beyond (counted from −1 down), or any number. */
const value = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 2 * FRAMES }).map((i) => -1 - i) },
  { weight: 1, arbitrary: fc.nat(64) },
  { weight: 1, arbitrary: fc.integer() },
);
const submission = fc.record({
  kind: fc.constant('submit' as const),
  queue: fc.constantFrom(1, 1, 1, 0),
  opcode: fc.oneof({ weight: 3, arbitrary: fc.constantFrom(1, 2, 8, 9) }, { weight: 1, arbitrary: fc.nat(12) }),
  prp1: value,
  prp2: value,
  block: fc.nat(520),
  blocks: fc.nat(40),
  spoilt: fc.option(fc.tuple(fc.nat(15), fc.integer())),
});
const register = fc.record({
  kind: fc.constant('register' as const),
  offset: fc.oneof(
    fc.constantFrom(0x14, 0x24, 0x28, 0x30),
    fc.nat(4100).map((i) => i * 4),
  ),
  value,
});
const scribble = fc.record({ kind: fc.constant('word' as const), at: fc.nat(FRAMES * 1024 - 1), value });
const ring = fc.record({ kind: fc.constant('ring' as const), doorbell: fc.nat(5), value: fc.nat(ENTRIES) });
const config = fc.record({ kind: fc.constant('config' as const), offset: fc.nat(4095), value });
const act = fc.oneof(
  { weight: 12, arbitrary: submission },
  { weight: 1, arbitrary: register },
  { weight: 2, arbitrary: scribble },
  { weight: 2, arbitrary: ring },
  { weight: 1, arbitrary: config },
);

/** A machine whose controller was begun well: admin queues in frames 0 and 1, one I/O pair in 2 and 3. */
function hostileMachine() {
  const m = createMachine({ media: [new MemoryMedium(new SharedArrayBuffer(1 << 18))] });
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, FRAMES);
  const guest = m.hypervisor.attachInThread(m.hypervisor.createDomain({ name: 'neighbour' }));
  const neighbour = guest.allocateFrames(guest.domid, FRAMES);
  neighbour.bytes.fill(0x77);
  const words = new Int32Array(run.bytes.buffer, run.bytes.byteOffset, run.bytes.length / 4);
  const bar = m.pci.bar(0);
  const tails = [0, 0];
  const submit = (queue: number, entry: readonly number[]) => {
    const tail = tails[queue] ?? 0;
    words.set(entry, queue * 2048 + tail * 16);
    tails[queue] = (tail + 1) % ENTRIES;
    bar.write32(0x1000 + queue * 8, (tail + 1) % ENTRIES);
    m.bus.poll();
    bar.write32(0x1004 + queue * 8, (tail + 1) % ENTRIES);
  };
  const address = (page: number) => (run.first + page) * 4096;
  m.pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
  bar.write32(0x24, (ENTRIES - 1) | ((ENTRIES - 1) << 16));
  bar.write32(0x28, address(0));
  bar.write32(0x30, address(1));
  bar.write32(0x14, 1);
  submit(0, [5, 0, 0, 0, 0, 0, address(3), 0, 0, 0, 1 | ((ENTRIES - 1) << 16), 1, 0, 0, 0, 0]);
  submit(0, [1, 0, 0, 0, 0, 0, address(2), 0, 0, 0, 1 | ((ENTRIES - 1) << 16), 1 | (1 << 16), 0, 0, 0, 0]);
  const resolve = (word: number) => (word < 0 && word >= -1 - 2 * FRAMES ? address(-1 - word) : word);
  return { ...m, words, bar, submit, resolve, neighbour };
}

test('a hostile driver breaks its own controller only', (t) => {
  let executed = 0;
  fc.assert(
    fc.property(fc.array(act, { maxLength: 60, size: 'max' }), (script) => {
      const m = hostileMachine();
      for (const each of script) {
        if (each.kind === 'submit') {
          const { opcode, prp1, prp2, block, blocks, spoilt } = each;
          const entry = [opcode, 1, 0, 0, 0, 0, m.resolve(prp1), 0, m.resolve(prp2), 0, block, 0, blocks, 0, 0, 0];
          if (spoilt !== null) entry[spoilt[0]] = spoilt[1];
          m.submit(each.queue, entry);
        } else if (each.kind === 'register') m.bar.write32(each.offset, m.resolve(each.value));
        else if (each.kind === 'word') m.words[each.at] = m.resolve(each.value);
        else if (each.kind === 'ring') m.bar.write32(0x1000 + each.doorbell * 4, each.value);
        else m.pci.configWrite(each.offset & ~1, 2, each.value & 0xffff);
      }
      for (let turns = 0; m.bus.poll(); turns++) if (turns > 2000) return false;
      executed += m.controller.commands;
      return m.neighbour.bytes.every((byte) => byte === 0x77);
    }),
    { numRuns: 120 },
  );
  t.true(executed > 1000, `${executed} commands executed`);
});
