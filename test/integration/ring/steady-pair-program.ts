// Two workers in their steady state: `node … steady-pair-program.ts SUBJECT`; a line of JSON with the reports of both.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { createChannel, createFixedRing, initRing } from 'sharedarraybuffer-ring';
import { MESSAGE_BYTES, PAGE_BYTES, type PairTask } from './steady-pair-worker.ts';

const xen = new SharedArrayBuffer(PAGE_BYTES + 128);
initRing(new Uint8Array(xen, 0, PAGE_BYTES));
const shared = {
  subject: process.argv[2] ?? '',
  fixed: createFixedRing({ slotBytes: MESSAGE_BYTES, slots: 256 }),
  channel: createChannel({ capacityBytes: 1 << 16 }).handle,
  xen,
};
const reports = (['send', 'receive'] as const).map(async (role) => {
  const workerData: PairTask = { ...shared, role };
  const [report] = await once(
    new Worker(new URL('./steady-pair-worker.ts', import.meta.url), { workerData }),
    'message',
  );
  return report;
});
console.log(JSON.stringify(await Promise.all(reports)));
