// What a hostile back end can answer, and how netfront takes it: the network rows of the hardening table, section 6.2.
import type { DomId } from '@splitring/hypervisor';
import test from 'ava';
import { BackRing } from 'sharedarraybuffer-ring';
import { Nic } from '../../../packages/frontend/src/net/nic.ts';
import { NicQueue } from '../../../packages/frontend/src/net/nic-queue.ts';
import { FakeMachine } from '../../support/fake-machine.ts';

const frame = new Uint8Array(60).fill(7);

/** A card whose back end is the test. */
function setUp() {
  const machine = new FakeMachine();
  machine.domain(1);
  const domain = machine.domain(2);
  let breaks = 0;
  const nic = new Nic(domain, '0', () => {
    breaks += 1;
  });
  const queue = new NicQueue(domain, { name: 'vif 0', peer: 1 as DomId, hasSplitChannels: false }, nic.counters);
  nic.connect([queue]);
  nic.setLink(true);
  const tx = new BackRing(queue.tx.ringPages.bytes, 12);
  const rx = new BackRing(queue.rx.ringPages.bytes, 8);
  const frames: number[] = [];
  nic.onFrame = (got) => frames.push(got.lengthBytes);
  return {
    nic,
    queue,
    domain,
    frames,
    breaks: () => breaks,
    /** @returns whether the front end is to be told */
    answerTx: (...answers: readonly (readonly [id: number, status: number])[]) => {
      tx.availableRequests();
      for (const [id, status] of answers) {
        tx.takeRequest();
        const at = tx.stageResponse();
        tx.view.setUint16(at, id, true);
        tx.view.setInt16(at + 2, status, true);
      }
      return tx.pushResponses();
    },
    /** Answer the next buffers; `id` counts from the slot that is right. */
    answerRx: (
      ...answers: readonly { id?: number; offset?: number; flags?: number; status?: number; raw?: number[] }[]
    ) => {
      rx.availableRequests();
      for (const { id = 0, offset = 0, flags = 0, status = 60, raw } of answers) {
        rx.takeRequest();
        const right = rx.request.getUint16(0, true);
        const at = rx.stageResponse();
        rx.view.setUint16(at, (right + id) & 0xffff, true);
        rx.view.setUint16(at + 2, offset, true);
        rx.view.setUint16(at + 4, flags, true);
        rx.view.setInt16(at + 6, status, true);
        for (const [i, byte] of (raw ?? []).entries()) rx.view.setUint8(at + i, byte);
      }
      rx.pushResponses();
    },
  };
}

const badTx: readonly [string, readonly (readonly [number, number])[]][] = [
  ['an id that is not in use', [[5, 0]]],
  ['an id beyond the ring', [[300, 0]]],
  [
    'the same id twice',
    [
      [0, 0],
      [0, 0],
    ],
  ],
  ['a null answer without an extra info', [[0, 1]]],
];
for (const [name, answers] of badTx) {
  test(`NetTxQueue takes ${name} as a broken back end`, (t) => {
    const lab = setUp();
    lab.nic.send(frame);
    lab.nic.send(frame);
    lab.nic.poll();
    lab.answerTx(...answers);
    lab.nic.poll();
    t.is(lab.breaks(), 1);
    t.is(lab.nic.brokenBy?.code, 'NET_RESPONSE_INVALID');
    lab.nic.poll();
    t.is(lab.breaks(), 1, 'reported once');
  });
}

for (const [name, word] of [
  ['tx', 'tx'],
  ['rx', 'rx'],
] as const) {
  test(`Nic takes more ${name} responses than requests as a broken back end (XSA-376)`, (t) => {
    const lab = setUp();
    lab.nic.send(frame);
    lab.nic.poll();
    Atomics.store(new Int32Array(lab.queue[word].ringPages.bytes.buffer), 2, 300);
    lab.nic.poll();
    t.is(lab.nic.brokenBy?.code, 'RING_RESPONSE_OVERFLOW');
    t.is(lab.frames.length, 0);
  });
}

test('NetTxQueue takes answers in any order', (t) => {
  const lab = setUp();
  for (let i = 0; i < 4; i += 1) lab.nic.send(frame);
  lab.nic.poll();
  lab.answerTx([3, 0], [1, -2], [0, -1], [2, 0]);
  lab.nic.poll();
  t.like(lab.nic.counters, { txOkay: 2, txDropped: 1, txErrors: 1 });
  t.is(lab.queue.tx.freeSlots, 256);
});

for (let size = 0; size <= 13; size += 1) {
  test(`NetRxQueue drops a frame of ${size} bytes and goes on`, (t) => {
    const lab = setUp();
    lab.answerRx({ status: size }, { status: 60 });
    lab.nic.poll();
    t.deepEqual(lab.frames, [60]);
    t.is(lab.nic.counters.rxErrors, 1);
  });
}

const dropped: readonly [string, { offset?: number; status?: number; flags?: number }[]][] = [
  ['bytes beyond the page', [{ offset: 4090, status: 60 }]],
  ['an offset beyond the page', [{ offset: 65000, status: 1000 }]],
  ['an error status', [{ status: -1 }]],
  ['an error in a later fragment', [{ status: 100, flags: 4 }, { status: -1 }]],
];
for (const [name, answers] of dropped) {
  test(`NetRxQueue drops a frame with ${name} and goes on`, (t) => {
    const lab = setUp();
    lab.answerRx(...answers, { status: 64 });
    lab.nic.poll();
    t.deepEqual(lab.frames, [64]);
    t.is(lab.nic.counters.rxErrors, 1);
    t.is(lab.breaks(), 0);
  });
}

const badRx: readonly [string, { id?: number; flags?: number; raw?: number[] }[]][] = [
  ['an id that is not of its slot', [{ id: 1 }]],
  ['a chain that ends beyond the ring', [{ flags: 4 }]],
  ['a chain of 20 fragments', Array.from({ length: 20 }, (_, i) => ({ flags: i < 19 ? 4 : 0 }))],
  ['extra info that ends beyond the ring', [{ flags: 8 }]],
  ['extra info of type 0', [{ flags: 8 }, { raw: [0, 0, 0, 0, 0, 0, 0, 0] }]],
  ['extra info without end', [{ flags: 8 }, ...Array.from({ length: 9 }, () => ({ raw: [4, 1, 0, 0, 0, 0, 0, 0] }))]],
];
for (const [name, answers] of badRx) {
  test(`NetRxQueue takes ${name} as a broken back end`, (t) => {
    const lab = setUp();
    lab.answerRx(...answers);
    lab.nic.poll();
    t.is(lab.breaks(), 1);
    t.is(lab.nic.brokenBy?.code, 'NET_RESPONSE_INVALID');
    t.is(lab.frames.length, 0);
  });
}

test('NicQueue release gives back every grant, port and frame, and never the pages that are still mapped (XSA-396)', (t) => {
  const lab = setUp();
  const [ref] = lab.domain.grants.keys();
  const grant = lab.domain.grants.get(ref ?? 0);
  if (grant === undefined) throw new Error('there are grants');
  grant.uses = 1;
  lab.nic.disconnect();
  t.is(lab.domain.grants.size, 1, 'the one that the back end holds');
  t.is(lab.domain.ports.size, 0);
  lab.nic.disconnect();
  t.is(lab.domain.framesHeld, 0);
  t.false(lab.nic.send(frame), 'no link, no frame');
});

test('Nic refuses frames that no Ethernet carries, before anything changes', (t) => {
  const lab = setUp();
  t.throws(() => lab.nic.send(new Uint8Array(13)), { instanceOf: RangeError });
  t.throws(() => lab.nic.send(new Uint8Array(65536)), { instanceOf: RangeError });
  t.is(lab.queue.tx.freeSlots, 256);
});

test('Nic asks to be woken as long as a refused sender waits, however much room there is meanwhile', (t) => {
  const lab = setUp();
  let sent = 0;
  while (lab.nic.send(frame)) sent += 1;
  lab.nic.poll();
  const okay = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => [from + i, 0] as const);
  lab.answerTx(...okay(0, 25)); // the sender waits for more than that
  lab.nic.poll();
  t.false(lab.nic.arm());
  t.true(lab.answerTx(...okay(25, sent)));
  lab.nic.poll();
  t.true(lab.nic.send(frame));
  lab.nic.poll();
  t.false(lab.nic.arm());
  t.false(lab.answerTx([0, 0]), 'nobody waits');
});
