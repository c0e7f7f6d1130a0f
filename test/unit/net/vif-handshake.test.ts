// A card from plugging in to unplugging: keys, states, queues, refusals, and nothing left behind.
import test from 'ava';
import { deferredGrants } from '../../../packages/frontend/src/deferred-grants.ts';
import { NetCluster } from '../../support/net-cluster.ts';
import { BROADCAST, etherFrame, pattern } from '../../support/net-lab.ts';

const front = (domid: number, key: string) => `/local/domain/${domid}/device/vif/0/${key}`;
const back = (cluster: NetCluster, domid: number, key: string) =>
  `/local/domain/${cluster.driver.domid}/backend/vif/${domid}/0/${key}`;

test('two guests connect through xenbus and exchange frames', (t) => {
  const cluster = new NetCluster();
  const [a, b] = [cluster.guest(), cluster.guest()];
  for (const { domid } of [a, b]) {
    t.is(cluster.rig.value(front(domid, 'state')), '4');
    t.is(cluster.rig.value(back(cluster, domid, 'state')), '4');
  }
  const [nicA, nicB] = [cluster.nic(a), cluster.nic(b)];
  t.deepEqual([...nicA.macAddress], [...a.mac]);
  t.true(nicA.isLinkUp && nicB.isLinkUp);
  const got: Uint8Array[] = [];
  nicB.onFrame = (frame) => got.push(frame.toBytes());
  const frames = [46, 1500, 9000, 65521].map((size, i) => etherFrame(i ? b.mac : BROADCAST, a.mac, pattern(size, i)));
  for (const frame of frames) {
    t.true(nicA.send(frame));
    cluster.rig.pump();
  }
  t.is(got.length, frames.length);
  t.true(got.every((frame, i) => Buffer.compare(frame, frames[i] ?? new Uint8Array()) === 0));
});

test('more queues lie below queue-N only, and split channels have a port for each direction', (t) => {
  const cluster = new NetCluster({ maxQueues: 4 });
  const guest = cluster.guest({ maxQueues: 3 });
  const { domid } = guest;
  t.is(cluster.rig.value(front(domid, 'multi-queue-num-queues')), '3');
  t.is(cluster.rig.value(front(domid, 'tx-ring-ref')), undefined);
  for (const queue of [0, 1, 2]) {
    for (const key of ['tx-ring-ref', 'rx-ring-ref', 'event-channel-tx', 'event-channel-rx']) {
      t.regex(cluster.rig.value(front(domid, `queue-${queue}/${key}`)) ?? '', /^[0-9]+$/);
    }
  }
  t.true(cluster.nic(guest).isLinkUp);
});

test('unplugging ends every grant, port and mapping, and plugging in again connects again', (t) => {
  const cluster = new NetCluster();
  const a = cluster.guest();
  const b = cluster.guest();
  for (let round = 0; round < 3; round += 1) {
    const nic = a.nics[round];
    t.true(nic?.send(etherFrame(BROADCAST, a.mac, pattern(200, round))));
    cluster.rig.pump();
    t.is(nic?.counters.txOkay, 1);
    t.is(cluster.unplug(a), 'closed');
    t.false(nic?.isLinkUp);
    t.false(nic?.send(etherFrame(b.mac, a.mac, new Uint8Array(46))));
    t.is(cluster.bridge.links.length, 1);
    cluster.plug(a);
  }
  cluster.unplug(a);
  cluster.unplug(b);
  t.is(cluster.bridge.links.length, 0);
  // The front end lets go before the back end has: what is still mapped then is ended a second later.
  const lists = [a, b].map(({ domain }) => deferredGrants(domain.kernel));
  t.true(lists.every((list) => list.pending > 0));
  cluster.rig.clock.advance(1000);
  cluster.rig.pump();
  t.true(
    lists.every((list) => list.pending === 0),
    'nothing stays mapped',
  );
});

for (const [name, maxQueues] of [
  ['0', '0'],
  ['more than offered', '9'],
  ['no number', 'x'],
] as const) {
  test(`netback refuses a queue count that is ${name}`, (t) => {
    const cluster = new NetCluster();
    const guest = cluster.guest();
    cluster.rig.ask((then) => guest.domain.store.write(front(guest.domid, 'state'), '6', then));
    cluster.rig.ask((then) => guest.domain.store.write(front(guest.domid, 'multi-queue-num-queues'), maxQueues, then));
    cluster.rig.ask((then) => guest.domain.store.write(front(guest.domid, 'state'), '1', then));
    cluster.rig.ask((then) => guest.domain.store.write(front(guest.domid, 'state'), '4', then));
    t.not(cluster.rig.value(back(cluster, guest.domid, 'state')), '4');
    t.is(cluster.bridge.links.length, 0);
  });
}

test('a bridge that does not exist is a clear error at the back end, and nothing stays behind', (t) => {
  const cluster = new NetCluster();
  const guest = cluster.guest({}, { bridge: 'lan7' });
  t.false(cluster.nic(guest).isLinkUp);
  const path = `/local/domain/${cluster.driver.domid}/error/backend/vif/${guest.domid}/0/error`;
  t.regex(cluster.rig.value(path) ?? '', /no bridge "lan7"/);
});

test('a guest that breaks the protocol loses its card; the others go on', (t) => {
  const cluster = new NetCluster();
  const [evil, a, b] = [cluster.guest(), cluster.guest(), cluster.guest()];
  // Its driver cannot be made to do this: reach into its ring, as hostile memory would.
  const { queues } = cluster.nic(evil) as unknown as { queues: { tx: { ringPages: { bytes: Uint8Array } } }[] };
  const ring = queues[0]?.tx.ringPages.bytes;
  if (ring === undefined) throw new Error('there is a queue');
  new Int32Array(ring.buffer, ring.byteOffset, 4)[0] = 5000;
  cluster.rig.pump();
  t.is(cluster.rig.value(back(cluster, evil.domid, 'state')), '6');
  t.false(cluster.nic(evil).isLinkUp);
  t.is(cluster.bridge.links.length, 2);
  const got: number[] = [];
  cluster.nic(b).onFrame = (frame) => got.push(frame.lengthBytes);
  cluster.nic(a).send(etherFrame(BROADCAST, a.mac, new Uint8Array(46)));
  cluster.rig.pump();
  t.deepEqual(got, [60]);
});

test('anti-spoofing: a card with an address in the back end\u2019s directory sends under no other', (t) => {
  const cluster = new NetCluster();
  const a = cluster.guest({}, { mac: '00:16:3e:00:00:02' });
  const b = cluster.guest();
  t.is(Number(a.domid), 2);
  const got: number[] = [];
  cluster.nic(b).onFrame = (frame) => got.push(frame.lengthBytes);
  cluster.nic(a).send(etherFrame(BROADCAST, b.mac, new Uint8Array(46)));
  cluster.nic(a).send(etherFrame(BROADCAST, a.mac, new Uint8Array(50)));
  cluster.rig.pump();
  t.deepEqual(got, [64]);
  t.like(cluster.nic(a).counters, { txOkay: 1, txDropped: 1 });
});

test('a guest that filters hears only the groups that it joined, and the broadcast address', (t) => {
  const cluster = new NetCluster();
  const a = cluster.guest();
  const b = cluster.guest({ filtersMulticast: true });
  const [group, other] = [Uint8Array.of(1, 0, 0x5e, 0, 0, 1), Uint8Array.of(0x33, 0x33, 0, 0, 0, 9)];
  const nic = cluster.nic(b);
  let got = 0;
  nic.onFrame = () => {
    got += 1;
  };
  const sendAll = () => {
    got = 0;
    for (const to of [group, other, BROADCAST]) cluster.nic(a).send(etherFrame(to, a.mac, new Uint8Array(46)));
    cluster.rig.pump();
    return got;
  };
  t.is(sendAll(), 1);
  t.true(nic.changeGroup(group, true));
  cluster.rig.pump();
  t.is(sendAll(), 2);
  for (let i = 0; i < 70; i += 1) {
    t.true(nic.changeGroup(Uint8Array.of(1, 0, 0x5e, 1, 0, i), true));
    cluster.rig.pump();
  }
  t.is(nic.counters.groupErrors, 7, '64 addresses, no more');
  t.true(nic.changeGroup(group, false));
  cluster.rig.pump();
  t.is(sendAll(), 1);
  t.throws(() => nic.changeGroup(a.mac, true), { instanceOf: RangeError });
  t.is(nic.counters.txFrames, 0, 'a request is no frame');
});

test('the key rate limits what a guest sends, and can change while it runs', (t) => {
  const cluster = new NetCluster();
  const a = cluster.guest({}, { rate: '10000,50000' });
  const b = cluster.guest();
  let bytes = 0;
  cluster.nic(b).onFrame = (frame) => {
    bytes += frame.lengthBytes;
  };
  const frame = etherFrame(BROADCAST, a.mac, new Uint8Array(986));
  const run = (ms: number) => {
    bytes = 0;
    for (let i = 0; i < ms; i += 10) {
      while (cluster.nic(a).send(frame)) cluster.rig.pump();
      cluster.rig.pump();
      cluster.rig.clock.advance(10);
    }
    return bytes;
  };
  run(1000);
  const limited = run(1000);
  t.true(limited >= 190_000 && limited <= 210_000, `${limited} bytes in a second`);
  t.is(cluster.nic(a).counters.txDropped, 0, 'back-pressure, no drops');
  cluster.rig.ask((then) => cluster.rig.dom0.write(back(cluster, a.domid, 'rate'), '40000,50000', then));
  run(1000);
  const faster = run(1000);
  t.true(faster >= 780_000 && faster <= 820_000, `${faster} bytes in a second`);
});
