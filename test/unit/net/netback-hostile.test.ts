// What a hostile front end can put on its rings, and what netback answers: the network rows of the hardening table.
import test from 'ava';
import { BROADCAST, etherFrame, ipFrame, NetLab, pattern, type RawGuest, type RawSlot } from '../../support/net-lab.ts';

const MORE = 4;
const EXTRA = 8;
const GSO = [1, 0, 0xa8, 0x05, 1, 0, 0, 0, 0, 0, 0, 0]; // MSS 1448, TCPv4
const ERROR = -1;
const OKAY = 0;
const NULL = 1;

function lab() {
  const net = new NetLab();
  const good = net.guest();
  const frames: Uint8Array[] = [];
  good.nic.onFrame = (frame) => frames.push(frame.toBytes());
  const evil = net.raw(9);
  return { net, good, evil, frames };
}

/** Put a frame across the evil guest's pages as the slots say, header included. */
function place(evil: RawGuest, frame: Uint8Array, cuts: readonly number[], offset = 0): RawSlot[] {
  let at = 0;
  const parts = [...cuts, frame.length - cuts.reduce((sum, cut) => sum + cut, 0)];
  return parts.map((size, i): RawSlot => {
    evil.data.bytes.set(frame.subarray(at, at + size), i * 4096 + offset);
    at += size;
    return {
      page: i,
      id: 100 + i,
      offset,
      size: i === 0 ? frame.length : size,
      flags: i + 1 < parts.length ? MORE : 0,
    };
  });
}

const frameTo = (to: Uint8Array, from: Uint8Array, size = 1000) => etherFrame(to, from, pattern(size, 3));

for (const [name, reqProd] of [
  ['n + 1 ahead', 257],
  ['2^31 ahead', 0x80000000],
  ['one behind', 0xffffffff],
] as const) {
  test(`VifQueue is fatal in one pass when reqProd is ${name} (XSA-39)`, (t) => {
    const { net, evil, good, frames } = lab();
    let broken = 0;
    net.scheduler.onBroken = () => {
      broken += 1;
    };
    new Int32Array(evil.txPages.bytes.buffer)[0] = reqProd | 0;
    net.driver.poll();
    t.is(broken, 1);
    t.truthy(evil.queue.broken);
    net.scheduler.remove(evil.vif);
    good.nic.send(frameTo(BROADCAST, good.mac)); // the others go on
    net.machine.settle();
    t.is(good.nic.counters.txOkay, 1);
    t.is(frames.length, 0);
  });
}

const fatal: readonly [string, (evil: RawGuest) => RawSlot[]][] = [
  ['a chain that ends beyond the ring', () => [{ size: 2000, flags: MORE }]],
  ['extra info that ends beyond the ring', () => [{ size: 2000, flags: EXTRA }]],
  ['a first part that crosses its page', () => [{ size: 100, offset: 4000 }]],
  [
    'a later fragment that crosses its page',
    () => [
      { size: 3000, flags: MORE },
      { size: 1000, offset: 3500 },
    ],
  ],
  ['an offset beyond the page', () => [{ size: 60, offset: 65000 }]],
  [
    '21 slots after the first',
    () => Array.from({ length: 22 }, (_, i) => ({ size: i ? 10 : 3000, flags: i < 21 ? MORE : 0 })),
  ],
  [
    'extra info of type 0',
    () => [
      { size: 100, flags: EXTRA },
      { size: 0, raw: [0, 0, 0, 0, 0, 0, 0, 0] },
    ],
  ],
  [
    'extra info of an unknown type',
    () => [
      { size: 100, flags: EXTRA },
      { size: 0, raw: [6, 0, 0, 0, 0, 0, 0, 0] },
    ],
  ],
  [
    'a GSO size of 0',
    () => [
      { size: 100, flags: EXTRA },
      { size: 0, raw: [1, 0, 0, 0, 1, 0, 0, 0] },
    ],
  ],
  [
    'an unknown GSO type',
    () => [
      { size: 100, flags: EXTRA },
      { size: 0, raw: [1, 0, 9, 0, 3, 0, 0, 0] },
    ],
  ],
  [
    'endless extra infos',
    () => [
      { size: 100, flags: EXTRA },
      ...Array.from({ length: 40 }, () => ({ size: 0, raw: [4, 1, 0, 0, 0, 0, 0, 0] })),
    ],
  ],
];
for (const [name, slots] of fatal) {
  test(`VifQueue is fatal on ${name}`, (t) => {
    const { net, evil, good } = lab();
    const seen: unknown[] = [];
    net.scheduler.onBroken = (vif) => {
      seen.push(vif.name);
      net.scheduler.remove(vif);
    };
    evil.send(...slots(evil));
    net.machine.settle();
    t.deepEqual(seen, ['vif9.0']);
    t.is(evil.queue.broken?.code, 'NET_REQUEST_INVALID');
    good.nic.send(frameTo(BROADCAST, good.mac));
    net.machine.settle();
    t.is(good.nic.counters.txOkay, 1, 'the neighbour does not notice');
  });
}

const refused: readonly [string, RawSlot[]][] = [
  ['a packet shorter than an Ethernet header', [{ size: 13 }]],
  ['an empty packet', [{ size: 0 }]],
  ['a grant that is not there', [{ size: 100, gref: 0xfffffff0 }]],
  [
    '19 slots after the first',
    Array.from({ length: 20 }, (_, i) => ({ size: i ? 10 : 3000, flags: i < 19 ? MORE : 0 })),
  ],
  [
    '20 slots after the first',
    Array.from({ length: 21 }, (_, i) => ({ size: i ? 10 : 3000, flags: i < 20 ? MORE : 0 })),
  ],
  ['a fragment bigger than what is left', [{ size: 1000, flags: MORE }, { size: 2000 }]],
];
for (const [name, slots] of refused) {
  test(`VifQueue answers ${name} with an error and goes on`, (t) => {
    const { net, evil, good, frames } = lab();
    evil.send(...slots);
    net.machine.settle();
    t.deepEqual(
      evil.responses(),
      slots.map((_, i): [number, number] => [i, ERROR]),
    );
    const frame = frameTo(good.mac, evil.mac);
    evil.send(...place(evil, frame, []));
    net.machine.settle();
    t.deepEqual(evil.responses(), [[100, OKAY]]);
    t.is(frames.length, 1);
    t.is(Buffer.compare(frames[0] ?? new Uint8Array(), frame), 0);
  });
}

test('VifQueue reads a header spread over fragments of one byte (XSA-423)', (t) => {
  const { net, evil, good, frames } = lab();
  const frame = frameTo(good.mac, evil.mac, 50);
  evil.send(
    ...place(
      evil,
      frame,
      Array.from({ length: 18 }, () => 1),
    ),
  );
  net.machine.settle();
  t.is(Buffer.compare(frames[0] ?? new Uint8Array(), frame), 0);
  t.true(evil.responses().every(([, status]) => status === OKAY));
});

test('VifQueue answers a fragment of no bytes in every position and makes no empty piece of it (XSA-448)', (t) => {
  for (let position = 0; position < 4; position += 1) {
    const { net, evil, good, frames } = lab();
    const frame = frameTo(good.mac, evil.mac, 600);
    const cuts = [200, 100, 300];
    cuts.splice(position, 0, 0);
    evil.send(...place(evil, frame, cuts));
    net.machine.settle();
    t.is(Buffer.compare(frames[0] ?? new Uint8Array(), frame), 0, `position ${position}`);
    t.deepEqual(
      evil.responses().map(([, status]) => status),
      [0, 0, 0, 0, 0],
    );
  }
});

test('VifQueue delivers random splits of random sizes byte for byte (XSA-432)', (t) => {
  let state = 12345;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  const { net, evil, good, frames } = lab();
  for (let round = 0; round < 300; round += 1) {
    const slots = 1 + random(19);
    const sizes = Array.from({ length: slots }, () => 1 + random(round % 3 === 0 ? 20 : 3000));
    const total = Math.max(
      14,
      sizes.reduce((sum, size) => sum + size, 0),
    );
    if (total > 65535) continue;
    const frame = frameTo(good.mac, evil.mac, total - 14);
    const cuts = sizes.slice(0, -1);
    if (frame.length - cuts.reduce((sum, cut) => sum + cut, 0) > 4000) continue;
    frames.length = 0;
    evil.send(...place(evil, frame, cuts, random(90)));
    net.machine.settle();
    t.is(Buffer.compare(frames[0] ?? new Uint8Array(), frame), 0, `round ${round}: ${sizes}`);
    t.is(evil.responses().length, slots);
  }
});

test('VifQueue answers a packet whose k-th page is not granted with errors, and lets go of the others (XSA-362)', (t) => {
  for (let k = 0; k < 5; k += 1) {
    const net = new NetLab();
    const [good, evil] = [net.guest(), net.raw(9, { isPersistent: false })];
    const slots = place(evil, frameTo(good.mac, evil.mac, 4000), [800, 800, 800, 800]);
    evil.send(...slots.map((slot, i) => (i === k ? { ...slot, gref: 0x7000_0000 } : slot)));
    net.machine.settle();
    t.deepEqual(
      evil.responses().map(([, status]) => status),
      [ERROR, ERROR, ERROR, ERROR, ERROR],
    );
    t.true([...evil.domain.grants.values()].every(({ uses }) => uses === 0));
  }
});

test('VifQueue zeroes every byte of responses to extra infos, and puts them after the first', (t) => {
  const { net, evil, good } = lab();
  const frame = ipFrame(good.mac, evil.mac, pattern(3000, 3));
  const [first, ...rest] = place(evil, frame, [1000, 1000]);
  if (first === undefined) throw new Error('a frame has a slot');
  evil.send({ ...first, flags: MORE | EXTRA }, { size: 0, raw: GSO }, ...rest);
  net.machine.settle();
  t.deepEqual(evil.responses(), [
    [100, OKAY],
    [0, NULL],
    [101, OKAY],
    [102, OKAY],
  ]);
});

test('VifRx leaves no byte of memory in receive responses (XSA-216)', (t) => {
  const net = new NetLab();
  const [a, b] = [net.guest(), net.raw(9)];
  b.rxPages.bytes.fill(0xaa, 64);
  b.post(4);
  a.nic.send(ipFrame(b.mac, a.mac, new Uint8Array(3000)), { gsoSizeBytes: 1448, gsoType: 1 });
  net.machine.settle();
  t.deepEqual(
    [...b.rxPages.bytes.subarray(64, 64 + 16)],
    [...[0, 0, 0, 0, 1 | 2 | 8, 0, 0xc6, 0x0b], ...[1, 0, 0xa8, 0x05, 1, 0, 0, 0]],
  );
});

test('VifQueue keeps to what it read of the Ethernet header while the guest rewrites its page (XSA-155)', (t) => {
  const net = new NetLab();
  const [evil, good] = [net.raw(9), net.guest()];
  const frame = frameTo(good.mac, evil.mac);
  evil.send(...place(evil, frame, []));
  // The receiver has no room yet: the frame is read, and held.
  const seen: Uint8Array[] = [];
  for (let i = 0; i < 256; i += 1) {
    net.driver.poll();
    evil.responses();
    evil.send(...place(evil, frame, []));
  }
  net.driver.poll();
  evil.data.bytes.fill(0xff, 0, 12);
  evil.data.bytes.set([0x81, 0x00], 12); // the tag of a VLAN, after the look for one
  good.nic.onFrame = (got) => seen.push(got.toBytes());
  net.machine.settle();
  t.true(seen.length > 0);
  for (const got of seen) t.deepEqual([...got.subarray(0, 14)], [...good.mac, ...evil.mac, 0x88, 0xb5]);
});

test('Vif drops a frame that meets a receive buffer it cannot map, and answers the buffer with an error', (t) => {
  const net = new NetLab();
  const [a, b] = [net.guest(), net.raw(9)];
  b.post(1, 0x7fff_ffff);
  b.post(1);
  a.nic.send(etherFrame(b.mac, a.mac, new Uint8Array(100)));
  a.nic.send(etherFrame(b.mac, a.mac, new Uint8Array(100)));
  net.machine.settle();
  t.deepEqual(
    b.received().map(([, , , status]) => status),
    [ERROR, 114],
  );
  t.is(b.vif.counters.rxErrors, 1);
});

test('Vif waits for enough buffers for the next frame, not for any one (XSA-392)', (t) => {
  const net = new NetLab({ budgetPackets: 64 });
  const [a, b] = [net.guest(), net.raw(9)];
  b.send({ size: 60, page: 0 });
  b.data.bytes.set(etherFrame(BROADCAST, b.mac, new Uint8Array(46)), 0);
  net.machine.settle();
  b.post(1);
  a.nic.send(etherFrame(b.mac, a.mac, new Uint8Array(40000)));
  net.machine.settle();
  t.is(b.vif.counters.rxFrames, 0);
  t.true(Number.isFinite(net.scheduler.deadlineMs()), 'the stall is on the clock');
  b.post(9);
  net.machine.settle();
  t.is(b.vif.counters.rxFrames, 1);
});

test('VifQueue is not moved by events without work: each costs a look at the rings, nothing else', (t) => {
  const { net, evil } = lab();
  for (let i = 0; i < 1000; i += 1) {
    evil.domain.hypercalls.notify(1 as never);
    t.false(net.scheduler.poll());
  }
});

const misfits: readonly [string, number, readonly number[], boolean][] = [
  ['a blank checksum on a frame that is no IP', 1, [0x88, 0xb5], false],
  ['IPv4 segmentation on an IPv6 frame', 1, [0x86, 0xdd], true],
  ['segmentation on a frame that is no IP', 1, [0x08, 0x06], true],
];
for (const [name, flags, etherType, hasGso] of misfits) {
  test(`VifQueue refuses ${name}, counted, and goes on`, (t) => {
    const { net, evil, good, frames } = lab();
    const frame = frameTo(good.mac, evil.mac);
    frame.set(etherType, 12);
    const [slot] = place(evil, frame, []);
    if (slot === undefined) throw new Error('a frame has a slot');
    if (hasGso) evil.send({ ...slot, flags: flags | EXTRA }, { size: 0, raw: GSO });
    else evil.send({ ...slot, flags });
    net.machine.settle();
    t.is(evil.responses()[0]?.[1], ERROR);
    t.is(evil.vif.counters.txErrors, 1);
    evil.send(...place(evil, frameTo(good.mac, evil.mac), []));
    net.machine.settle();
    t.is(frames.length, 1);
  });
}
