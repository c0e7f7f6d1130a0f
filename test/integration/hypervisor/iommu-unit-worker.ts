// A thread that steps one device: it reads one page over and over, and serves invalidations in between.
import { parentPort, workerData } from 'node:worker_threads';
import { type DomId, Iommu, routingId } from '@splitring/hypervisor';

const { tables, control } = workerData as { tables: SharedArrayBuffer; control: SharedArrayBuffer }; // from the test
const words = new Int32Array(control);
const unit = new Iommu(tables, 1 as DomId);
const requester = unit.requester(routingId(0, 4, 0));
parentPort?.postMessage('ready');
while (Atomics.load(words, 0) === 0) {
  for (let i = 0; i < 3; i++) Atomics.store(words, 2, unit.translate(requester, 8, false));
  unit.serve();
  Atomics.add(words, 3, 1);
}
