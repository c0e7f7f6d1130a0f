// Fifty guests come and go at random moments; the long version is in test/soak.
import test from 'ava';
import { SeededRandom } from '../../../packages/splitring/src/simulation/seeded.ts';
import { runDomainCycles } from '../../support/domain-cycles.ts';

test('fifty guests created and ended at random moments leave nothing behind', async (t) => {
  t.timeout(120_000);
  const random = new SeededRandom(1);
  const { ends, before, after } = await runDomainCycles(50, () => random.nextU32() / 2 ** 32);
  t.log(ends);
  t.deepEqual(after, before);
  t.deepEqual(Object.keys(ends).sort(), ['killed', 'returned']);
});
