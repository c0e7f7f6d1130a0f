// The bridge by itself: learning, aging, VLANs, limits, ports that come and go; its counters add up.
import { Bridge, type BridgeCounters, type BridgePort, Frame, Uplink, VERDICT, type Verdict } from '@splitring/backend';
import { insertTag } from '@splitring/device';
import test from 'ava';
import fc from 'fast-check';
import { PrivatePage, wrapPrivate } from '../../../packages/backend/src/net/private-page.ts';
import { FakeMachine } from '../../support/fake-machine.ts';
import { BROADCAST, etherFrame, pattern } from '../../support/net-lab.ts';

const mac = (index: number) => Uint8Array.of(2, 0, 0, 0, index >> 8, index & 255);

class TestPort implements BridgePort {
  readonly name: string;
  got = 0;
  verdict: Verdict = VERDICT.taken;

  constructor(name: string) {
    this.name = name;
  }

  receive(): Verdict {
    if (this.verdict === VERDICT.taken) this.got += 1;
    return this.verdict;
  }
}

function frame(to: Uint8Array, from: Uint8Array): Frame {
  const made = new Frame();
  const bytes = etherFrame(to, from, new Uint8Array(46));
  wrapPrivate(made, new PrivatePage(bytes), bytes.length);
  return made;
}

const drops = (counters: BridgeCounters) =>
  Object.entries(counters).reduce((sum, [name, count]) => (name.startsWith('drop') ? sum + count : sum), 0);

function addsUp(counters: BridgeCounters): boolean {
  return counters.framesIn === counters.forwarded + counters.flooded + drops(counters);
}

test('Bridge forgets an address that was silent, and keeps one that speaks', (t) => {
  const machine = new FakeMachine();
  const bridge = new Bridge('lan0', machine.clock, { ageingMs: 1000 });
  const ports = [0, 1, 2].map((i) => new TestPort(`p${i}`));
  const links = ports.map((port) => bridge.attach(port));
  links[0]?.forward(frame(BROADCAST, mac(0)));
  links[1]?.forward(frame(BROADCAST, mac(1)));
  for (let i = 0; i < 5; i += 1) {
    machine.nowMs += 500;
    links[0]?.forward(frame(mac(9), mac(0)));
    for (let poll = 0; poll < 16; poll += 1) bridge.poll();
  }
  t.is(bridge.table.entries, 1);
  const before = ports[1]?.got;
  links[2]?.forward(frame(mac(0), mac(2)));
  t.is(ports[1]?.got, before, 'the speaker is still known');
  t.true(Number.isFinite(bridge.deadlineMs()));
});

test('Bridge follows an address that moves to another port, and a port that leaves takes its addresses along', (t) => {
  const machine = new FakeMachine();
  const bridge = new Bridge('lan0', machine.clock);
  const ports = [0, 1, 2].map((i) => new TestPort(`p${i}`));
  const links = ports.map((port) => bridge.attach(port));
  links[0]?.forward(frame(BROADCAST, mac(7)));
  links[2]?.forward(frame(mac(7), mac(2)));
  links[1]?.forward(frame(BROADCAST, mac(7)));
  for (const port of ports) port.got = 0;
  links[2]?.forward(frame(mac(7), mac(2)));
  t.deepEqual(
    ports.map((port) => port.got),
    [0, 1, 0],
  );
  links[1]?.detach();
  links[1]?.detach();
  links[2]?.forward(frame(mac(7), mac(2)));
  t.deepEqual(
    ports.map((port) => port.got),
    [1, 1, 0],
    'flooded again',
  );
});

test('Bridge keeps VLANs apart; a trunk carries all of them with tags', (t) => {
  const machine = new FakeMachine();
  const bridge = new Bridge('lan0', machine.clock);
  const ports = [0, 1, 2].map((i) => new TestPort(`p${i}`));
  const links = ports.map((port, i) => bridge.attach(port, { vlan: i < 2 ? 10 : 20 }));
  const out: Uint8Array[] = [];
  const trunk = new Uplink('trunk', bridge, machine.domain(1), (bytes) => out.push(bytes.slice()) > 0, {
    isTrunk: true,
  });
  links[0]?.forward(frame(BROADCAST, mac(0)));
  t.deepEqual(
    ports.map((port) => port.got),
    [0, 1, 0],
  );
  t.deepEqual([...(out[0]?.subarray(12, 16) ?? [])], [0x81, 0, 0, 10]);
  trunk.input(insertTag(etherFrame(BROADCAST, mac(50), pattern(46, 1)), 20));
  t.deepEqual(
    ports.map((port) => port.got),
    [0, 1, 1],
  );
  // The same address may live in two VLANs.
  trunk.input(insertTag(etherFrame(mac(0), mac(50), pattern(46, 1)), 10));
  t.is(ports[0]?.got, 1);
  links[2]?.forward(frame(mac(0), mac(2)));
  t.is(ports[0]?.got, 1, 'unknown there: flooded in its own VLAN only');
  const tagged = new Frame();
  const bytes = insertTag(etherFrame(BROADCAST, mac(0), new Uint8Array(46)), 20);
  wrapPrivate(tagged, new PrivatePage(bytes), bytes.length);
  t.is(links[0]?.forward(tagged), VERDICT.dropped, 'no hopping');
  t.is(links[0]?.counters.dropVlan, 1);
});

test('Bridge limits the group frames of a port, not its other frames', (t) => {
  const machine = new FakeMachine();
  const bridge = new Bridge('lan0', machine.clock);
  const [a, b] = [new TestPort('a'), new TestPort('b')];
  const link = bridge.attach(a, { groupRate: '6000,1000000' });
  bridge.attach(b).forward(frame(BROADCAST, mac(1)));
  for (let i = 0; i < 200; i += 1) link.forward(frame(BROADCAST, mac(0)));
  t.is(b.got, 100);
  t.is(link.counters.dropGroupLimit, 100);
  for (let i = 0; i < 200; i += 1) link.forward(frame(mac(1), mac(0)));
  t.is(b.got, 300);
  machine.nowMs += 1000;
  link.forward(frame(BROADCAST, mac(0)));
  t.is(b.got, 301);
  t.true(addsUp(link.counters));
});

test('Bridge delivers like a plain map would, whatever happens, and its counters add up', (t) => {
  const step = fc.record({
    port: fc.nat(3),
    from: fc.nat(6),
    to: fc.nat(7),
    verdict: fc.constantFrom(VERDICT.taken, VERDICT.taken, VERDICT.dropped),
    leaves: fc.nat(20),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const bridge = new Bridge('lan0', new FakeMachine().clock);
      const ports = [0, 1, 2, 3].map((i) => new TestPort(`p${i}`));
      const links = ports.map((port) => bridge.attach(port));
      const model = new Map<number, number>();
      for (const { port, from, to, verdict, leaves } of steps) {
        if (leaves === 0) {
          links[port]?.detach();
          const again = ports[port];
          if (again !== undefined) links[port] = bridge.attach(again);
          for (const [address, at] of model) if (at === port) model.delete(address);
          continue;
        }
        for (const one of ports) {
          one.got = 0;
          one.verdict = verdict;
        }
        model.set(from, port);
        const known = to === 7 ? undefined : model.get(to);
        links[port]?.forward(frame(to === 7 ? BROADCAST : mac(to), mac(from)));
        const want = ports.map((_, i) => (i === port ? 0 : known === undefined || known === i ? 1 : 0));
        const got = ports.map((one) => one.got);
        if (verdict === VERDICT.taken) t.deepEqual(got, want);
        else t.deepEqual(got, [0, 0, 0, 0]);
      }
      return links.every((link) => addsUp(link.counters));
    }),
    { numRuns: 60 },
  );
});

test('Bridge refuses two ports bound to one address in one VLAN, and counts addresses that move', (t) => {
  const bridge = new Bridge('lan0', new FakeMachine().clock);
  const onlySource = { low: 2, high: 0x0100 };
  const first = bridge.attach(new TestPort('first'), { onlySource });
  t.throws(() => bridge.attach(new TestPort('second'), { onlySource }), {
    code: 'BRIDGE_MAC_TAKEN',
    message: /second.*first has the same address/,
  });
  t.is(bridge.links.length, 1);
  t.notThrows(() => bridge.attach(new TestPort('other VLAN'), { onlySource, vlan: 7 }));
  first.detach();
  t.notThrows(() => bridge.attach(new TestPort('successor'), { onlySource }));
  const [a, b] = [bridge.attach(new TestPort('a')), bridge.attach(new TestPort('b'))];
  a.forward(frame(BROADCAST, mac(9)));
  t.deepEqual([a.counters.movedSources, b.counters.movedSources], [0, 0]);
  for (let i = 0; i < 5; i += 1) {
    b.forward(frame(BROADCAST, mac(9)));
    a.forward(frame(BROADCAST, mac(9)));
  }
  t.deepEqual([a.counters.movedSources, b.counters.movedSources], [5, 5]);
  t.true(addsUp(a.counters) && addsUp(b.counters));
});

test('Bridge names what it drops when there is nobody else, as when an uplink is gone', (t) => {
  const bridge = new Bridge('lan0', new FakeMachine().clock);
  const only = bridge.attach(new TestPort('only'));
  const uplink = bridge.attach(new TestPort('uplink'));
  uplink.forward(frame(BROADCAST, mac(7)));
  t.is(only.forward(frame(mac(7), mac(1))), VERDICT.taken);
  uplink.detach();
  t.is(only.forward(frame(mac(7), mac(1))), VERDICT.dropped);
  t.is(only.forward(frame(BROADCAST, mac(1))), VERDICT.dropped);
  t.is(only.counters.dropNoPort, 2);
  t.true(addsUp(only.counters));
});
