// A hostile driver: random registers, doorbells, queue entries and PRP lists. The controller never throws, works a bounded
// time per poll, and touches no frame and no block that the driver's domain was not given.
import { MemoryMedium } from '@splitring/device';
import { PCI, PCI_COMMAND } from '@splitring/hypervisor';
import test from 'ava';
import fc from 'fast-check';
import { createMachine } from '../../unit/device/machine.ts';

const FRAMES = 8;

/** Words that reach deep code: page addresses, small numbers, opcodes, and now and then anything. */
function interesting(firstPage: number): fc.Arbitrary<number> {
  const page = fc.integer({ min: 0, max: FRAMES + 1 }).map((i) => (firstPage + i) * 4096);
  return fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: 0, max: 16 }) },
    { weight: 4, arbitrary: page },
    { weight: 1, arbitrary: page.map((address) => address + 2048) },
    { weight: 1, arbitrary: fc.integer() },
  );
}

type Act =
  | { readonly kind: 'register'; readonly offset: number; readonly value: number }
  | { readonly kind: 'word'; readonly at: number; readonly value: number }
  | { readonly kind: 'entry'; readonly queue: number; readonly slot: number; readonly words: readonly number[] }
  | { readonly kind: 'config'; readonly offset: number; readonly value: number }
  | { readonly kind: 'ring'; readonly queue: number; readonly value: number }
  | { readonly kind: 'poll' };

function acts(firstPage: number): fc.Arbitrary<Act[]> {
  const value = interesting(firstPage);
  const offset = fc.oneof(
    fc.constantFrom(0x14, 0x24, 0x28, 0x2c, 0x30, 0x34),
    fc.integer({ min: 0, max: 6 }).map((i) => 0x1000 + i * 4),
    fc.integer({ min: 0, max: 4100 }).map((i) => i * 4),
  );
  return fc.array(
    fc.oneof<fc.WeightedArbitrary<Act>[]>(
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('register'), offset, value }) },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant('word'), at: fc.integer({ min: 0, max: FRAMES * 1024 - 1 }), value }),
      },
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant('entry'),
          queue: fc.integer({ min: 0, max: 1 }),
          slot: fc.integer({ min: 0, max: 7 }),
          words: fc
            .tuple(
              fc.oneof(fc.integer({ min: 0, max: 12 }), fc.integer()),
              fc.oneof(fc.integer({ min: 0, max: 2 }), fc.integer()),
              fc.array(value, { minLength: 14, maxLength: 14 }),
            )
            .map(([command, nsid, rest]) => [command, nsid, ...rest]),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('config'), offset: fc.integer({ min: 0, max: 4095 }), value }),
      },
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant('ring'),
          queue: fc.integer({ min: 0, max: 3 }),
          value: fc.integer({ min: 0, max: 8 }),
        }),
      },
      { weight: 5, arbitrary: fc.constant({ kind: 'poll' }) },
    ),
    { maxLength: 80 },
  );
}

test('a hostile driver breaks its own controller only', (t) => {
  const probe = createMachine();
  const first = probe.hypercalls.allocateFrames(probe.hypercalls.domid, FRAMES).first;
  let deep = 0;
  fc.assert(
    fc.property(acts(first), (script) => {
      const buffer = new SharedArrayBuffer(1 << 18);
      const m = createMachine({ media: [new MemoryMedium(buffer)] });
      const run = m.hypercalls.allocateFrames(m.hypercalls.domid, FRAMES);
      const guest = m.hypervisor.attachInThread(m.hypervisor.createDomain({ name: 'neighbour' }));
      const neighbour = guest.allocateFrames(guest.domid, FRAMES);
      neighbour.bytes.fill(0x77);
      const words = new Int32Array(run.bytes.buffer, run.bytes.byteOffset, run.bytes.length / 4);
      const bar = m.pci.bar(0);
      m.pci.configWrite(PCI.command, 2, PCI_COMMAND.memory | PCI_COMMAND.busMaster);
      // Well begun, so that most scripts get somewhere: admin queues, and one I/O pair in frames 2 and 3.
      bar.write32(0x24, 7 | (7 << 16));
      bar.write32(0x28, run.first * 4096);
      bar.write32(0x30, (run.first + 1) * 4096);
      bar.write32(0x14, 1);
      words.set([5, 0, 0, 0, 0, 0, (run.first + 3) * 4096, 0, 0, 0, 1 | (7 << 16), 1], 0);
      words.set([1, 0, 0, 0, 0, 0, (run.first + 2) * 4096, 0, 0, 0, 1 | (7 << 16), 1 | (1 << 16)], 16);
      bar.write32(0x1000, 2);
      for (let i = 0; i < 4; i++) m.bus.poll();
      for (const act of script) {
        if (act.kind === 'register') bar.write32(act.offset, act.value);
        else if (act.kind === 'ring') bar.write32(0x1000 + act.queue * 4, act.value);
        else if (act.kind === 'word') words[act.at] = act.value;
        else if (act.kind === 'entry') words.set(act.words, act.queue * 2048 + act.slot * 16);
        else if (act.kind === 'config') m.pci.configWrite(act.offset & ~1, 2, act.value & 0xffff);
        else for (let i = 0; i < 4; i++) m.bus.poll();
        bar.read32(act.kind === 'register' ? act.offset & ~3 : 0x1c);
      }
      for (let turns = 0; m.bus.poll(); turns++) if (turns > 2000) return false;
      if (m.controller.commands > 2) deep++;
      return neighbour.bytes.every((byte) => byte === 0x77);
    }),
    { numRuns: 150 },
  );
  t.true(deep > 50, `${deep} of 150 scripts executed commands`);
});
