// The switch inside a card: its functions and its cable are one network, and every frame is counted once, by its fate.
import { createCable, EmbeddedSwitch, type SwitchSourceCounters } from '@splitring/device';
import test, { type ExecutionContext } from 'ava';
import { BROADCAST, etherFrame, pattern } from '../../support/net-lab.ts';

const mac = (index: number, high = 0) => Uint8Array.of(2, 0, 0, 0, high, index);
const chance = { nextU32: () => 0 };

/** A card with two functions on a cable. */
function world() {
  const cable = createCable({ nowMs: () => 0 }, chance);
  const [near, far] = cable.ends;
  const inner = new EmbeddedSwitch(near);
  const [first, second] = [inner.port(), inner.port()];
  const got = { first: [] as Uint8Array[], second: [] as Uint8Array[], outside: [] as Uint8Array[] };
  first.onFrame = (frame) => got.first.push(frame);
  second.onFrame = (frame) => got.second.push(frame);
  far.onFrame = (frame) => got.outside.push(frame);
  const settle = () => {
    for (let i = 0; i < 4; i += 1) for (const end of [first, second, far]) end.poll();
  };
  /** How many each has got since this was last asked. */
  const counts = () => Object.values(got).map((frames) => frames.splice(0).length);
  return { cable, far, inner, first, second, settle, counts };
}

/** Whether every frame from a port went exactly one way. */
function isEven(t: ExecutionContext, { received, ...fates }: SwitchSourceCounters & object): void {
  const { forwarded, flooded, dropRunt, dropSamePort } = fates;
  t.is(received, forwarded + flooded + dropRunt + dropSamePort);
}

test('EmbeddedSwitch keeps two functions and the cable on one network, and learns', (t) => {
  const { far, inner, first, second, settle, counts } = world();
  first.send(etherFrame(BROADCAST, mac(1), pattern(46, 1)));
  settle();
  t.deepEqual(counts(), [0, 1, 1]);
  second.send(etherFrame(mac(1), mac(2), pattern(46, 1)));
  far.send(etherFrame(mac(2), mac(3), pattern(46, 1)));
  settle();
  t.deepEqual(counts(), [1, 1, 0], 'known addresses are not flooded');
  second.send(etherFrame(mac(3), mac(1), pattern(46, 1))); // the address has moved
  settle();
  far.send(etherFrame(mac(1), mac(3), pattern(46, 1)));
  settle();
  t.deepEqual(counts(), [0, 1, 1]);
  for (const counters of [first.counters, second.counters, inner.fromCable]) isEven(t, counters);
});

test('EmbeddedSwitch keeps addresses of different VLANs apart', (t) => {
  const { first, second, settle, counts } = world();
  const tagged = (to: Uint8Array, from: Uint8Array, vlan: number) => {
    const frame = etherFrame(to, from, pattern(60, 1));
    frame.set([0x81, 0, 0, vlan], 12);
    return frame;
  };
  first.send(tagged(BROADCAST, mac(1), 7));
  settle();
  counts();
  second.send(tagged(mac(1), mac(2), 7));
  settle();
  t.deepEqual(counts(), [1, 0, 0]);
  second.send(tagged(mac(1), mac(2), 8));
  settle();
  t.deepEqual(counts(), [1, 0, 1], 'unknown in that VLAN');
});

test('EmbeddedSwitch names what it does not deliver', (t) => {
  const { far, inner, first, second, settle, counts } = world();
  first.send(new Uint8Array(13));
  far.send(new Uint8Array(5));
  first.send(etherFrame(BROADCAST, mac(1), pattern(46, 1)));
  first.send(etherFrame(mac(1), mac(4), pattern(46, 1)));
  settle();
  t.like(first.counters, { received: 3, flooded: 1, dropRunt: 1, dropSamePort: 1, forwarded: 0 });
  t.like(inner.fromCable, { received: 1, dropRunt: 1 });
  second.send(etherFrame(BROADCAST, mac(2), pattern(46, 1)));
  settle();
  counts();
  for (let i = 0; i < 300; i += 1) first.send(etherFrame(mac(2), mac(1), pattern(46, i)));
  t.like(second.counters, { offered: 301, delivered: 1, dropNoRoom: 300 - 256 });
  settle();
  t.is(second.counters.offered, second.counters.delivered + second.counters.dropNoRoom);
  t.deepEqual(counts(), [0, 256, 0]);
  for (const counters of [first.counters, second.counters, inner.fromCable]) isEven(t, counters);
});

test('EmbeddedSwitch remembers a bounded number of addresses, and floods the others', (t) => {
  const { first, second, settle, counts } = world();
  for (let i = 0; i < 5000; i += 1) {
    const frame = etherFrame(mac(9), mac(i & 0xff, i >>> 8), pattern(60, 1));
    frame.set([0x81, 0, 0, i & 15], 12); // spread over VLANs
    first.send(frame);
    settle();
  }
  counts();
  let flooded = 0;
  for (let i = 0; i < 5000; i += 1) {
    const frame = etherFrame(mac(i & 0xff, i >>> 8), Uint8Array.of(3, 0, 0, 0, 0, 0), pattern(60, 1));
    frame.set([0x81, 0, 0, i & 15], 12);
    second.send(frame);
    settle();
    flooded += counts()[2] as number; // three counts
  }
  t.is(flooded, 5000 - 1024);
});

test('EmbeddedSwitch tells every function when the cable is cut, and loses what leaves through it', (t) => {
  const { cable, first, second, settle, counts } = world();
  let told = 0;
  for (const port of [first, second]) {
    port.onCarrier = () => {
      told += 1;
    };
  }
  cable.setCut(true);
  t.is(told, 2);
  t.false(first.hasCarrier);
  first.send(etherFrame(BROADCAST, mac(1), pattern(46, 1)));
  settle();
  t.deepEqual(counts(), [0, 1, 0]);
  t.is(cable.ends[0].counters.cut, 1);
});
