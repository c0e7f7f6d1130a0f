// Guest, bridge, card, bad cable, card, bridge, guest: what was sent is what arrived plus every named loss, on every hop,
// and what arrived is what was sent. A count that is lost anywhere shows.
import { hasGoodChecksums } from '@splitring/device';
import test from 'ava';
import fc from 'fast-check';
import { balances, CardLab, type CardLabOptions, seeded } from '../../support/card-lab.ts';
import { BROADCAST, etherFrame, pattern } from '../../support/net-lab.ts';
import { packet } from '../../support/packets.ts';

const share = fc.constantFrom(0, 0, 0.05, 0.3);
const faults = fc.record({
  loss: share,
  duplication: share,
  reordering: share,
  corruption: share,
  delayMs: fc.constantFrom(0, 0, 3),
});

/** Play traffic of every kind over a lab, and come to rest. @returns what was sent and what each guest got */
function play(options: CardLabOptions & { readonly seed: number }) {
  const lab = new CardLab(options);
  const { cluster } = lab;
  const near = [cluster.guest({}, { bridge: 'lan0' }), cluster.guest({}, { bridge: 'lan0', mac: '00:16:3e:00:00:03' })];
  const far = [cluster.guest({}, { bridge: 'lan1' }), cluster.guest({ filtersMulticast: true }, { bridge: 'lan1' })];
  const deaf = cluster.guest({}, { bridge: 'lan1' });
  const all = [...near, ...far, deaf];
  for (const [index, guest] of all.entries()) cluster.nic(guest).isPromiscuous = index % 2 === 0;
  const sent = new Set<string>();
  const got: Uint8Array[] = [];
  for (const guest of all) {
    if (guest !== deaf) cluster.nic(guest).onFrame = (frame) => got.push(frame.toBytes());
  }
  const random = seeded(options.seed);
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)] as T; // in range
  const key = (frame: Uint8Array) => Buffer.from(frame).toString('latin1');
  for (let i = 0; i < 250; i += 1) {
    const from = pick(all);
    const group = random.below(12) === 0 ? Uint8Array.of(1, 0, 0x5e, 0, 0, 1) : BROADCAST;
    const to = random.below(8) === 0 ? group : pick(all).mac;
    const source = random.below(15) === 0 ? Uint8Array.of(2, 0, 0, 0, 9, 9) : from.mac;
    const payload = pattern(random.below(8) === 0 ? 3000 + random.below(20_000) : 40 + random.below(1300), i);
    const kind = random.below(4);
    const nic = cluster.nic(from);
    if (kind === 0 && payload.length > 1500) {
      const large = packet({ to, from: source, protocol: 'tcp', payload, checksum: 'blank' });
      sent.add(key(large)); // on its own bridge it stays whole
      nic.send(large, { gsoSizeBytes: 1400, gsoType: 1 });
    } else if (kind < 3 && payload.length <= 1400) {
      const frame = packet({ to, from: source, protocol: 'udp', payload, checksum: 'full' });
      sent.add(key(frame));
      nic.send(frame);
    } else {
      const frame = etherFrame(to, source, payload);
      sent.add(key(frame));
      nic.send(frame);
    }
    if (random.below(30) === 0) lab.cable.setCut(random.below(2) === 0);
    if (random.below(3) === 0) lab.pass(random.below(3));
  }
  lab.cable.setCut(false);
  for (let i = 0; i < 3; i += 1) {
    lab.pass(60);
    cluster.rig.clock.advance(11_000); // whatever waits for the deaf guest is given up
    lab.pass(2);
  }
  cluster.nic(deaf).onFrame = () => {}; // what lies in its ring is taken at last
  lab.pass(2);
  return { lab, sent, got, key };
}

test('counters add up on every hop, whatever the cable does, and what arrives is what was sent', (t) => {
  fc.assert(
    fc.property(faults, fc.integer({ min: 1, max: 1 << 30 }), fc.constantFrom(1, 4), (cable, seed, queuePairs) => {
      const { lab, sent, got, key } = play({ faults: cable, seed, queuePairs });
      for (const { hop, came, went } of balances(lab)) t.is(went, came, hop);
      const isWhole = (frame: Uint8Array) =>
        sent.has(key(frame)) || (frame[12] === 8 && frame[23] === 6 && hasGoodChecksums(frame, frame.length));
      const bad = got.filter((frame) => !isWhole(frame)).length;
      const corrupted = lab.cable.ends.reduce((sum, { counters }) => sum + counters.corrupted, 0);
      // A flooded frame reaches several guests: each damaged one may be seen by all of the far side.
      t.true(bad <= 3 * 2 * corrupted, `${bad} frames differ, ${corrupted} were damaged`);
      if (corrupted === 0) t.is(bad, 0);
      t.true(got.length > 0);
    }),
    { numRuns: 12 },
  );
});

test('a counter that loses one count anywhere on the way is found', (t) => {
  const { lab } = play({ faults: { loss: 0.1, duplication: 0.1, reordering: 0.1, delayMs: 1 }, seed: 5 });
  const uneven = () => balances(lab).filter(({ came, went }) => came !== went);
  t.deepEqual(uneven(), []);
  const places: [string, Record<string, number>][] = [];
  const note = (name: string, counters: object) => places.push([name, counters as Record<string, number>]);
  for (const [index, { bridge, uplink, card }] of lab.ends.entries()) {
    for (const { port, counters } of bridge.links) note(`bridge ${index} ${port.name}`, counters);
    note(`uplink ${index}`, uplink.counters);
    note(`card ${index}`, card.counters);
    note(`cable ${index}`, lab.cable.ends[index as 0 | 1].counters);
  }
  for (const vif of lab.cluster.vifs) note(vif.name, vif.counters);
  for (const guest of lab.cluster.guests) note(`guest ${guest.domid}`, lab.cluster.nic(guest).counters);
  // Not counts of frames, or of what happened to frames that are counted elsewhere.
  const others = /Bytes|notifications|holds|throttled|Stalls|movedSources|txFull|txAborted|txMulticast|groupErrors/i;
  const marks = new Set(['corrupted', 'reordered', 'delayed']);
  let planted = 0;
  for (const [name, counters] of places) {
    for (const key of Object.keys(counters)) {
      if (others.test(key) || marks.has(key)) continue;
      counters[key] = (counters[key] as number) - 1; // a key of it
      t.true(uneven().length > 0, `${name} ${key}`);
      counters[key] = (counters[key] as number) + 1;
      planted += 1;
    }
  }
  t.true(planted > 100);
  t.deepEqual(uneven(), []);
});
