// Where every frame went: what was sent is what was delivered plus each named drop, on every hop.
import test from 'ava';
import { BROADCAST, etherFrame, type LabGuest, NetLab, pattern } from '../../support/net-lab.ts';

/** A seeded source of small numbers. */
function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
}

for (const isPersistent of [true, false]) {
  test(`every frame is accounted for on every hop (grants ${isPersistent ? 'kept' : 'not kept'} mapped)`, (t) => {
    for (let seed = 1; seed <= 5; seed += 1) {
      const random = chance(seed);
      const lab = new NetLab();
      const links = { onlySource: { low: 0x003e1600, high: 0x0300 } }; // 00:16:3e:00:00:03, the second guest's
      const guests = [
        lab.guest({ isPersistent }),
        lab.guest({ isPersistent, link: links }),
        lab.guest({ isPersistent, abilities: { canScatter: false, canGsoV4: false } }),
        lab.guest({ isPersistent }),
      ];
      const [, , , dead] = guests;
      const got = new Map<LabGuest, number>(guests.map((guest) => [guest, 0]));
      for (const guest of guests) {
        if (guest !== dead) guest.nic.onFrame = () => got.set(guest, (got.get(guest) ?? 0) + 1);
      }
      let refused = 0;
      for (let i = 0; i < 3000; i += 1) {
        const from = guests[random(3)] as LabGuest;
        const to = random(10) === 0 ? BROADCAST : (guests[random(4)] as LabGuest).mac;
        const source = random(20) === 0 ? Uint8Array.of(2, 0, 0, 0, 0, random(4)) : from.mac;
        const size = random(12) === 0 ? 9000 : 46 + random(1400);
        if (!from.nic.send(etherFrame(to, source, pattern(size, i)))) refused += 1;
        if (random(4) === 0) lab.machine.settle();
        if (random(50) === 0) lab.machine.nowMs += 3;
      }
      for (let i = 0; i < 40; i += 1) {
        lab.machine.nowMs += 500;
        lab.machine.settle();
      }
      for (const guest of guests) {
        const { nic, vif } = guest;
        t.is(nic.counters.txFrames, nic.counters.txOkay + nic.counters.txDropped + nic.counters.txErrors);
        t.is(nic.counters.txOkay, vif.counters.txFrames);
        t.is(nic.counters.txDropped, vif.counters.txDropped);
        if (guest !== dead) t.is(vif.counters.rxFrames, got.get(guest) ?? 0);
      }
      t.is(
        guests.reduce((sum, { nic }) => sum + nic.counters.txFull, 0),
        refused,
      );
      let offered = 0;
      let dropped = 0;
      for (const { counters } of lab.bridge.links) {
        const drops = Object.entries(counters).filter(([name]) => name.startsWith('drop'));
        const sum = drops.reduce((total, [, count]) => total + count, 0);
        t.is(counters.framesIn, counters.forwarded + counters.flooded + sum);
        offered += counters.forwarded + counters.floodCopies;
        dropped += sum;
      }
      t.is(
        guests.reduce((sum, { vif }) => sum + vif.counters.txDropped, 0),
        dropped,
      );
      // What ports took is what guests received, but for copies that waited too long in a backlog.
      const received = guests.reduce((sum, { vif }) => sum + vif.counters.rxFrames + vif.counters.rxStalled, 0);
      t.is(received, offered);
      if (!isPersistent) t.is(lab.driver.handles.size, 8, 'only the rings stay mapped');
    }
  });
}
