// What other threads see of a bridge: sums over all its ports, those that are gone among them.
import { bridgeCounterNames } from '@splitring/backend';
import { SharedCounters } from '@splitring/hypervisor';
import test from 'ava';
import { BridgeStatistics } from '../../../packages/backend/src/net/bridge-statistics.ts';
import { BROADCAST, etherFrame, NetLab } from '../../support/net-lab.ts';

test('BridgeStatistics shows the sums over all ports before the domain sleeps', (t) => {
  const lab = new NetLab();
  const counters = SharedCounters.create(bridgeCounterNames('lan0'));
  const statistics = new BridgeStatistics(lab.bridge, counters);
  const [a, b] = [lab.guest({ link: { onlySource: { low: 0x003e1600, high: 0x0200 } } }), lab.guest()];
  for (const { nic } of [a, b]) nic.onFrame = () => {};
  const send = (to: Uint8Array, from: Uint8Array) => {
    a.nic.send(etherFrame(to, from, new Uint8Array(46)));
    lab.machine.settle();
  };
  b.nic.send(etherFrame(BROADCAST, b.mac, new Uint8Array(46)));
  lab.machine.settle();
  send(b.mac, a.mac);
  send(b.mac, Uint8Array.of(2, 0, 0, 0, 0, 1));
  t.is(counters.read('lan0.framesIn'), 0, 'not yet');
  t.false(statistics.arm());
  const shown = () => ['framesIn', 'forwarded', 'flooded', 'dropSpoofed'].map((name) => counters.read(`lan0.${name}`));
  t.deepEqual(shown(), [3, 1, 1, 1]);
  for (const link of lab.bridge.links) link.detach();
  t.deepEqual(lab.bridge.totals.framesIn, 3, 'ports that are gone count');
  for (let i = 0; i < 64; i += 1) t.false(statistics.poll());
  t.deepEqual(shown(), [3, 1, 1, 1]);
});
