// A thousand domains made and ended at random moments in the middle of their work: at the end nothing of them is left,
// and memory has stopped growing long before.
import { Hypervisor } from '@splitring/hypervisor';
import test from 'ava';
import { type Churned, churn } from '../support/domain-churn.ts';

test('1000 domains come and go without a trace', (t) => {
  t.timeout(600_000);
  const hypervisor = new Hypervisor();
  const driver = hypervisor.attachInThread(hypervisor.createDomain({ name: 'driver' }));
  const seen: Churned = churn(hypervisor, driver, { domains: 1000, seed: 1 });
  t.is(seen.left, 0);
  const half = seen.heapMiB.slice(seen.heapMiB.length / 2);
  t.true(Math.max(...half) - Math.min(...half) < 64, `MiB in use: ${seen.heapMiB.join(' ')}`);
});
