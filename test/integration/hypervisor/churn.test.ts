// The short form of the soak test: fifty domains made and ended at random moments.
import { Hypervisor } from '@splitring/hypervisor';
import test from 'ava';
import { churn } from '../../support/domain-churn.ts';

test('50 domains come and go without a trace', (t) => {
  const hypervisor = new Hypervisor();
  const driver = hypervisor.attachInThread(hypervisor.createDomain({ name: 'driver' }));
  t.is(churn(hypervisor, driver, { domains: 50, seed: 7 }).left, 0);
});
