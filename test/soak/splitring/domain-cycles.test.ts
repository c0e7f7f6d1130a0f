// A thousand guests come and go at random moments.
import test from 'ava';
import { SeededRandom } from '../../../packages/splitring/src/simulation/seeded.ts';
import { runDomainCycles } from '../../support/domain-cycles.ts';

test('a thousand guests created and ended at random moments leave nothing behind, and memory plateaus', async (t) => {
  const random = new SeededRandom(2);
  const { ends, before, after, rssMiB } = await runDomainCycles(1000, () => random.nextU32() / 2 ** 32);
  t.log(ends, rssMiB);
  t.deepEqual(after, before);
  t.true(rssMiB.late < rssMiB.early * 1.5 + 50, `${rssMiB.early} MiB early, ${rssMiB.late} MiB late`);
});
