// No page that a card grants shows its back end anything but frames of that connection, and no frame brings along what lay
// around it: memory of dead domains, of earlier connections, of the guest itself, of other guests (XSA-403).
import { type MemorySource, separateBuffers, sharedWasmMemory, wasmMemoryPerExtent } from '@splitring/hypervisor';
import test, { type ExecutionContext } from 'ava';
import {
  type GrantedPage,
  harmless,
  leaks,
  pagesGranted,
  reused,
  SECRET,
  useAndFree,
} from '../../support/granted-memory.ts';
import { type ClusterGuest, NetCluster } from '../../support/net-cluster.ts';
import { BROADCAST, etherFrame, NetLab, pattern } from '../../support/net-lab.ts';
import { packet } from '../../support/packets.ts';

const kinds: readonly [string, () => MemorySource][] = [
  ['separate buffers', () => separateBuffers],
  ['a wasm memory for each extent', wasmMemoryPerExtent],
  ['one shared wasm memory', () => sharedWasmMemory(64 << 20)],
];

/** What the driver domain can read of a guest's memory by its grants. */
const granted = (cluster: NetCluster, guest: ClusterGuest) => pagesGranted(guest.domid, cluster.driver);

function secretFrame(to: Uint8Array, from: Uint8Array): Uint8Array {
  return etherFrame(to, from, new Uint8Array(1400).fill(SECRET));
}

for (const [name, memory] of kinds) {
  test(`a card's pages hold nothing of its guest's freed memory and of earlier connections: ${name}`, (t) => {
    const cluster = new NetCluster({}, { memory: memory() });
    const [a, b] = [cluster.guest(), cluster.guest()];
    cluster.rig.pump();
    const before = granted(cluster, a);
    t.true(before.length > 500);
    t.is(leaks(before), 0);
    cluster.nic(b).onFrame = () => {};
    for (let i = 0; i < 50; i += 1) cluster.nic(a).send(secretFrame(BROADCAST, a.mac));
    cluster.rig.pump();
    t.true(leaks(granted(cluster, a)) > 0, 'frames lie in the pages that they were sent from');
    t.is(cluster.unplug(a), 'closed');
    t.is(granted(cluster, a).length, 0);
    const dirty = useAndFree(a.hypercalls, cluster.driver.domid);
    cluster.plug(a);
    cluster.rig.pump();
    const after = granted(cluster, a);
    t.is(after.length, before.length);
    t.true(reused(after, dirty) > 500, 'the pages had secrets once');
    t.is(leaks(after), 0);
  });

  test(`a card's pages hold nothing of domains that died: ${name}`, (t) => {
    const cluster = new NetCluster({}, { memory: memory() });
    for (let life = 0; life < 3; life += 1) {
      const guest = cluster.guest();
      cluster.rig.pump();
      t.is(leaks(granted(cluster, guest)), 0, `life ${life}`);
      for (let i = 0; i < 20; i += 1) cluster.nic(guest).send(secretFrame(BROADCAST, guest.mac));
      useAndFree(guest.hypercalls, cluster.driver.domid);
      guest.hypercalls.allocateFrames(cluster.driver.domid, 500).bytes.fill(SECRET); // held when it dies
      cluster.rig.pump();
      cluster.rig.destroy(guest.domid);
      cluster.hypervisor.domainDied(guest.domid);
      cluster.unplug(guest, { isForced: true, isFrontGone: true });
    }
  });

  test(`frames bring along nothing that lies beside them in the sender's pages: ${name}`, (t) => {
    const cluster = new NetCluster({}, { memory: memory() });
    const [a, b] = [cluster.guest(), cluster.guest()];
    cluster.rig.pump();
    cluster.nic(b).send(etherFrame(BROADCAST, b.mac, new Uint8Array(46)));
    cluster.rig.pump();
    for (const { bytes, isReadonly } of granted(cluster, a)) if (isReadonly) bytes.fill(SECRET);
    let count = 0;
    cluster.nic(b).onFrame = (frame) => {
      t.is(frame.toBytes().indexOf(SECRET), -1);
      count += 1;
    };
    const sizes = [0, 1, 46, 1000, 1500, 4081, 4082, 4083, 9000, 30_001, 65_521];
    for (const [i, size] of sizes.entries()) {
      t.true(cluster.nic(a).send(harmless(etherFrame(b.mac, a.mac, pattern(size, i)))));
      cluster.rig.pump();
    }
    const payload = harmless(pattern(20_000, 7));
    const large = packet({ to: b.mac, from: a.mac, protocol: 'tcp', payload, checksum: 'blank' });
    t.true(cluster.nic(a).send(harmless(large), { gsoSizeBytes: 1448, gsoType: 1 }));
    cluster.rig.pump();
    t.is(count, sizes.length + 1);
    t.is(leaks(granted(cluster, b)), 0);
  });

  test(`frames between two guests never show in pages of a third: ${name}`, (t) => {
    const cluster = new NetCluster({}, { memory: memory() });
    const [a, b, third] = [cluster.guest(), cluster.guest(), cluster.guest()];
    cluster.rig.pump();
    for (const guest of [a, b]) cluster.nic(guest).send(etherFrame(BROADCAST, guest.mac, new Uint8Array(46)));
    cluster.nic(b).onFrame = () => {};
    cluster.rig.pump();
    for (let i = 0; i < 600; i += 1) {
      cluster.nic(a).send(secretFrame(b.mac, a.mac));
      cluster.nic(third).send(etherFrame(b.mac, third.mac, new Uint8Array(46)));
      cluster.rig.pump();
    }
    t.true(leaks(granted(cluster, b)) > 100);
    t.is(leaks(granted(cluster, third)), 0);
  });
}

/** Which bytes of a page differ from what it was filled with. */
function touched(page: Uint8Array, fill: number): { from: number; to: number } {
  return { from: page.findIndex((byte) => byte !== fill), to: page.findLastIndex((byte) => byte !== fill) + 1 };
}

function receiveInto(t: ExecutionContext, slots: readonly { readonly size: number; readonly offset: number }[]): void {
  const lab = new NetLab();
  const [sender, receiver] = [lab.raw(8), lab.raw(9)];
  sender.data.bytes.fill(SECRET);
  receiver.data.bytes.fill(0x11);
  receiver.post(20);
  const total = slots.reduce((sum, { size }) => sum + size, 0);
  const frame = etherFrame(receiver.mac, sender.mac, new Uint8Array(total - 14).fill(0x22));
  let at = 0;
  for (const [page, { size, offset }] of slots.entries()) {
    sender.data.bytes.set(frame.subarray(at, at + size), page * 4096 + offset);
    at += size;
  }
  const chain = slots.map(({ size, offset }, page) => {
    return { page, offset, size: page === 0 ? total : size, flags: page + 1 < slots.length ? 4 : 0 };
  });
  sender.send(...chain);
  lab.driver.poll();
  const answers = receiver.received();
  t.is(
    answers.reduce((sum, [, , , status]) => sum + status, 0),
    total,
  );
  const want = new Map(answers.map(([id, offset, , status]) => [id, { from: offset, to: offset + status }]));
  for (let id = 0; id < 32; id += 1) {
    const page = receiver.data.bytes.subarray((32 + id) * 4096, (33 + id) * 4096);
    t.is(page.indexOf(SECRET), -1);
    t.deepEqual(touched(page, 0x11), want.get(id) ?? { from: -1, to: 0 }, `buffer ${id}`);
  }
}

for (const slots of [
  [{ size: 60, offset: 0 }],
  [{ size: 1514, offset: 2582 }],
  [{ size: 4096, offset: 0 }],
  [
    { size: 10, offset: 4086 },
    { size: 2000, offset: 13 },
  ],
  [
    { size: 3000, offset: 1000 },
    { size: 4096, offset: 0 },
    { size: 1, offset: 77 },
  ],
  Array.from({ length: 15 }, (_, i) => ({ size: 4096 - i, offset: i })),
]) {
  const sizes = slots.map(({ size, offset }) => `${size} at ${offset}`).slice(0, 3);
  test(`VifRx writes the bytes of a frame and no other: ${sizes.join(', ')}${slots.length > 3 ? ' …' : ''}`, (t) => {
    receiveInto(t, slots);
  });
}

test('the search for secrets finds them wherever they lie in a page', (t) => {
  for (const at of [0, 1, 2047, 4092]) {
    const bytes = new Uint8Array(4096).fill(SECRET, at, at + 4);
    const page = { ref: 0, frame: 0, bytes, isReadonly: false } as unknown as GrantedPage; // neither is looked at
    t.is(leaks([page]), 1);
    bytes[at + 1] = 0;
    t.is(leaks([page]), 0);
  }
});
