// Guests that stop to take frames: how long what waits for them is kept, and when they are taken for dead.
import test from 'ava';
import { NetCluster } from '../../support/net-cluster.ts';
import { BROADCAST, etherFrame, NetLab } from '../../support/net-lab.ts';

/** Let `ms` pass in steps, every domain polled in each often enough for a look at the clock. */
function pass(lab: NetLab, ms: number, stepMs = 500): void {
  for (let done = 0; done < ms; done += stepMs) {
    lab.machine.nowMs += stepMs;
    for (let i = 0; i < 64; i += 1) lab.driver.poll();
    lab.scheduler.arm();
  }
}

for (const posted of [0, 1]) {
  test(`a guest that posted ${posted} buffers for a frame of ten loses its carrier after 60 s (XSA-392)`, (t) => {
    const lab = new NetLab();
    const [a, b, silent] = [lab.guest(), lab.guest(), lab.raw(9)];
    let got = 0;
    b.nic.onFrame = () => {
      got += 1;
    };
    const seen: boolean[] = [];
    silent.vif.onCarrier = (isOn) => seen.push(isOn);
    silent.data.bytes.set(etherFrame(BROADCAST, silent.mac, new Uint8Array(46)), 0);
    silent.send({ size: 60 });
    lab.machine.settle();
    silent.post(posted);
    const large = etherFrame(silent.mac, a.mac, new Uint8Array(40_000));
    for (let second = 0; second < 59; second += 1) {
      a.nic.send(large);
      pass(lab, 1000);
      lab.machine.settle();
    }
    t.true(silent.vif.hasCarrier, 'not yet');
    for (let second = 0; second < 3; second += 1) {
      a.nic.send(large);
      pass(lab, 1000);
      lab.machine.settle();
    }
    t.false(silent.vif.hasCarrier);
    t.deepEqual(seen, [false]);
    t.is(silent.vif.counters.rxStalls, 1);
    t.is(silent.vif.counters.rxFrames, 0);
    const { txDropped } = a.nic.counters;
    a.nic.send(large);
    lab.machine.settle();
    t.is(a.nic.counters.txDropped, txDropped + 1, 'dropped at once, nobody waits');
    t.true(silent.vif.counters.rxNoCarrier > 0);
    a.nic.send(etherFrame(b.mac, a.mac, new Uint8Array(46)));
    lab.machine.settle();
    t.true(got > 0, 'others are served');
    silent.post(9); // less than the frame needs, if none was there before
    pass(lab, 1000);
    t.is(silent.vif.hasCarrier, posted === 1);
    silent.post(10);
    pass(lab, 1000);
    t.deepEqual(seen, [false, true]);
    a.nic.send(large);
    lab.machine.settle();
    t.is(silent.vif.counters.rxFrames, 1);
  });
}

test('a guest that takes frames slowly, or wants none, keeps its carrier', (t) => {
  const lab = new NetLab();
  const [a, slow] = [lab.guest(), lab.raw(9)];
  for (let second = 0; second < 200; second += 1) {
    a.nic.send(etherFrame(BROADCAST, a.mac, new Uint8Array(46)));
    pass(lab, 1000);
    if (second % 50 === 49) slow.post(1);
  }
  t.true(slow.vif.hasCarrier);
  t.true(slow.vif.counters.rxStalled > 0, 'but what waited for more than 10 s is dropped');
});

test('a guest that does not tell of its buffers is waited for 30 ms, by nobody, and never taken for dead', (t) => {
  const lab = new NetLab();
  const a = lab.guest();
  const mute = lab.raw(9, { tellsBuffers: false });
  mute.data.bytes.set(etherFrame(BROADCAST, mute.mac, new Uint8Array(46)), 0);
  mute.send({ size: 60 });
  lab.machine.settle();
  const frame = etherFrame(mute.mac, a.mac, new Uint8Array(46));
  a.nic.send(frame);
  lab.machine.settle();
  t.is(a.nic.counters.txOkay, 1, 'its sender is not held');
  t.is(lab.scheduler.deadlineMs(), lab.machine.nowMs + 30);
  mute.post(1);
  lab.driver.poll();
  t.is(mute.vif.counters.rxFrames, 1);
  a.nic.send(frame);
  lab.machine.settle();
  pass(lab, 31, 31);
  t.is(mute.vif.counters.rxStalled, 1);
  pass(lab, 120_000);
  t.true(mute.vif.hasCarrier);
});

test('buffers posted after everybody has given up wake the driver domain once, not for ever', (t) => {
  const lab = new NetLab();
  const [a, slow] = [lab.guest(), lab.raw(9)];
  slow.data.bytes.set(etherFrame(BROADCAST, slow.mac, new Uint8Array(46)), 0);
  slow.send({ size: 60 });
  lab.machine.settle();
  a.nic.send(etherFrame(slow.mac, a.mac, new Uint8Array(46)));
  for (let i = 0; i < 10; i += 1) {
    lab.machine.settle();
    pass(lab, 50, 50);
  }
  t.is(a.nic.counters.txDropped, 1);
  slow.post(4);
  t.true(lab.scheduler.arm());
  lab.driver.poll();
  t.false(lab.scheduler.arm());
});

test('netback keeps the carrier in the store, and follows request-multicast-control while connected', (t) => {
  const cluster = new NetCluster();
  const [a, b] = [cluster.guest(), cluster.guest()];
  const key = (name: string) =>
    cluster.rig.value(`/local/domain/${cluster.driver.domid}/backend/vif/${b.domid}/0/${name}`);
  t.is(key('feature-dynamic-multicast-control'), '1');
  t.is(key('carrier'), '1');
  const nic = cluster.nic(b);
  const group = Uint8Array.of(1, 0, 0x5e, 0, 0, 7);
  let got = 0;
  nic.onFrame = () => {
    got += 1;
  };
  const send = () => {
    got = 0;
    cluster.nic(a).send(etherFrame(group, a.mac, new Uint8Array(46)));
    cluster.rig.pump();
    return got;
  };
  t.is(send(), 1);
  t.true(nic.filterGroups(true));
  cluster.rig.pump();
  t.is(send(), 0);
  nic.changeGroup(group, true);
  cluster.rig.pump();
  t.is(send(), 1);
  nic.filterGroups(false);
  nic.changeGroup(group, false);
  cluster.rig.pump();
  t.is(send(), 1);
  t.is(cluster.unplug(b), 'closed');
  t.false(nic.filterGroups(true));
});
