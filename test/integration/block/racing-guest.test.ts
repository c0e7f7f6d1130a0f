// XSA-155 with a real race: a second thread of the guest rewrites its requests while the back end reads them.
import { Worker } from 'node:worker_threads';
import { BLOCK_OP } from '@splitring/device';
import test from 'ava';
import { BlockLab } from '../../support/block-lab.ts';
import { Neighbour, RawGuest } from '../../support/raw-blkfront.ts';

const ROUNDS = 3000;
/** Requests that were seen rewritten, at least. */
const HITS = 100;

test('requests rewritten by another thread while they are read reach the device whole, or not at all', async (t) => {
  t.timeout(50_000);
  const lab = new BlockLab();
  const neighbour = new Neighbour(lab);
  const guest = new RawGuest(lab);
  const stop = new SharedArrayBuffer(8);
  const flags = new Int32Array(stop);
  const { buffer, byteOffset } = guest.ring.bytes;
  const racer = new Worker(new URL('./racing.worker.ts', import.meta.url), {
    workerData: { ring: buffer, byteOffset, stop },
  });
  const ended = new Promise((resolve) => racer.once('exit', resolve));
  while (Atomics.load(flags, 1) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const frames = new Set(Array.from({ length: 32 }, (_, i) => guest.data.first + i));
  let isValid = true;
  lab.ram.fault = ({ op, sectors, startSector, busPages, pageCount, firstOffset }) => {
    const moves = op === BLOCK_OP.read || op === BLOCK_OP.write;
    const isInside = op === BLOCK_OP.flush || (sectors >= 0 && startSector + sectors <= lab.ram.capacitySectors);
    const isCarried = !moves || (pageCount > 0 && firstOffset + sectors * 512 <= pageCount * 4096);
    // Only pages that this guest granted: they lie next to each other, grants of the ring come before them.
    const isOwn = busPages.slice(0, pageCount).every((page) => frames.has(page) || page === guest.ring.first);
    if (!isInside || !isCarried || (moves && !isOwn)) isValid = false;
    return 0;
  };
  let staged = 0;
  const refusals = () =>
    lab.backend
      .connections()
      .flatMap(({ counters }) => counters)
      .reduce((sum, each) => sum + each.refusals, 0);
  // On a busy machine the other thread may sleep through many rounds.
  for (let round = 0; round < ROUNDS || (refusals() < HITS && round < 30 * ROUNDS); round += 1) {
    const unanswered = guest.reqProd - Atomics.load(guest.indexes, 2);
    for (let i = unanswered; i < guest.slots; i += 4) {
      guest.stage({ id: round });
      staged += 1;
    }
    guest.publish();
    for (let i = 0; i < 4; i += 1) {
      lab.nowMs += 1.1; // past the pause that rubbish earns
      lab.driverKernel.poll();
    }
  }
  const hits = refusals();
  Atomics.store(flags, 0, 1);
  await ended;
  t.is(guest.back.failure, undefined);
  t.true(hits >= HITS, `${hits} requests were refused`);
  t.true(isValid, 'a command left the disk, its pages or the guest');
  t.true(lab.ram.log.length > ROUNDS / 4, `${lab.ram.log.length} commands reached the device`);
  lab.ram.fault = () => 0;
  t.true(neighbour.isWell());
  t.log(`${staged} requests, ${hits} refused, ${lab.ram.log.length} commands on the device`);
});
