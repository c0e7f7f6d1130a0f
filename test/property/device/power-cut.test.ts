// Power cut at a random moment under load, through driver, queues, IOMMU and controller: what was promised is there.
import test from 'ava';
import fc from 'fast-check';
import { cutPower } from '../../support/nvme-power-cut.ts';

test('every acknowledged and flushed write survives a power cut', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 31 - 1 }), (seed) => cutPower(seed, false).length === 0),
    { numRuns: 60 },
  );
  t.pass();
});

test('the same check finds losses when flushes are ignored', (t) => {
  let found = 0;
  for (let seed = 1; seed <= 20; seed++) if (cutPower((seed * 0x9e37_79b1) | 0, true).length > 0) found++;
  t.true(found >= 10, `found in ${found} of 20`);
});
