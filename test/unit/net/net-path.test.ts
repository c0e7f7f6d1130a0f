// The network data path end to end in one thread: guest, driver domain with a bridge, guest.
import type { TxOffload } from '@splitring/frontend';
import test, { type ExecutionContext } from 'ava';
import { ALL_OFFERED, BROADCAST, etherFrame, ipFrame, NetLab, pattern } from '../../support/net-lab.ts';

/** Equal frame by frame; says which differs instead of printing them all. */
function sameFrames(t: ExecutionContext, got: readonly Uint8Array[], want: readonly Uint8Array[]): void {
  const differs = want.findIndex((frame, i) => Buffer.compare(frame, got[i] ?? new Uint8Array(0)) !== 0);
  t.deepEqual({ count: got.length, differs }, { count: want.length, differs: -1 });
}

function collect(nic: { onFrame: unknown }): Uint8Array[] {
  const frames: Uint8Array[] = [];
  nic.onFrame = (frame: { toBytes(): Uint8Array }) => frames.push(frame.toBytes());
  return frames;
}

test('Nic delivers frames of every size to the guest that the bridge learned', (t) => {
  const lab = new NetLab();
  const [a, b, c] = [lab.guest(), lab.guest(), lab.guest()];
  const atB = collect(b.nic);
  const atC = collect(c.nic);
  b.nic.send(etherFrame(BROADCAST, b.mac, new Uint8Array(46))); // the bridge learns b
  lab.machine.settle();
  t.is(atC.length, 1);
  const sizes = [0, 1, 46, 1500, 4082, 4083, 9000, 65521];
  const sent = sizes.map((size, seed) => etherFrame(b.mac, a.mac, pattern(size, seed)));
  for (const frame of sent) t.true(a.nic.send(frame));
  lab.machine.settle();
  sameFrames(t, atB, sent);
  t.is(atC.length, 1, 'nothing is flooded once the address is known');
  t.is(a.nic.counters.txOkay, sizes.length);
});

test('Nic carries thousands of frames both ways without loss and in order', (t) => {
  const lab = new NetLab();
  const [a, b] = [lab.guest(), lab.guest()];
  const atA = collect(a.nic);
  const atB = collect(b.nic);
  a.nic.send(etherFrame(BROADCAST, a.mac, new Uint8Array(46)));
  b.nic.send(etherFrame(BROADCAST, b.mac, new Uint8Array(46)));
  lab.machine.settle();
  atA.length = 0;
  atB.length = 0;
  const count = 3000;
  const make = (to: Uint8Array, from: Uint8Array) =>
    Array.from({ length: count }, (_, i) => etherFrame(to, from, pattern(60 + (i % 1400), i)));
  const toB = make(b.mac, a.mac);
  const toA = make(a.mac, b.mac);
  for (let nextA = 0, nextB = 0, turn = 0; nextA < count || nextB < count; turn += 1) {
    t.true(turn < count, 'progress');
    nextA += a.nic.sendBatch(toB, nextA);
    nextB += b.nic.sendBatch(toA, nextB);
    lab.machine.settle();
  }
  lab.machine.settle();
  sameFrames(t, atB, toB);
  sameFrames(t, atA, toA);
});

test('Nic send answers false while the receiver takes nothing, and nothing is lost when it does', (t) => {
  const lab = new NetLab();
  const [a, b] = [lab.guest(), lab.guest()];
  b.nic.send(etherFrame(BROADCAST, b.mac, new Uint8Array(46)));
  lab.machine.settle();
  const frames = Array.from({ length: 1000 }, (_, i) => etherFrame(b.mac, a.mac, pattern(100, i)));
  let sent = 0;
  for (let turn = 0; turn < 20; turn += 1) {
    sent += a.nic.sendBatch(frames, sent);
    lab.machine.settle();
  }
  t.is(sent, 512, 'one ring of buffers at the receiver, one ring of requests at the sender');
  t.is(a.vif.counters.holds, 1);
  const atB = collect(b.nic);
  for (let turn = 0; turn < 20; turn += 1) {
    lab.machine.settle();
    sent += a.nic.sendBatch(frames, sent);
  }
  lab.machine.settle();
  sameFrames(t, atB, frames);
});

test('VifQueue puts packets for a dead guest aside: others behind them go on, and nothing waits for ever', (t) => {
  const lab = new NetLab();
  const [a, dead, c] = [lab.guest(), lab.guest(), lab.guest()];
  const atC = collect(c.nic);
  dead.nic.send(etherFrame(BROADCAST, dead.mac, new Uint8Array(46)));
  c.nic.send(etherFrame(BROADCAST, c.mac, new Uint8Array(46)));
  lab.machine.settle();
  for (let i = 0; i < 256; i += 1) {
    a.nic.send(etherFrame(dead.mac, a.mac, pattern(100, i)));
    lab.machine.settle();
  }
  atC.length = 0;
  const sent: Uint8Array[] = [];
  for (let i = 0; i < 20; i += 1) {
    a.nic.send(etherFrame(dead.mac, a.mac, pattern(100, i)));
    const frame = etherFrame(c.mac, a.mac, pattern(100, 1000 + i));
    a.nic.send(frame);
    sent.push(frame);
  }
  lab.machine.settle();
  t.is(atC.length, 0, 'the ring waits a moment for the dead guest');
  t.is(lab.scheduler.deadlineMs(), lab.machine.nowMs + 2);
  lab.machine.nowMs += 2;
  lab.machine.settle();
  sameFrames(t, atC, sent);
  t.is(a.nic.counters.txDropped, 0);
  lab.machine.nowMs += 100;
  lab.machine.settle();
  t.is(a.nic.counters.txDropped, 21, 'each of the dead guest is given up (a broadcast took one of its buffers)');
  t.like(lab.bridge.links[0]?.counters, { dropTimeout: 21 });
});

test('VifQueue rests when half its ring is put aside, and goes on when the receiver wakes up: in order, nothing lost', (t) => {
  const lab = new NetLab();
  const [a, b] = [lab.guest(), lab.guest()];
  b.nic.send(etherFrame(BROADCAST, b.mac, new Uint8Array(46)));
  lab.machine.settle();
  const frames = Array.from({ length: 700 }, (_, i) => etherFrame(b.mac, a.mac, pattern(80, i)));
  let sent = 0;
  for (let turn = 0; turn < 30; turn += 1) {
    sent += a.nic.sendBatch(frames, sent);
    lab.machine.nowMs += 3;
    lab.machine.settle();
  }
  t.is(sent, 512);
  const atB = collect(b.nic);
  for (let turn = 0; turn < 30; turn += 1) {
    lab.machine.settle();
    sent += a.nic.sendBatch(frames, sent);
  }
  lab.machine.settle();
  sameFrames(t, atB, frames);
});

for (const [name, options] of [
  ['two queues', { queues: 2 }],
  ['split event channels', { hasSplitChannels: true }],
  ['grants that are not kept mapped', { isPersistent: false }],
] as const) {
  test(`Nic works with ${name}`, (t) => {
    const lab = new NetLab();
    const [a, b] = [lab.guest(options), lab.guest(options)];
    const atB = collect(b.nic);
    const frames = [60, 1500, 20000, 65521].map((size, i) => etherFrame(b.mac, a.mac, pattern(size, i)));
    for (const frame of frames) {
      t.true(a.nic.send(frame));
      lab.machine.settle();
    }
    sameFrames(t, atB, frames);
    const held = 'isPersistent' in options ? 2 * 2 : undefined; // the rings of two guests
    if (held !== undefined) t.is(lab.driver.handles.size, held, 'nothing else stays mapped');
  });
}

test('Nic passes offload flags and segment sizes on, also as extra info', (t) => {
  const lab = new NetLab();
  const [a, b] = [lab.guest(), lab.guest()];
  const seen: unknown[] = [];
  b.nic.onFrame = (frame) =>
    seen.push([frame.lengthBytes, frame.isChecksumBlank, frame.isValidated, frame.gsoType, frame.gsoSizeBytes]);
  a.nic.send(ipFrame(b.mac, a.mac, new Uint8Array(100)), { isChecksumBlank: true });
  a.nic.send(ipFrame(b.mac, a.mac, new Uint8Array(30000)), { gsoSizeBytes: 1448, gsoType: 1 });
  const six = ipFrame(b.mac, a.mac, new Uint8Array(2000));
  six.set([0x86, 0xdd], 12);
  a.nic.send(six, { gsoSizeBytes: 900, gsoType: 2 });
  lab.machine.settle();
  t.deepEqual(seen, [
    [114, true, true, 0, 0],
    [30014, true, true, 1, 1448],
    [2014, true, true, 2, 900],
  ]);
});

test('Nic sendBatch carries the offloads of its frames, wherever a batch is taken up again', (t) => {
  const lab = new NetLab();
  const [a, b] = [lab.guest(), lab.guest()];
  const seen: [number, boolean, number][] = [];
  b.nic.onFrame = (frame) => seen.push([frame.lengthBytes, frame.isChecksumBlank, frame.gsoSizeBytes]);
  b.nic.send(etherFrame(BROADCAST, b.mac, new Uint8Array(46)));
  lab.machine.settle();
  const kinds: readonly (TxOffload | undefined)[] = [
    undefined,
    { isChecksumBlank: true },
    { gsoSizeBytes: 1448, gsoType: 1 },
  ];
  const frames = Array.from({ length: 300 }, (_, i) => ipFrame(b.mac, a.mac, pattern(i % 3 === 2 ? 20_000 : 100, i)));
  const offloads = frames.map((_, i) => kinds[i % 3]);
  for (let sent = 0, turn = 0; sent < frames.length; turn += 1) {
    t.true(turn < frames.length, 'progress');
    sent += a.nic.sendBatch(frames, sent, offloads);
    lab.machine.settle();
  }
  const want = frames.map((frame, i) => [frame.length, i % 3 !== 0, i % 3 === 2 ? 1448 : 0]);
  t.deepEqual(seen, want as typeof seen);
  t.is(a.nic.sendBatch(frames.slice(0, 2), 0, []), 2, 'a list that ends early leaves the others as they are');
});

const [small, large] = [100, 6000];
const notOffered: readonly {
  readonly key: string;
  readonly value?: string;
  readonly type: number;
  readonly bytes: number;
  readonly offload?: TxOffload;
}[] = [
  { key: 'feature-sg', type: 0x0800, bytes: large },
  { key: 'feature-sg', type: 0x0800, bytes: small, offload: { gsoSizeBytes: 50, gsoType: 1 } },
  { key: 'feature-gso-tcpv4', type: 0x0800, bytes: large, offload: { gsoSizeBytes: 1448, gsoType: 1 } },
  { key: 'feature-gso-tcpv6', type: 0x86dd, bytes: large, offload: { gsoSizeBytes: 1428, gsoType: 2 } },
  { key: 'feature-no-csum-offload', value: '1', type: 0x0800, bytes: small, offload: { isChecksumBlank: true } },
  { key: 'feature-ipv6-csum-offload', type: 0x86dd, bytes: small, offload: { isChecksumBlank: true } },
];
for (const { key, value, type, bytes, offload } of notOffered) {
  test(`Nic send of ${bytes} bytes, ${JSON.stringify(offload)}, needs its back end's ${key}`, (t) => {
    const lab = new NetLab();
    const frameTo = (mac: Uint8Array) => {
      const frame = ipFrame(mac, mac, new Uint8Array(bytes));
      frame.set([type >> 8, type & 0xff], 12);
      return frame;
    };
    const modest = lab.guest({ offered: { ...ALL_OFFERED, [key]: value } });
    t.throws(() => modest.nic.send(frameTo(modest.mac), offload), { code: 'NET_NOT_OFFERED' });
    t.true(modest.nic.send(frameTo(modest.mac).subarray(0, 60)), 'nothing has changed');
    const full = lab.guest();
    t.true(full.nic.send(frameTo(full.mac), offload));
  });
}

const wrongOffloads: readonly (readonly [string, TxOffload])[] = [
  ['a segment size of 0', { gsoSizeBytes: 0, gsoType: 1 }],
  ['a negative segment size', { gsoSizeBytes: -1, gsoType: 1 }],
  ['a segment size beyond 16 bits', { gsoSizeBytes: 65_536, gsoType: 1 }],
  ['a segment size that is no integer', { gsoSizeBytes: 1448.5, gsoType: 1 }],
  ['no GSO type', { gsoSizeBytes: 1448 }],
  ['an unknown GSO type', { gsoSizeBytes: 1448, gsoType: 3 }],
];
for (const [name, offload] of wrongOffloads) {
  test(`Nic send refuses ${name} before anything changes`, (t) => {
    const lab = new NetLab();
    const [a, b] = [lab.guest(), lab.guest()];
    const frame = ipFrame(b.mac, a.mac, new Uint8Array(3000));
    t.throws(() => a.nic.send(frame, offload), { instanceOf: RangeError });
    t.throws(() => a.nic.sendBatch([frame], 0, [offload]), { instanceOf: RangeError });
    lab.machine.settle();
    t.is(a.nic.counters.txFrames, 0);
    t.is(a.nic.brokenBy, undefined);
    t.true(a.nic.send(frame));
    lab.machine.settle();
    t.is(a.nic.counters.txOkay + a.nic.counters.txDropped, 1, 'the connection lives');
  });
}

test('Nic takes frames for other addresses only while it is promiscuous, and groups always', (t) => {
  const lab = new NetLab();
  const [a, b] = [lab.guest(), lab.guest()];
  b.nic.macAddress = Uint8Array.from(b.mac);
  const other = Uint8Array.of(2, 0x80, 0xff, 0, 0, 9); // the bridge does not know where it is
  const near = Uint8Array.from(b.mac);
  near[5] = (near[5] as number) ^ 0x80;
  const group = Uint8Array.of(1, 0, 0x5e, 0, 0, 1);
  const frames = [b.mac, other, near, BROADCAST, group].map((to, i) => etherFrame(to, a.mac, pattern(100, i)));
  const got = collect(b.nic);
  t.is(a.nic.sendBatch(frames), 5);
  lab.machine.settle();
  sameFrames(t, got.splice(0), frames);
  b.nic.isPromiscuous = false;
  const ours = [0, 3, 4].map((i) => frames[i] as Uint8Array);
  t.is(a.nic.sendBatch(frames), 5);
  lab.machine.settle();
  sameFrames(t, got.splice(0), ours);
  t.like(b.nic.counters, { rxFrames: 8, rxOther: 2, rxBytes: 8 * 114 });
  b.nic.onFrame = undefined;
  t.is(a.nic.sendBatch(frames), 5);
  lab.machine.settle();
  sameFrames(t, [b.nic.receive(), b.nic.receive(), b.nic.receive()] as Uint8Array[], ours);
  t.is(b.nic.receive(), undefined);
  for (let round = 0; round < 200; round += 1) {
    a.nic.send(frames[1] as Uint8Array); // more than a ring holds: the buffers of dropped frames go back
    lab.machine.settle();
    t.is(b.nic.receive(), undefined);
  }
  t.is(a.nic.sendBatch(ours), 3);
  lab.machine.settle();
  t.truthy(b.nic.receive());
});
