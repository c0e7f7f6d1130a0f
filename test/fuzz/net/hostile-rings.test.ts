// A front end, or a back end, that puts anything on its rings at any time. Nothing may throw, work is bounded, the
// neighbours are served, and every mapping is given back. Most of it is nearly valid, so that deep code is reached.
import type { DomId } from '@splitring/hypervisor';
import test from 'ava';
import fc from 'fast-check';
import { BackRing } from 'sharedarraybuffer-ring';
import { Nic } from '../../../packages/frontend/src/net/nic.ts';
import { NicQueue } from '../../../packages/frontend/src/net/nic-queue.ts';
import { FakeMachine } from '../../support/fake-machine.ts';
import { BROADCAST, etherFrame, NetLab, type RawGuest, type RawSlot } from '../../support/net-lab.ts';

const byte = fc.integer({ min: 0, max: 255 });
const odd16 = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 4096 }) },
  fc.integer({ min: 0, max: 0xffff }),
);
const flags = fc.oneof({ weight: 6, arbitrary: fc.constantFrom(0, 0, 4, 4, 8, 12, 1, 3) }, odd16);
const slot = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      page: fc.integer({ min: 0, max: 63 }),
      offset: fc.constantFrom(0, 0, 7, 4000),
      flags,
      size: odd16,
    }),
  },
  { weight: 2, arbitrary: fc.record({ size: fc.constant(0), raw: fc.array(byte, { minLength: 12, maxLength: 12 }) }) },
  { weight: 1, arbitrary: fc.record({ size: odd16, gref: fc.integer({ min: 0, max: 0xffff_ffff }) }) },
);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ send: fc.array(slot, { minLength: 1, maxLength: 23 }) }) },
  { weight: 4, arbitrary: fc.record({ post: fc.integer({ min: 1, max: 20 }), bad: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ poll: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ write: fc.integer({ min: 0, max: 15 }), value: fc.integer() }) },
);

function play(evil: RawGuest, action: object, lab: NetLab): void {
  if ('send' in action) {
    try {
      evil.send(...(action.send as RawSlot[]));
    } catch {
      evil.tx.pushRequests(); // the ring is full: what fits is sent
    }
    evil.responses();
  } else if ('post' in action) {
    const { post, bad } = action as { post: number; bad: boolean };
    try {
      evil.post(post, bad ? 0x7fff_fff0 : undefined);
    } catch {
      evil.rx.pushRequests();
    }
    evil.received();
  } else if ('poll' in action) {
    for (let i = 0; i < (action.poll as number); i += 1) lab.driver.poll();
    lab.machine.nowMs += 7;
  } else {
    const { write, value } = action as { write: number; value: number };
    const region = write < 8 ? evil.txPages.bytes : evil.rxPages.bytes;
    new Int32Array(region.buffer)[write & 7] = value;
  }
}

test('netback survives anything that a front end puts on its rings', (t) => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), fc.boolean(), (steps, isPersistent) => {
      const lab = new NetLab();
      const [a, b] = [lab.guest(), lab.guest()];
      const evil = lab.raw(9, { isPersistent });
      let got = 0;
      b.nic.onFrame = () => {
        got += 1;
      };
      let isGone = false;
      lab.scheduler.onBroken = (vif) => {
        isGone = true;
        lab.scheduler.remove(vif);
        vif.disconnect();
      };
      for (const action of steps) play(evil, action, lab);
      for (let i = 0; i < 300; i += 1) {
        lab.driver.poll();
        lab.machine.nowMs += 5;
      }
      got = 0;
      a.nic.send(etherFrame(b.mac, a.mac, new Uint8Array(46)));
      a.nic.send(etherFrame(BROADCAST, a.mac, new Uint8Array(46)));
      lab.machine.settle();
      t.is(got, 2, 'the neighbours talk');
      if (!isGone) {
        lab.scheduler.remove(evil.vif);
        evil.vif.disconnect();
      }
      for (const ref of [...evil.data.refs]) t.is(evil.domain.grants.get(ref)?.uses, 0, 'every page is let go');
    }),
    { numRuns: 300 },
  );
});

const answer = fc.record({
  id: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 0xffff })),
  offset: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, odd16),
  flags,
  status: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 14, max: 4096 }) }, fc.integer({ min: -3, max: 0x7fff })),
});

test('netfront survives anything that a back end answers', (t) => {
  fc.assert(
    fc.property(fc.array(fc.array(answer, { maxLength: 24 }), { maxLength: 20 }), fc.integer(), (rounds, index) => {
      const machine = new FakeMachine();
      machine.domain(1);
      const domain = machine.domain(2);
      const nic = new Nic(domain, '0', () => {});
      const queue = new NicQueue(domain, { name: 'vif', peer: 1 as DomId, hasSplitChannels: true }, nic.counters);
      nic.connect([queue]);
      nic.setLink(true);
      nic.onFrame = (frame) => t.true(frame.toBytes().length >= 14 && frame.lengthBytes <= 65535 + 4096);
      const rx = new BackRing(queue.rx.ringPages.bytes, 8);
      const tx = new BackRing(queue.tx.ringPages.bytes, 12);
      for (const [round, answers] of rounds.entries()) {
        nic.send(new Uint8Array(60 + round * 300));
        nic.poll();
        rx.availableRequests();
        tx.availableRequests();
        for (const { id, offset, flags: bits, status } of answers) {
          if (!rx.takeRequest()) break;
          const right = rx.request.getUint16(0, true);
          const at = rx.stageResponse();
          rx.view.setUint16(at, (right + id) & 0xffff, true);
          rx.view.setUint16(at + 2, offset, true);
          rx.view.setUint16(at + 4, bits, true);
          rx.view.setInt16(at + 6, status, true);
          if (!tx.takeRequest()) continue;
          const own = tx.request.getUint16(8, true);
          const to = tx.stageResponse();
          tx.view.setUint16(to, (own + id) & 0xffff, true);
          tx.view.setInt16(to + 2, status % 4, true);
        }
        rx.pushResponses();
        tx.pushResponses();
        nic.poll();
        if (nic.brokenBy !== undefined) break;
      }
      if (index % 3 === 0) new Int32Array(queue.rx.ringPages.bytes.buffer)[2] = index; // rspProd
      nic.poll();
      nic.disconnect();
      t.is(domain.grants.size, 0);
      t.is(domain.ports.size, 0);
    }),
    { numRuns: 300 },
  );
});
