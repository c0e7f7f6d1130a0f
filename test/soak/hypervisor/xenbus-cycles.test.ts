// A thousand guests come, connect a device or not quite, and are killed at any moment: the store and the buses forget them.
import { type DomId, forgetDomain } from '@splitring/hypervisor';
import test from 'ava';
import { XenbusCluster } from '../../support/xenbus-cluster.ts';

test('1000 guests killed at random moments leave no node, watch, transaction or connection', (t) => {
  const cluster = new XenbusCluster();
  cluster.driverDomain();
  const { rig } = cluster;
  const idle = rig.store.audit();
  let seed = 42;
  for (let cycle = 0; cycle < 1000; cycle++) {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    cluster.guest(2);
    cluster.attachQuietly();
    for (let turns = (seed >>> 16) % 40; turns > 0; turns--) cluster.turn();
    rig.clock.advance(10);
    rig.destroy(2);
    rig.ask<void>((then) => forgetDomain(rig.dom0, 2 as DomId, then));
    cluster.buses.delete(2);
    cluster.fronts.length = 0;
    const audit = rig.store.audit();
    t.true(audit.isConsistent);
    t.is(audit.transactions, 0);
    t.is(audit.heldBytes, idle.heldBytes, `cycle ${cycle}`);
    t.is(audit.watches, idle.watches);
    const held = cluster.backs.splice(0).reduce((sum, end) => sum + end.connections.held, 0);
    t.is(held, 0, `cycle ${cycle}`);
    if (cycle === 0) t.log(`${audit.nodes} nodes`);
    t.true(audit.nodes <= idle.nodes + 6, `${audit.nodes} nodes, ${idle.nodes} before`);
  }
});
