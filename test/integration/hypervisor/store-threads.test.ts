// Two guests in threads of their own, a server in this one, all asleep whenever they can be: no wake-up is lost.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { type DomId, MemoryStore, prepareDomain, XenstoreServer } from '@splitring/hypervisor';
import test from 'ava';
import type { StoreGuestData } from './store.worker.ts';

const ROUNDS = 1000;

test('a counter goes back and forth between two guests through watches and transactions, 1000 times', async (t) => {
  const server = new XenstoreServer({ store: new MemoryStore(), clock: { nowMs: () => performance.now() } });
  const dom0 = server.directClient();
  const bells = new Int32Array(new SharedArrayBuffer(12));
  const workers = [1, 2].map((domid) => {
    const page = new Uint8Array(new SharedArrayBuffer(4096));
    prepareDomain(dom0, domid as DomId, `d${domid}`, () => {});
    while (dom0.poll());
    dom0.setPermissions(`/local/domain/${domid}/data`, [`n${domid}`, `r${3 - domid}`]);
    const notify = () => {
      Atomics.add(bells, domid, 1);
      Atomics.notify(bells, domid);
    };
    server.introduce({ domid: domid as DomId, generation: 1, page, notify });
    const workerData: StoreGuestData = { domid, peer: 3 - domid, page, bells, rounds: ROUNDS };
    return new Worker(new URL('./store.worker.ts', import.meta.url), { workerData });
  });
  const results = Promise.all(workers.map((worker) => once(worker, 'message')));
  const state = { isOver: false };
  const stop = () => {
    state.isOver = true;
  };
  results.then(stop, stop);
  const hold = setInterval(() => {}, 1000); // a pending waitAsync does not keep the event loop alive
  t.teardown(() => clearInterval(hold));
  while (!state.isOver) {
    const seen = Atomics.load(bells, 0);
    while (server.poll() || dom0.poll());
    if (server.arm() || dom0.arm()) continue;
    const { value } = Atomics.waitAsync(bells, 0, seen, 100);
    await value;
  }
  for (const [report] of await results) {
    t.is(report.timeouts, 0, 'nobody slept through a change');
    t.is(report.strays, 0);
    t.true(report.mine >= ROUNDS - 1);
  }
  t.deepEqual(
    server.inspect().map(({ error, outstanding, droppedEvents }) => ({ error, outstanding, droppedEvents })),
    Array.from({ length: 2 }, () => ({ error: 0, outstanding: 0, droppedEvents: 0 })),
  );
  await Promise.all(workers.map((worker) => worker.terminate()));
});
