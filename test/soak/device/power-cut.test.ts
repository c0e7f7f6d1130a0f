// Five hundred power cuts of the bare disk, each from its own seed.
import test from 'ava';
import { cutPower } from '../../support/nvme-power-cut.ts';

test('500 power cuts break no promise', (t) => {
  for (let seed = 1; seed <= 500; seed++) t.deepEqual(cutPower((seed * 0x9e37_79b1) | 0, false), [], `seed ${seed}`);
});
