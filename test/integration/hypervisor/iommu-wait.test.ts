// Invalidation across threads: a unit in a worker, the unmapping thread waits for it, and does not wait for a dead one.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import {
  createIommuTables,
  type DomId,
  IO_READ,
  IoInvalidator,
  IoPageTables,
  releaseUnits,
  routingId,
  setContext,
} from '@splitring/hypervisor';
import test from 'ava';

const RID = routingId(0, 4, 0);
const STEPPER = 1 as DomId;

test('wait returns once the worker’s unit has forgotten the page, a thousand times', async (t) => {
  const tables = createIommuTables({ spaces: 4, tablePages: 8 });
  const pages = new IoPageTables(tables);
  const space = pages.createSpace(STEPPER, 1);
  setContext(tables, RID, space);
  // control: 0 stop, 1 page to use, 2 last frame reached (or −1), 3 accesses
  const control = new Int32Array(new SharedArrayBuffer(16));
  const worker = new Worker(new URL('./iommu-unit-worker.ts', import.meta.url), {
    workerData: { tables, control: control.buffer },
  });
  await once(worker, 'message');
  const invalidator = new IoInvalidator(tables);
  let stale = 0;
  for (let round = 1; round <= 1000; round++) {
    pages.map(space, 8, round, IO_READ);
    for (
      const seen = Atomics.load(control, 3);
      Atomics.load(control, 2) !== round && Atomics.load(control, 3) - seen < 1e6;
    );
    pages.unmap(space, 8);
    invalidator.invalidate(space, 8, 1);
    if (!invalidator.wait(5000)) stale++;
    const after = Atomics.load(control, 3);
    while (Atomics.load(control, 3) - after < 2); // two whole accesses later
    if (Atomics.load(control, 2) !== -1) stale++;
  }
  t.is(stale, 0);
  Atomics.store(control, 0, 1);
  await once(worker, 'exit');
  invalidator.invalidate(space, 8, 1);
  t.false(invalidator.wait(30), 'nobody serves it any more');
  releaseUnits(tables, STEPPER);
  t.true(invalidator.wait(30), 'after the fence there is nothing to wait for');
});
