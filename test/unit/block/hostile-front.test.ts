// Every attack of a front end on blkback that is on record, each answered, and a neighbour that does not notice.
// Names are those of the hardening table: Xen security advisories and CVEs.
import { BLOCK_OP } from '@splitring/device';
import type { GrantRef } from '@splitring/hypervisor';
import {
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_RSP_EINVAL,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  blkifRequestDiscard,
  blkifRequestIndirect,
  blkifSegment,
  XenbusState,
} from '@splitring/hypervisor/io';
import test from 'ava';
import { BlockLab, type BlockLabOptions } from '../../support/block-lab.ts';
import { Neighbour, RawGuest } from '../../support/raw-blkfront.ts';

function attack(keys: Record<string, string | number | undefined> = {}, options: BlockLabOptions = {}) {
  const lab = new BlockLab(options);
  const neighbour = new Neighbour(lab);
  const guest = new RawGuest(lab, keys);
  const driverUsage = () => lab.hypervisor.inspect().find(({ domid }) => domid === lab.driver.domid);
  return { lab, neighbour, guest, driverUsage };
}

for (const [name, ahead] of [
  ['one more than the ring holds', 33],
  ['half the numbers there are', 0x8000_0000 | 0],
  ['one back', -1],
] as const) {
  test(`XSA-39: reqProd ${name} ends the connection before the driver domain sleeps`, (t) => {
    const { lab, neighbour, guest } = attack();
    guest.publish(ahead);
    lab.driverKernel.poll();
    lab.driverKernel.arm();
    t.truthy(guest.back.failure);
    lab.run();
    t.is(guest.back.state, XenbusState.Closing);
    t.is(lab.ram.log.length, 0);
    t.true(neighbour.isWell());
  });
}

test('CVE-2007-5498: 12 to 255 segments are refused, none of them is looked at', (t) => {
  const { lab, neighbour, guest } = attack();
  for (const nrSegments of [0, 12, 13, 64, 255]) t.is(guest.ask({ nrSegments }), BLKIF_RSP_ERROR, `${nrSegments}`);
  t.is(guest.ask({}), BLKIF_RSP_OKAY);
  t.is(lab.ram.log.length, 1);
  t.true(neighbour.isWell());
});

for (const [name, count, inner, status] of [
  ['256 segments, the most that is offered', 256, BLKIF_OP_READ, BLKIF_RSP_OKAY],
  ['257 segments', 257, BLKIF_OP_READ, BLKIF_RSP_ERROR],
  ['65535 segments', 65_535, BLKIF_OP_READ, BLKIF_RSP_ERROR],
  ['no segment', 0, BLKIF_OP_READ, BLKIF_RSP_ERROR],
  ['a flush inside', 1, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_RSP_ERROR],
  ['itself inside', 1, BLKIF_OP_INDIRECT, BLKIF_RSP_ERROR],
] as const) {
  test(`CVE-2007-5498: an indirect request with ${name} is answered ${status}`, (t) => {
    const { lab, neighbour, guest } = attack();
    const page = new DataView(guest.data.bytes.buffer, guest.data.bytes.byteOffset, 4096);
    for (let i = 0; i < 512; i += 1) {
      blkifSegment.write(page, i * 8, { gref: guest.dataRefs[1 + (i % 31)] as number, firstSect: 0, lastSect: 7 });
    }
    guest.stage({ operation: BLKIF_OP_INDIRECT });
    const set = blkifRequestIndirect.set;
    set.indirectOp(guest.view, 64, inner);
    set.nrSegments(guest.view, 64, count);
    guest.view.setUint32(64 + blkifRequestIndirect.offsets.indirectGrefs, guest.dataRefs[0] as number, true);
    guest.publish();
    lab.run();
    const answer = guest.answers()[0];
    t.is(answer?.status, status);
    t.is(answer?.operation, inner);
    t.true(neighbour.isWell());
  });
}

test('segments that leave their page or run backwards are refused', (t) => {
  const { neighbour, guest } = attack();
  const gref = guest.dataRefs[0] as number;
  for (const [firstSect, lastSect] of [
    [0, 8],
    [0, 255],
    [5, 4],
    [8, 8],
    [255, 0],
  ] as const) {
    t.is(guest.ask({ segments: [{ gref, firstSect, lastSect }] }), BLKIF_RSP_ERROR, `${firstSect} to ${lastSect}`);
  }
  t.is(guest.ask({ segments: [{ gref, firstSect: 3, lastSect: 3 }] }), BLKIF_RSP_OKAY);
  t.true(neighbour.isWell());
});

test('ranges beyond the disk are refused, whatever wraps', (t) => {
  const { lab, neighbour, guest } = attack();
  for (const sectorNumber of [8185, 8192, 2 ** 32, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n - 8n]) {
    t.is(guest.ask({ sectorNumber }), BLKIF_RSP_EINVAL, `${sectorNumber}`);
  }
  t.is(guest.ask({ sectorNumber: 8184 }), BLKIF_RSP_OKAY);
  t.is(lab.ram.log.length, 1);
  t.true(neighbour.isWell());
});

test('a discard of a range that wraps is refused, and so is the secure flag', (t) => {
  const { lab, neighbour, guest } = attack();
  const discard = (sectorNumber: bigint, nrSectors: bigint, flag: number) => {
    guest.stage({ operation: BLKIF_OP_DISCARD, sectorNumber });
    const at = 64 + ((guest.reqProd - 1) & 31) * 112;
    guest.view.setUint8(at + blkifRequestDiscard.offsets.flag, flag);
    guest.view.setBigUint64(at + blkifRequestDiscard.offsets.nrSectors, nrSectors, true);
    guest.publish();
    lab.nowMs += 2;
    lab.run();
    return guest.answers().at(-1)?.status;
  };
  t.is(discard(8n, 2n ** 64n - 8n, 0), BLKIF_RSP_EINVAL);
  t.is(discard(2n ** 64n - 8n, 16n, 0), BLKIF_RSP_EINVAL);
  t.is(discard(0n, 8193n, 0), BLKIF_RSP_EINVAL);
  t.is(discard(0n, 8n, 1), BLKIF_RSP_EOPNOTSUPP);
  t.is(discard(0n, 8n, 0), BLKIF_RSP_OKAY);
  t.is(discard(0n, 0n, 0), BLKIF_RSP_OKAY);
  t.true(neighbour.isWell());
});

test('an unknown operation is answered, and the ring lives on', (t) => {
  const { neighbour, guest } = attack();
  for (const operation of [4, 7, 100, 255]) t.is(guest.ask({ operation, id: operation }), BLKIF_RSP_EOPNOTSUPP);
  t.is(guest.ask({ id: 77 }), BLKIF_RSP_OKAY);
  t.true(neighbour.isWell());
});

test('grant references that do not exist are refused', (t) => {
  const { neighbour, guest, driverUsage } = attack();
  const before = driverUsage()?.mappings;
  for (const gref of [0, 7, 5000, 2 ** 22, 2 ** 31, 2 ** 32 - 1]) {
    t.is(guest.ask({ segments: [{ gref }] }), BLKIF_RSP_ERROR, `${gref}`);
  }
  t.is(driverUsage()?.mappings, before);
  t.true(neighbour.isWell());
});

test('XSA-362: every k-th reference revoked before the map leaves no mapping behind', (t) => {
  for (const isPersistent of [1, 0]) {
    const { guest, driverUsage, neighbour } = attack({ 'feature-persistent': isPersistent });
    const before = driverUsage()?.mappings ?? 0;
    for (let k = 0; k < 11; k += 1) {
      const segments = guest.dataRefs.slice(0, 11).map((gref, i) => ({ gref: i === k ? 6000 + k : (gref as number) }));
      t.is(guest.ask({ segments }), BLKIF_RSP_ERROR);
      t.is(driverUsage()?.mappings, before, `reference ${k}, persistent ${isPersistent}`);
    }
    t.true(neighbour.isWell());
  }
});

test('XSA-216: answers carry nothing but the answer', (t) => {
  const { lab, guest } = attack();
  guest.ring.bytes.fill(0xaa, 64);
  for (let i = 0; i < 40; i += 1) {
    guest.stage({ id: i });
    guest.publish();
    lab.run();
    const [answer] = guest.answers();
    t.is(answer?.id, i);
    t.deepEqual(answer?.padding, [0, 0, 0, 0, 0]);
  }
});

test('XSA-155: a slot rewritten after it was taken changes nothing', (t) => {
  const { lab, guest, neighbour } = attack();
  let rewritten = 0;
  lab.ram.fault = () => {
    // The request is on the device now: turn its slot into something else, before it is answered.
    guest.ring.bytes.fill(0xff, 64, 64 + 112);
    rewritten += 1;
    return 0;
  };
  for (let i = 0; i < 32; i += 1) t.is(guest.ask({ id: 42, operation: BLKIF_OP_WRITE }), BLKIF_RSP_OKAY);
  t.is(rewritten, 32);
  t.true(lab.ram.log.every(({ op, sectors }) => op === BLOCK_OP.write && sectors === 8));
  t.true(neighbour.isWell());
});

test('XSA-374: after a fatal error the guest can still say goodbye, and nothing is left', (t) => {
  const { lab, guest, driverUsage } = attack();
  const before = driverUsage();
  t.is(guest.ask({}), BLKIF_RSP_OKAY);
  guest.publish(12345);
  lab.run();
  guest.close();
  t.is(guest.back.state, XenbusState.Closed);
  const after = driverUsage();
  t.is(after?.ports, (before?.ports ?? 0) - 1);
  t.true((after?.mappings ?? 0) < (before?.mappings ?? 0));
  t.true(guest.dataRefs.every((ref) => guest.hypercalls.endAccess(ref)));
  t.true(guest.ringRefs.every((ref) => guest.hypercalls.endAccess(ref)));
});

for (const [name, keys] of [
  ['no queue (CVE-2026-100080)', { 'multi-queue-num-queues': 0 }],
  ['more queues than offered', { 'multi-queue-num-queues': 5 }],
  ['two queues whose keys are missing', { 'multi-queue-num-queues': 2 }],
  ['a ring larger than offered', { 'ring-page-order': 5 }],
  ['pages that are missing', { 'ring-page-order': 2 }],
  ['a negative order', { 'ring-page-order': '-1' }],
  ['a ring of three pages', { 'num-ring-pages': 3 }],
  ['a foreign protocol', { protocol: 'x86_32-abi' }],
  ['no ring', { 'ring-ref': undefined }],
  ['a ring that cannot be mapped', { 'ring-ref': 4999 }],
  ['a reference that is no number', { 'ring-ref': '8; rm -rf' }],
  ['a port that does not exist', { 'event-channel': 999 }],
  ['no port', { 'event-channel': undefined }],
] as const) {
  test(`a guest that offers ${name} is told so and leaves nothing behind`, (t) => {
    const lab = new BlockLab();
    const neighbour = new Neighbour(lab);
    const usage = () => lab.hypervisor.inspect().find(({ domid }) => domid === lab.driver.domid);
    const before = usage();
    const guest = new RawGuest(lab, keys);
    t.truthy(guest.back.failure);
    t.is(usage()?.mappings, before?.mappings);
    t.is(usage()?.ports, before?.ports);
    t.true(neighbour.isWell());
  });
}

test('XSA-350: ten thousand random states leave no grant, no port and no queue', (t) => {
  const { lab, guest, driverUsage } = attack();
  const boundPorts = (driverUsage()?.boundPorts ?? 0) - 1;
  let seed = 7;
  const states = [0, 1, 2, 3, 4, 5, 6, 7, 8] as const;
  for (let i = 0; i < 10_000; i += 1) {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    guest.front.publish({}, states[(seed >>> 16) % states.length] ?? 1);
    if ((seed & 3) === 0) lab.step();
  }
  guest.front.publish({}, XenbusState.Closing);
  lab.run();
  guest.front.publish({}, XenbusState.Closed);
  lab.run();
  t.is(lab.backend.connections().length, 1); // the neighbour's
  t.is(driverUsage()?.boundPorts, boundPorts);
  for (const ref of [...guest.dataRefs, ...guest.ringRefs]) t.true(guest.hypercalls.endAccess(ref as GrantRef));
});

test('statistics read at every step of a tear-down never fail and never name what is gone (CVE-2026-100082)', (t) => {
  for (const last of [XenbusState.Closing, XenbusState.Closed, XenbusState.Unknown]) {
    const { lab, guest } = attack();
    lab.ram.isStalled = true; // requests are in flight all the while
    for (let i = 0; i < 8; i += 1) guest.stage({ id: i });
    guest.publish();
    for (let i = 0; i < 5; i += 1) lab.step();
    guest.front.publish({}, last);
    for (let steps = 0; steps < 200; steps += 1) {
      if (steps === 100) lab.ram.isStalled = false;
      for (const { counters } of lab.backend.connections()) t.is(counters.length, 1);
      lab.step();
      for (const { counters } of lab.backend.connections()) t.is(counters.length, 1);
    }
    t.is(lab.backend.connections().length, 1, `${last}`); // the neighbour's
  }
});

test('a flood of rubbish is slowed down to one request a millisecond or less', (t) => {
  const { lab, guest, neighbour } = attack();
  for (let i = 0; i < 32; i += 1) guest.stage({ nrSegments: 200, id: i });
  guest.publish();
  for (let i = 0; i < 50; i += 1) lab.driverKernel.poll();
  t.true(guest.answers().length < 32, 'all at once');
  t.true(neighbour.isWell());
  lab.nowMs += 100;
  lab.run();
});
