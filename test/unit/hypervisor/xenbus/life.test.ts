// The life of a device: connect, resize, close from either side, unplug, replug, lose a peer, find another.
import { detachDevice, reattachDevice } from '@splitring/hypervisor';
import test from 'ava';
import { XenbusCluster } from '../../../support/xenbus-cluster.ts';

/** A cluster whose device is connected, with an empty log. */
function connected(options: ConstructorParameters<typeof XenbusCluster>[0] = {}): XenbusCluster {
  const cluster = new XenbusCluster(options);
  cluster.driverDomain();
  cluster.guest();
  cluster.attach();
  if (cluster.states() !== '4/4') throw new Error(cluster.states());
  cluster.log.length = 0;
  return cluster;
}

for (const type of ['vbd', 'vif'] as const) {
  const arrangements: Record<string, (cluster: XenbusCluster) => void> = {
    'attached to running domains': (c) => [c.driverDomain(), c.guest(), c.attach()],
    'attached before the guest boots': (c) => {
      c.driverDomain();
      const guest = c.domain(2);
      c.attach();
      c.guest(2, guest);
    },
    'guest first, driver domain later': (c) => [c.guest(), c.driverDomain(), c.attach()],
  };
  for (const [how, arrange] of Object.entries(arrangements)) {
    test(`a ${type} ${how} connects: features, front keys, device keys, in that order`, (t) => {
      const cluster = new XenbusCluster({ type });
      arrange(cluster);
      t.is(cluster.states(), '4/4');
      t.is(cluster.rig.value(`${cluster.frontPath()}/ring-ref`), '8', 'the front end saw the features');
      t.is(cluster.rig.value(`${cluster.backPath()}/sectors`), '64', "the back end saw the front end's keys");
      t.deepEqual(cluster.log, ['front handshake', 'back connect', 'front live']);
    });
  }
}

test('devices attached before either domain runs connect once both do', (t) => {
  const cluster = new XenbusCluster();
  cluster.domain(1);
  cluster.domain(2);
  cluster.attach();
  const spec = cluster.spec();
  t.is(cluster.states(), '1/1');
  t.is(cluster.attach(), 'EEXIST', 'once');
  t.is(cluster.attach({ ...spec, id: '1' }), 'ok');
  t.is(cluster.states({ ...spec, id: '1' }), '1/1');
});

test('two dozen devices of one driver domain that come in one moment all connect, within its quota of transactions', (t) => {
  const cluster = new XenbusCluster();
  const domids = Array.from({ length: 24 }, (_, i) => i + 2);
  const guests = domids.map((domid) => cluster.domain(domid));
  const driver = cluster.domain(1);
  for (const domid of domids) cluster.attach(cluster.spec(domid));
  for (const guest of guests) cluster.guest(guest.domid, guest);
  cluster.driverDomain(1, driver);
  t.deepEqual(
    domids.map((domid) => cluster.states(cluster.spec(domid))),
    domids.map(() => '4/4'),
  );
});

test('a back end that publishes entries with Connected again makes the front end look', (t) => {
  const cluster = connected();
  cluster.backs[0]?.device.publish({ sectors: 128 }, 4);
  cluster.rig.pump();
  t.deepEqual(cluster.log, ['front changed']);
  cluster.backs[0]?.device.publish({}, 4);
  cluster.rig.pump();
  t.deepEqual(cluster.log, ['front changed'], 'the same state without entries writes nothing');
});

test('detachDevice: the front end drains, both close, and nothing is left', (t) => {
  const cluster = connected();
  const { rig } = cluster;
  const reply = rig.ask<string>((then) => detachDevice(rig.toolstack, cluster.spec(), {}, then));
  t.deepEqual(reply, { ok: true, value: 'closed' });
  t.deepEqual(cluster.log.slice(0, 3), ['front drain', 'front disconnect', 'back disconnect']);
  t.deepEqual(cluster.log.slice(3).sort(), ['back remove', 'front remove']);
  for (const path of [cluster.frontPath(), cluster.backPath(), '/libxl/2/device/vbd/0'])
    t.is(rig.value(path), undefined);
  const again = rig.ask<string>((then) => detachDevice(rig.toolstack, cluster.spec(), {}, then));
  t.deepEqual(again, { ok: false, error: 'ENOENT' });
});

test('detachDevice waits for what is in flight, and takes the device away at the deadline', (t) => {
  const cluster = connected({ isSlowToDrain: true });
  const { rig } = cluster;
  const outcomes: string[] = [];
  detachDevice(rig.toolstack, cluster.spec(), { timeoutMs: 10_000 }, (reply) => {
    outcomes.push(reply.ok ? reply.value : reply.error);
  });
  rig.pump();
  t.is(cluster.states(), '4/5', 'the back end serves on while the front end drains');
  t.is(cluster.backs[0]?.connections.held, 1);
  rig.clock.advance(9_999);
  rig.pump();
  t.deepEqual(outcomes, []);
  rig.clock.advance(1);
  rig.pump();
  t.deepEqual(outcomes, ['forced']);
  t.is(cluster.states(), '-/-');
  t.is(cluster.backs[0]?.connections.held, 0);
  t.is(cluster.fronts[0]?.connections.held, 0);
  cluster.finishDrain(); // too late: must not bring anything back
  rig.pump();
  t.is(cluster.states(), '-/-');
});

test('detachDevice by force does not ask', (t) => {
  const cluster = connected({ isSlowToDrain: true });
  const { rig } = cluster;
  const reply = rig.ask<string>((then) => detachDevice(rig.toolstack, cluster.spec(), { isForced: true }, then));
  t.deepEqual(reply, { ok: true, value: 'forced' });
  t.is(cluster.states(), '-/-');
  t.true(cluster.fronts[0]?.isRemoved && cluster.backs[0]?.isRemoved);
});

test('detachDevice follows a device that moves to another driver domain meanwhile', (t) => {
  // From xenbus-chaos: the detach looked up the back end, the move committed, the new back directory was left behind.
  const cluster = connected();
  const { rig } = cluster;
  cluster.driverDomain(9);
  const moved = cluster.spec(2, 9);
  const outcomes: string[] = [];
  const report = (reply: { ok: boolean; value?: string; error?: string }) =>
    outcomes.push(String(reply.ok ? reply.value : reply.error));
  for (const isForced of [false, true]) {
    reattachDevice(rig.dom0, moved, () => {});
    detachDevice(rig.toolstack, moved, { isForced }, report);
    rig.pump();
    t.is(cluster.states(moved), '-/-');
    t.is(rig.value('/local/domain/1/backend/vbd/2/0'), undefined);
    cluster.attach();
    t.is(cluster.states(), '4/4');
  }
  detachDevice(rig.toolstack, cluster.spec(), { timeoutMs: 100 }, report);
  reattachDevice(rig.dom0, moved, () => {}); // begun after the detach
  rig.pump();
  t.is(cluster.states(moved), '-/-');
  t.is(outcomes.length, 3);
  t.is(outcomes[1], 'forced');
});

test('detachDevice leaves alone what was attached anew under the same id', (t) => {
  const cluster = connected({ isSlowToDrain: true });
  const { rig } = cluster;
  const outcomes: string[] = [];
  const report = (reply: { ok: boolean; value?: string; error?: string }) =>
    outcomes.push(String(reply.ok ? reply.value : reply.error));
  detachDevice(rig.toolstack, cluster.spec(), { timeoutMs: 100 }, report);
  rig.pump();
  for (const path of [cluster.frontPath(), cluster.backPath(), '/libxl/2/device/vbd/0']) rig.dom0.remove(path);
  t.is(cluster.attach(), 'ok');
  rig.clock.advance(200);
  rig.pump();
  t.is(cluster.states(), '4/4');
  t.is(outcomes.length, 1);
});

test('unplug and replug under the same id makes new drivers', (t) => {
  const cluster = connected();
  const { rig } = cluster;
  for (let round = 2; round < 6; round++) {
    rig.ask<string>((then) => detachDevice(rig.toolstack, cluster.spec(), {}, then));
    t.is(cluster.attach(), 'ok');
    t.is(cluster.states(), '4/4');
    t.is(cluster.fronts.length, round);
    t.is(cluster.backs.length, round);
  }
  t.is(cluster.fronts.filter((end) => !end.isRemoved).length, 1);
});

test('a device replaced between two looks is another device, not the same one again', (t) => {
  const cluster = connected();
  const { rig } = cluster;
  // Removed and attached anew in one go: neither end ever sees it missing.
  for (const path of [cluster.frontPath(), cluster.backPath(), '/libxl/2/device/vbd/0']) rig.dom0.remove(path);
  t.is(cluster.attach(), 'ok');
  t.is(cluster.states(), '4/4');
  t.is(cluster.fronts.length, 2);
  t.is(cluster.backs.length, 2);
  t.true(cluster.fronts[0]?.isRemoved && cluster.backs[0]?.isRemoved);
});

test('a front end that closes takes the back end with it', (t) => {
  const cluster = connected();
  cluster.fronts[0]?.device.publish({}, 5);
  cluster.rig.pump();
  t.is(cluster.states(), '6/6');
  t.is(cluster.backs[0]?.connections.held, 0);
  t.is(cluster.fronts[0]?.connections.held, 0);
});

for (const [side, domid] of [
  ['front', 2],
  ['back', 1],
] as const) {
  test(`closeDevices of the ${side} bus drains first, closes both ends, and both hold nothing`, (t) => {
    const cluster = connected({ isSlowToDrain: true });
    let isClosed = false;
    cluster.buses.get(domid)?.closeDevices(() => {
      isClosed = true;
    });
    cluster.rig.pump();
    t.deepEqual(cluster.log, ['front drain']);
    t.is(cluster.backs[0]?.connections.held, 1, 'still served');
    t.false(isClosed);
    cluster.finishDrain();
    cluster.rig.pump();
    t.true(isClosed);
    t.is(cluster.states(), '6/6');
    const released = cluster.log.slice(1);
    t.deepEqual([...released].sort(), ['back disconnect', 'front disconnect']);
    if (side === 'front') t.is(released[0], 'back disconnect', 'the back end unmaps before the front end frees');
  });
}

test('closeDevices of a bus without devices, or with closed ones, is over at once', (t) => {
  const cluster = connected();
  let closed = 0;
  const count = () => {
    closed += 1;
  };
  cluster.buses.get(2)?.closeDevices(count);
  cluster.rig.pump();
  cluster.buses.get(2)?.closeDevices(count);
  t.is(closed, 2);
});

test('a front end told to begin anew drops its rings and is followed by its back end, with fresh keys', (t) => {
  const cluster = connected();
  for (let round = 2; round < 5; round++) {
    cluster.log.length = 0;
    cluster.set(`${cluster.frontPath()}/state`, '1'); // the toolstack says so
    t.is(cluster.states(), '4/4');
    t.is(cluster.backs[0]?.connections.made, round);
    t.deepEqual([...cluster.log.slice(0, 2)].sort(), ['back disconnect', 'front disconnect']);
    t.deepEqual(cluster.log.slice(2), ['front handshake', 'back connect', 'front live']);
  }
  t.is(cluster.backs.length, 1);
});

test('a guest that dies leaves its back end released; the driver domain serves others', (t) => {
  const cluster = connected();
  cluster.guest(3);
  t.is(cluster.attach(cluster.spec(3)), 'ok');
  cluster.log.length = 0;
  cluster.kill(2);
  cluster.rig.pump();
  t.deepEqual(cluster.log, ['back disconnect', 'back remove']);
  t.is(cluster.states(), '-/-');
  t.is(cluster.states(cluster.spec(3)), '4/4');
  cluster.guest(2);
  t.is(cluster.attach(), 'ok', 'the same domid again, another generation');
  t.is(cluster.states(), '4/4');
});

for (const successor of [1, 9]) {
  test(`a driver domain that dies is waited for, and followed when it comes back as domain ${successor}`, (t) => {
    const cluster = connected();
    const { rig } = cluster;
    cluster.kill(1);
    rig.pump();
    t.deepEqual(cluster.log, ['front disconnect']);
    t.is(cluster.states(), '1/-', 'the front end begins anew and waits');
    cluster.log.length = 0;
    cluster.driverDomain(successor);
    const device = cluster.spec(2, successor);
    t.true(rig.ask<void>((then) => reattachDevice(rig.dom0, device, then)).ok);
    t.is(cluster.states(device), '4/4');
    t.deepEqual(cluster.log, ['front handshake', 'back connect', 'front live']);
    t.is(cluster.fronts.length, 1, 'the same driver, with its shadow');
    t.is(cluster.rig.value(`${cluster.backPath(device)}/sectors`), '64', 'the successor may read the front keys');
  });
}

test('a driver domain replaced at once, before the front end has noticed, is followed as well', (t) => {
  const cluster = connected();
  const { rig } = cluster;
  rig.domains.delete(1); // its thread is gone, its nodes still stand
  cluster.driverDomain(9);
  const device = cluster.spec(2, 9);
  t.true(rig.ask<void>((then) => reattachDevice(rig.dom0, device, then)).ok);
  t.is(cluster.states(device), '4/4');
  t.is(rig.value(cluster.backPath()), undefined, 'the old back directory went in the same transaction');
  t.is(cluster.fronts.length, 1);
  t.is(cluster.fronts[0]?.connections.made, 2);
});

test('reattachDevice refuses a device that is not there', (t) => {
  const cluster = connected();
  const { rig } = cluster;
  const device = { ...cluster.spec(), id: '77' };
  t.deepEqual(
    rig.ask<void>((then) => reattachDevice(rig.dom0, device, then)),
    { ok: false, error: 'ENOENT' },
  );
});

test('a fatal error is written down, closes, and is not tried again before the front end begins anew', (t) => {
  const cluster = new XenbusCluster({ failConnect: 1 });
  cluster.driverDomain();
  cluster.guest();
  cluster.attach();
  t.is(cluster.rig.value('/local/domain/1/error/backend/vbd/2/0/error'), 'BAD_KEYS Cannot connect');
  t.is(cluster.states(), '6/6');
  t.is(cluster.backs[0]?.connections.made, 1);
  t.is(cluster.backs[0]?.connections.held, 0);
  cluster.set(`${cluster.frontPath()}/state`, '1');
  cluster.rig.pump();
  t.is(cluster.states(), '4/4', 'a new beginning is a new chance');
});

test('closing a bus releases every device and leaves no watch', (t) => {
  const cluster = connected();
  const before = cluster.rig.store.audit().watches;
  for (const bus of cluster.buses.values()) bus.close();
  cluster.rig.pump();
  t.is(cluster.backs[0]?.connections.held, 0);
  t.is(cluster.fronts[0]?.connections.held, 0);
  t.true(before > 0);
  t.is(cluster.rig.store.audit().watches, 0);
  t.is(cluster.rig.store.audit().watchBranches, 0);
});

test('what a front end says of itself is not believed: its links are taken from the back directory', (t) => {
  const cluster = new XenbusCluster();
  cluster.driverDomain();
  cluster.domain(2);
  cluster.attach();
  const { rig } = cluster;
  cluster.set(`${cluster.frontPath()}/backend`, '/local/domain/1/backend/vbd/3/0');
  cluster.set(`${cluster.frontPath()}/state`, '3');
  rig.pump();
  t.is(cluster.log.length, 0, 'it does not point back at us');
  for (const [key, value] of [
    ['frontend-id', '3'],
    ['frontend-id', '2x'],
    ['frontend', '/local/domain/3/device/vbd/0'],
  ] as const) {
    const other = { ...cluster.spec(), id: `${key}-${value.length}` };
    cluster.attach(other);
    const count = cluster.backs.length;
    rig.ask<void>((then) => rig.dom0.remove(cluster.backPath(other), then));
    const back = cluster.backPath(other);
    const keys = { frontend: cluster.frontPath(other), 'frontend-id': '2', state: '1', [key]: value };
    rig.ask<void>((then) => rig.dom0.write(back, '', then));
    rig.ask<void>((then) => rig.dom0.setPermissions(back, ['n1', 'r2'], then));
    for (const [name, text] of Object.entries(keys)) cluster.set(`${back}/${name}`, text);
    rig.pump();
    t.is(cluster.backs.length, count, `${key} ${value}`);
  }
});

test('a type without a class is left alone', (t) => {
  const cluster = new XenbusCluster();
  cluster.driverDomain();
  cluster.guest();
  const device = { ...cluster.spec(), type: 'vkbd' };
  t.is(cluster.attach(device), 'ok');
  t.is(cluster.states({ ...device, type: 'vbd' }), '-/-');
  t.is(cluster.rig.value('/local/domain/2/device/vkbd/0/state'), '1');
  t.is(cluster.backs.length + cluster.fronts.length, 0);
});

test('detachDevice of a guest that has ended waits for its back end only', (t) => {
  const cluster = connected({ isSlowToDrain: true });
  const { rig } = cluster;
  rig.domains.delete(2); // its thread is gone; nobody has cleaned up yet
  const reply = rig.ask<string>((then) => detachDevice(rig.toolstack, cluster.spec(), { isFrontGone: true }, then));
  t.deepEqual(reply, { ok: true, value: 'closed' });
  t.is(cluster.states(), '-/-');
  t.is(cluster.backs[0]?.connections.held, 0);
  t.true(cluster.backs[0]?.isRemoved);
});
