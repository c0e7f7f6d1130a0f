// Connecting under attack: states in any order, failures at every step, events without work. Nothing may stay behind.
import { type EvtchnPort, HypercallError } from '@splitring/hypervisor';
import test from 'ava';
import { type ClusterGuest, NetCluster } from '../../support/net-cluster.ts';
import { BROADCAST, etherFrame } from '../../support/net-lab.ts';

const back = (cluster: NetCluster, { domid }: ClusterGuest, key: string) =>
  cluster.rig.value(`/local/domain/${cluster.driver.domid}/backend/vif/${domid}/0/${key}`);

/** What the driver domain, or a guest, holds. */
function usage(cluster: NetCluster, domid = cluster.driver.domid) {
  const found = cluster.hypervisor.inspect().find((one) => one.domid === domid);
  return {
    mappings: found?.mappings,
    ports: found?.ports,
    bound: found?.boundPorts,
    links: cluster.bridge.links.length,
  };
}

/** Whether a broadcast of `a` reaches `b`. */
function canTalk(cluster: NetCluster, a: ClusterGuest, b: ClusterGuest): boolean {
  const nic = b.nics.at(-1);
  const { length } = etherFrame(BROADCAST, a.mac, new Uint8Array(46));
  let got = 0;
  if (nic === undefined) return false;
  nic.onFrame = (frame) => {
    if (frame.lengthBytes === length) got += 1;
  };
  a.nics.at(-1)?.send(etherFrame(BROADCAST, a.mac, new Uint8Array(46)));
  cluster.rig.pump();
  return got === 1;
}

test('XSA-350: thousands of random states, of both ends, leave no mapping, no port and no place on the bridge', (t) => {
  const cluster = new NetCluster({ maxQueues: 4 });
  const [a, b] = [cluster.guest(), cluster.guest()];
  const before = usage(cluster);
  const evil = cluster.guest({ maxQueues: 3 });
  const front = `/local/domain/${evil.domid}/device/vif/0/state`;
  let seed = 11;
  for (let i = 0; i < 3000; i += 1) {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    evil.domain.store.write(front, String((seed >>> 16) % 9));
    for (let steps = (seed >>> 8) & 7; steps > 0; steps -= 1) {
      cluster.rig.server.poll();
      cluster.driverDomain.kernel.poll();
      if ((seed & 1) === 0) evil.domain.kernel.poll();
    }
  }
  cluster.rig.pump();
  evil.domain.store.write(front, '6');
  cluster.rig.pump();
  cluster.unplug(evil, { isForced: true });
  cluster.rig.clock.advance(2000);
  cluster.rig.pump();
  t.deepEqual(usage(cluster), before);
  t.true(canTalk(cluster, a, b));
  cluster.plug(evil);
  cluster.rig.pump();
  t.is(back(cluster, evil, 'state'), '4', 'and it may come again');
  t.true(canTalk(cluster, a, evil));
});

for (const [call, steps] of [
  ['mapRun', 6],
  ['bindInterdomain', 6],
] as const) {
  test(`netback undoes a connection of three queues whose ${call} fails, at every step (CVE-2026-99286)`, (t) => {
    for (let step = 0; step < steps; step += 1) {
      const cluster = new NetCluster({ maxQueues: 4 });
      const other = cluster.guest();
      const before = usage(cluster);
      const { driver } = cluster;
      const real = driver[call].bind(driver) as (...args: unknown[]) => unknown;
      let calls = 0;
      const failing = (...args: unknown[]) => {
        calls += 1;
        if (calls !== step + 1) return real(...args);
        if (call === 'mapRun') return { status: -1, handles: [], run: undefined };
        throw new HypercallError('EINVAL', 'Cannot bind: planted');
      };
      Object.defineProperty(driver, call, { value: failing, configurable: true });
      const guest = cluster.guest({ maxQueues: 3 });
      Reflect.deleteProperty(driver, call);
      t.is(calls, step + 1, 'it gives up at once');
      t.is(back(cluster, guest, 'state'), '6');
      t.deepEqual(usage(cluster), before, `step ${step}`);
      t.is(cluster.unplug(guest), 'closed');
      cluster.plug(guest);
      cluster.rig.pump();
      t.is(back(cluster, guest, 'state'), '4');
      t.true(canTalk(cluster, other, guest));
      cluster.unplug(guest);
      cluster.rig.clock.advance(2000);
      cluster.rig.pump();
      const own = (before.mappings ?? 0) + 1; // the page of the neighbour's frame stays mapped
      t.deepEqual(usage(cluster), { ...before, mappings: own });
    }
  });
}

test('netfront gives everything back when memory, grants or ports end at any step of its connection', (t) => {
  for (const call of ['allocateFrames', 'grantAccess', 'allocUnbound'] as const) {
    for (let step = 0; step < 200; step += call === 'grantAccess' ? 97 : 1) {
      const cluster = new NetCluster({ maxQueues: 2 });
      const guest = cluster.guest({ maxQueues: 2 });
      cluster.unplug(guest);
      cluster.rig.clock.advance(2000);
      cluster.rig.pump();
      const before = usage(cluster, guest.domid);
      const { hypercalls } = guest;
      const real = hypercalls[call].bind(hypercalls) as (...args: unknown[]) => unknown;
      let calls = 0;
      const failing = (...args: unknown[]) => {
        calls += 1;
        if (calls === step + 1) throw new HypercallError('ENOMEM', 'Cannot: planted');
        return real(...args);
      };
      Object.defineProperty(hypercalls, call, { value: failing, configurable: true });
      cluster.plug(guest);
      Reflect.deleteProperty(hypercalls, call);
      if (calls <= step) break; // it needs no more of them
      t.false(guest.nics.at(-1)?.isLinkUp);
      t.is(cluster.bridge.links.length, 0);
      cluster.unplug(guest);
      cluster.rig.clock.advance(2000);
      cluster.rig.pump();
      t.deepEqual(usage(cluster, guest.domid), before, `${call} ${step}`);
    }
  }
});

test('XSA-374: a fatal error and then an orderly close, or a removal, leave nothing behind', (t) => {
  const cluster = new NetCluster();
  const before = usage(cluster);
  for (let round = 0; round < 3; round += 1) {
    const evil = cluster.guest();
    const { queues } = cluster.nic(evil) as unknown as { queues: { tx: { ringPages: { bytes: Uint8Array } } }[] };
    const ring = queues[0]?.tx.ringPages.bytes ?? new Uint8Array(16);
    new Int32Array(ring.buffer, ring.byteOffset, 4)[0] = 5000;
    cluster.rig.pump();
    t.is(back(cluster, evil, 'state'), '6');
    if (round === 1) {
      evil.domain.store.write(`/local/domain/${evil.domid}/device/vif/0/state`, '5');
      cluster.rig.pump();
    }
    cluster.unplug(evil, { isForced: round === 2 });
    cluster.rig.clock.advance(2000);
    cluster.rig.pump();
    t.deepEqual(usage(cluster), before);
  }
});

test('XSA-391: a million events without work are throttled at both ends, and real work still gets through', (t) => {
  const cluster = new NetCluster();
  const bound: EvtchnPort[] = [];
  const { driver } = cluster;
  const bind = driver.bindInterdomain.bind(driver);
  const noting: typeof bind = (...call) => {
    const port = bind(...call);
    bound.push(port);
    return port;
  };
  Object.defineProperty(driver, 'bindInterdomain', { value: noting });
  const a = cluster.guest();
  const [backPort] = bound;
  const b = cluster.guest();
  const { queues } = cluster.nic(a) as unknown as { queues: { ports: EvtchnPort[] }[] };
  const frontPort = queues[0]?.ports[0];
  if (backPort === undefined || frontPort === undefined) throw new Error('there are ports');
  for (let i = 0; i < 100; i++) t.true(canTalk(cluster, a, b) && canTalk(cluster, b, a));
  t.is(cluster.driverDomain.kernel.peerEvents(backPort)?.delayedMs, 0, 'honest guests are never held back');
  t.is(a.domain.kernel.peerEvents(frontPort)?.delayedMs, 0);
  for (const [storm, victim] of [
    [() => a.hypercalls.notify(frontPort), cluster.driverDomain.kernel],
    [() => driver.notify(backPort), a.domain.kernel],
  ] as const) {
    let busy = 0;
    for (let i = 0; i < 1_000_000; i += 1) {
      storm();
      if (i % 100 === 0 && victim.poll()) busy += 1;
    }
    t.true(busy < 10, `${busy} of 10000 polls found an event`);
    t.true(canTalk(cluster, a, b) && canTalk(cluster, b, a));
    cluster.rig.clock.advance(2000);
    cluster.rig.pump();
  }
});
