// Every attack of a back end on blkfront that is on record: the disk breaks off with a reason, the guest goes on.
import { BLOCK_OP, BLOCK_STATUS, type BlockCommand, type BlockStatus } from '@splitring/device';
import { type FrameNumber, GNTMAP_host_map, Hypervisor } from '@splitring/hypervisor';
import { BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_SLOT_BYTES, blkifRequest, blkifResponse } from '@splitring/hypervisor/io';
import test from 'ava';
import { BackRing } from 'sharedarraybuffer-ring';
import { parseDisk, parseTransport } from '../../../packages/frontend/src/block/blkfront-features.ts';
import { BlkfrontQueue } from '../../../packages/frontend/src/block/blkfront-queue.ts';
import { DataGrants } from '../../../packages/frontend/src/block/data-grants.ts';
import { BlockLab } from '../../support/block-lab.ts';

/** A front end's queue, and the ring in the hands of the test. */
function setUp(isPersistent = true) {
  const hypervisor = new Hypervisor();
  const back = hypervisor.attachInThread(hypervisor.createDomain({ name: 'io' }));
  const front = hypervisor.attachInThread(hypervisor.createDomain({ name: 'guest' }));
  const run = front.allocateFrames(back.domid, 16);
  const grants = new DataGrants(front, back.domid, run);
  grants.isPersistent = isPersistent;
  const queue = new BlkfrontQueue({
    hypercalls: front,
    peer: back.domid,
    name: 'vbd-51712 queue 0',
    ringPages: 1,
    handle: 51712,
    grants,
    maxSegments: 11,
  });
  const { run: mapped } = back.mapRun(front.domid, queue.ringPages.refs, GNTMAP_host_map);
  if (mapped === undefined) throw new Error('the ring cannot be mapped');
  const ring = new BackRing(mapped.bytes, BLKIF_SLOT_BYTES);
  const indexes = new Int32Array(mapped.bytes.buffer, mapped.bytes.byteOffset, 4);
  const completions: [number, BlockStatus][] = [];
  queue.onComplete = (cookie, status) => completions.push([cookie, status]);
  const command = (cookie: number): BlockCommand => ({
    op: BLOCK_OP.read,
    startSector: 0,
    sectors: 8,
    isForceUnitAccess: false,
    busPages: [run.first + (cookie % 16)],
    pageCount: 1,
    firstOffset: 0,
    cookie,
  });
  return { back, front, run, queue, ring, indexes, completions, command };
}

/** Answer as told. */
function answer(ring: BackRing, id: bigint, operation: number, status: number): void {
  ring.availableRequests();
  ring.takeRequest();
  const at = ring.stageResponse();
  blkifResponse.clear(ring.view, at);
  ring.view.setBigUint64(at + blkifResponse.offsets.id, id, true);
  blkifResponse.set.operation(ring.view, at, operation);
  blkifResponse.set.status(ring.view, at, status);
  ring.pushResponses();
}

for (const [name, id, operation] of [
  ['an id beyond the ring', 32n, BLKIF_OP_READ],
  ['an id of 2^32 and one in flight', 2n ** 32n, BLKIF_OP_READ],
  ['an id of 2^64 - 1', 2n ** 64n - 1n, BLKIF_OP_READ],
  ['an id that is not in flight', 5n, BLKIF_OP_READ],
  ['another operation', 0n, BLKIF_OP_WRITE],
] as const) {
  test(`XSA-376: an answer with ${name} breaks the connection and completes nothing`, (t) => {
    const { queue, ring, completions, command } = setUp();
    queue.submit(command(1));
    queue.publish();
    answer(ring, id, operation, 0);
    t.true(queue.reap());
    t.is(queue.broken?.code, 'BLKFRONT_BAD_RESPONSE');
    t.deepEqual(completions, []);
    t.false(queue.reap(), 'and is not looked at again');
  });
}

test('XSA-376: the same id answered twice breaks the connection after the first', (t) => {
  const { queue, ring, completions, command } = setUp();
  queue.submit(command(1));
  queue.submit(command(2));
  queue.publish();
  answer(ring, 0n, BLKIF_OP_READ, 0);
  answer(ring, 0n, BLKIF_OP_READ, 0);
  queue.reap();
  t.deepEqual(completions, [[1, BLOCK_STATUS.okay]]);
  t.truthy(queue.broken);
});

for (const rspProd of [2, 33, -1, 0x8000_0000 | 0]) {
  test(`XSA-376: rspProd ${rspProd} with one request out breaks the connection`, (t) => {
    const { queue, indexes, completions, command } = setUp();
    queue.submit(command(1));
    queue.publish();
    Atomics.store(indexes, 2, rspProd);
    queue.reap();
    t.truthy(queue.broken);
    t.deepEqual(completions, []);
  });
}

test('XSA-376: any status there may be is a failure or a success, never a surprise', (t) => {
  const { queue, ring, completions, command } = setUp();
  const statuses = [0, -1, -2, -3, -22, -28, -30, 1, 32_767, -32_768];
  for (const status of statuses) {
    queue.submit(command(7));
    queue.publish();
    ring.availableRequests();
    ring.takeRequest();
    const id = blkifRequest.get.id(ring.request, 0);
    const at = ring.stageResponse();
    blkifResponse.write(ring.view, at, { id, operation: BLKIF_OP_READ, status });
    ring.pushResponses();
    queue.reap();
  }
  t.is(completions.length, statuses.length);
  t.is(completions.filter(([, status]) => status === BLOCK_STATUS.okay).length, 1);
  t.is(queue.broken, undefined);
});

test('XSA-396: a page that the back end keeps mapped after its answer is never used again', (t) => {
  const { back, front, queue, ring, completions, command } = setUp(false);
  queue.submit(command(3));
  queue.publish();
  ring.availableRequests();
  ring.takeRequest();
  const gref = ring.request.getUint32(blkifRequest.offsets.seg, true);
  back.mapRun(front.domid, [gref as never], GNTMAP_host_map);
  const at = ring.stageResponse();
  blkifResponse.write(ring.view, at, { id: blkifRequest.get.id(ring.request, 0), operation: BLKIF_OP_READ, status: 0 });
  ring.pushResponses();
  queue.reap();
  t.is(queue.broken?.code, 'BLKFRONT_STILL_MAPPED');
  t.deepEqual(completions, []);
});

test('XSA-403: pages are zero before the back end can see them', (t) => {
  const lab = new BlockLab();
  const { disk, hypercalls } = lab.guest();
  const buffer = disk.allocate(4096);
  t.true(buffer?.every((byte) => byte === 0));
  const ring = hypercalls.allocateFrames(lab.driver.domid, 1);
  t.true(ring.bytes.every((byte) => byte === 0));
  t.true((ring.first as FrameNumber) > 0);
});

test('XSA-391: a storm of events without work is one event a poll, and the disk goes on', (t) => {
  const { back, front, queue, ring, completions, command } = setUp();
  const port = back.bindInterdomain(front.domid, queue.port);
  let handled = 0;
  for (let i = 0; i < 200_000; i += 1) {
    back.notify(port);
    if (i % 1000 === 0) handled += front.pollEvents(() => queue.reap());
  }
  t.true(handled <= 200, `${handled} events handled`);
  queue.submit(command(1));
  queue.publish();
  answer(ring, 0n, BLKIF_OP_READ, 0);
  queue.reap();
  t.deepEqual(completions, [[1, BLOCK_STATUS.okay]]);
});

test('keys that make no sense give the smallest transport and no disk', (t) => {
  const nonsense = ['-1', '1e3', '0x10', ' 1', '99999999999999999999', 'NaN', ''];
  for (const text of nonsense) {
    const keys = {
      'max-ring-page-order': text,
      'multi-queue-max-queues': text,
      'feature-max-indirect-segments': text,
      'feature-persistent': text,
    };
    t.deepEqual(parseTransport(keys), {
      maxRingOrder: 0,
      maxQueues: 1,
      maxIndirectSegments: 0,
      hasPersistentGrants: false,
    });
    t.is(parseDisk({ sectors: text }), undefined, text);
  }
  t.is(parseDisk({ sectors: '8', 'sector-size': '1000' }), undefined);
  t.is(parseDisk({ sectors: '8' })?.logicalBlockBytes, 512);
});

test('a disk whose back end breaks the protocol fails its requests and says why', async (t) => {
  const lab = new BlockLab();
  const guest = lab.guest();
  lab.ram.isStalled = true;
  const write = guest.disk.write(0, new Uint8Array(512));
  for (let i = 0; i < 10; i += 1) lab.step();
  // The ring is the first page that the guest shares with the driver domain: its key tells where.
  const ref = Number(guest.front.keys.get('ring-ref0'));
  const { run } = lab.driver.mapRun(guest.hypercalls.domid, [ref as never], GNTMAP_host_map);
  if (run === undefined) throw new Error('the ring cannot be mapped');
  Atomics.store(new Int32Array(run.bytes.buffer, run.bytes.byteOffset, 4), 2, 99);
  await t.throwsAsync(lab.until(write), { code: 'BLOCK_GONE' });
  t.is(guest.front.failure?.code, 'RING_RESPONSE_UNASKED');
  await t.throwsAsync(lab.until(guest.disk.read(0, new Uint8Array(512))), { code: 'BLOCK_GONE' });
});
