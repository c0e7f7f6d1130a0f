// Random words all over the ring page, at any moment: the back end throws nothing, forgets nothing, and the neighbour
// does not notice; and the same from the other side.
import { XenbusState } from '@splitring/hypervisor/io';
import test from 'ava';
import fc from 'fast-check';
import { BlockLab, isSame, pattern } from '../../support/block-lab.ts';
import { Neighbour, RawGuest } from '../../support/raw-blkfront.ts';

/** A word of the page: often the four indices, often a slot that matters, sometimes anything. */
const place = fc.oneof(fc.nat(3), fc.integer({ min: 16, max: 16 + 28 * 4 }), fc.nat(1023));
const word = fc.oneof(fc.nat(300), fc.integer(), fc.constantFrom(0x7fff_ffff, -0x8000_0000, -1, 32, 33));
const act = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('request' as const), operation: fc.nat(9), sector: fc.nat(9000) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('word' as const), place, word }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('step' as const) }) },
);

test('a guest that writes random words into its ring harms only itself', (t) => {
  let broken = 0;
  let answered = 0;
  fc.assert(
    fc.property(fc.array(act, { minLength: 5, maxLength: 40 }), (acts) => {
      const lab = new BlockLab();
      const neighbour = new Neighbour(lab);
      const usage = () => {
        const found = lab.hypervisor.inspect().find(({ domid }) => domid === lab.driver.domid);
        return [found?.boundPorts, found?.mappings];
      };
      const before = usage();
      const guest = new RawGuest(lab);
      const words = new Int32Array(guest.ring.bytes.buffer, guest.ring.bytes.byteOffset, 1024);
      for (const each of acts) {
        if (each.kind === 'word') Atomics.store(words, each.place, each.word);
        else if (each.kind === 'step') lab.step();
        else {
          guest.stage({ operation: each.operation, sectorNumber: each.sector });
          guest.publish();
        }
        lab.nowMs += 0.7;
      }
      lab.run();
      if (guest.back.failure !== undefined) broken += 1;
      answered += lab.ram.log.length;
      if (!neighbour.isWell()) return false;
      guest.close();
      lab.run();
      const after = usage();
      // The neighbour's own pages are mapped by now; the guest's are not.
      return after[0] === before[0] && guest.dataRefs.every((ref) => guest.hypercalls.endAccess(ref));
    }),
    { numRuns: 300 },
  );
  t.true(broken > 10, `${broken} connections broke`);
  t.true(answered > 300, `${answered} commands reached the device`);
});

test('a back end that writes random words into a ring ends that disk, and no call hangs or lies', async (t) => {
  let broken = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(place, word, fc.nat(6)), { minLength: 1, maxLength: 12 }), async (writes) => {
      const lab = new BlockLab();
      const guest = lab.guest({ ringOrder: 0 });
      const other = lab.guest({ keys: { params: 'vol0:4096+4096' } });
      const ref = Number(guest.front.keys.get('ring-ref'));
      const page = ringOf(lab, guest.hypercalls.domid, ref);
      const words = new Int32Array(page.buffer, page.byteOffset, 1024);
      const calls: Promise<unknown>[] = [];
      for (const [at, value, steps] of writes) {
        const into = new Uint8Array(4096);
        calls.push(guest.disk.read(4096 * (calls.length % 8), into).catch((error: unknown) => error));
        for (let i = 0; i < steps; i += 1) lab.step();
        Atomics.store(words, at, value);
      }
      for (let i = 0; i < 300; i += 1) {
        if (!lab.step()) lab.nowMs += 0.25;
        await Promise.resolve();
      }
      if (guest.front.failure === undefined && guest.back.failure === undefined) {
        // Lost indices look like silence; the driver domain goes, and that ends the wait.
        guest.back.publish({}, XenbusState.Closing);
        guest.front.driver?.remove();
      } else broken += 1;
      guest.front.driver?.remove();
      lab.run();
      const outcomes = await lab.until(Promise.all(calls));
      const isTyped = outcomes.every(
        (outcome) => outcome === undefined || /^BLOCK_/.test((outcome as { code: string }).code),
      );
      await lab.until(other.disk.write(0, pattern(4096, 3)));
      return isTyped && isSame(lab.ram.bytes.subarray(4096 * 512, 4096 * 513), pattern(4096, 3));
    }),
    { numRuns: 150 },
  );
  t.true(broken > 5, `${broken} connections broke`);
});

/** The page of a grant, as the driver domain that maps it sees it. */
function ringOf(lab: BlockLab, dom: RawGuest['hypercalls']['domid'], ref: number): Uint8Array {
  const { run } = lab.driver.mapRun(dom, [ref as never], 2);
  if (run === undefined) throw new Error('the ring cannot be mapped');
  return run.bytes;
}
