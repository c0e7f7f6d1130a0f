// What a server tells of zeros is never wrong: against an array, with requests under way.
import { ZeroRanges } from '@splitring/frontend';
import test from 'ava';
import fc from 'fast-check';

const SIZE = 64;
const span = fc.tuple(fc.nat(SIZE - 1), fc.integer({ min: 1, max: 24 })).map(([start, length]) => {
  return { start, length: Math.min(length, SIZE - start) };
});

test('extents cover what is asked, alternate, and claim zero only where the disk is zero', (t) => {
  const act = fc.oneof(
    fc.record({ kind: fc.constantFrom('write', 'begin', 'ask'), span }),
    fc.record({ kind: fc.constantFrom('commit', 'abandon'), span }),
  );
  fc.assert(
    fc.property(fc.boolean(), fc.array(act, { maxLength: 40 }), (isNew, acts) => {
      const zeroes = new ZeroRanges(isNew ? SIZE : 0);
      // 0: zero. What is known to the client is what the disk will hold, in the order of the calls.
      const disk = new Uint8Array(SIZE).fill(isNew ? 0 : 1);
      const underWay: { zeroing: ReturnType<ZeroRanges['begin']>; start: number; length: number }[] = [];
      for (const { kind, span: at } of acts) {
        if (kind === 'write') {
          zeroes.touch(at.start, at.length);
          disk.fill(1, at.start, at.start + at.length);
        } else if (kind === 'begin') {
          underWay.push({ zeroing: zeroes.begin(at.start, at.length), ...at });
          disk.fill(0, at.start, at.start + at.length);
        } else if (kind === 'commit') {
          const done = underWay.shift();
          if (done !== undefined) zeroes.commit(done.zeroing);
        } else if (kind === 'abandon') {
          // A failed zeroing leaves its bytes unknown, and our model has no word for it: they count as data.
          const failed = underWay.pop();
          if (failed === undefined) continue;
          for (const [i] of disk.entries()) {
            const isIn = failed.zeroing.ranges.some((range) => range.start <= i && i < range.end);
            const isOthers = underWay.some(({ zeroing }) => zeroing.ranges.some((r) => r.start <= i && i < r.end));
            if (isIn && !isOthers) disk[i] = 1;
          }
          zeroes.abandon(failed.zeroing);
        } else {
          const extents = zeroes.extents(at.start, at.length, 5);
          let i = at.start;
          for (const [index, extent] of extents.entries()) {
            if (extent.lengthBytes < 1) return false;
            if (index > 0 && extent.isZero === extents[index - 1]?.isZero) return false;
            for (const end = i + extent.lengthBytes; i < end; i += 1) if (extent.isZero && disk[i] !== 0) return false;
          }
          if (extents.length < 1 || extents.length > 5 || (extents.length < 5 && i !== at.start + at.length))
            return false;
        }
      }
      return true;
    }),
    { numRuns: 500 },
  );
  t.pass();
});

test('a new disk is one hole, a write makes data of exactly its range, zeroing makes it a hole again', (t) => {
  const zeroes = new ZeroRanges(1000);
  zeroes.touch(100, 50);
  const told = () =>
    zeroes.extents(0, 1000, 10).map(({ lengthBytes, isZero }) => (isZero ? -lengthBytes : lengthBytes));
  t.deepEqual(told(), [-100, 50, -850]);
  const zeroing = zeroes.begin(100, 50);
  t.deepEqual(told(), [-100, 50, -850], 'not before it is done');
  zeroes.touch(120, 10); // called later, so it stays
  zeroes.commit(zeroing);
  t.deepEqual(told(), [-120, 10, -870]);
});
