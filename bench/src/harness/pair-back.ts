// The worker of a pair: sleeps until a trial starts, runs the back half, reports.
import { parentPort, workerData } from 'node:worker_threads';
import { threadId } from './affinity.ts';
import type { Params } from './contract.ts';
import { threadCpuNs } from './cpu-time.ts';
import {
  type BackData,
  type BackReady,
  type BackReport,
  monotonicNs,
  PAIR_WORDS,
  type PairDefinition,
} from './pair.ts';

const { module, control, shared, params, doorbell } = workerData as BackData; // written by openPair
const words = new Int32Array(control);
const port = parentPort;
if (port === null) throw new Error('pair-back runs in a worker only');

let listener: (message: unknown) => void = () => undefined;
// Holding the port keeps the event loop alive, also for halves that only wait asynchronously.
port.on('message', (message: { data: unknown }) => listener(message.data));

const { pair } = (await import(module)) as { pair: PairDefinition<Params, unknown> }; // by the contract of openPair
const back = pair.back(shared, params, {
  post: (message, transfer = []) => port.postMessage({ data: message }, transfer as ArrayBuffer[]),
  listen: (next) => {
    listener = next;
  },
  doorbell,
});
const ready: BackReady = { pairReady: { thread: threadId() } };
port.postMessage(ready);

for (let trial = 0; ; trial = (trial + 1) | 0) {
  Atomics.wait(words, PAIR_WORDS.START, trial);
  const operations = words[PAIR_WORDS.OPERATIONS] ?? 0;
  if (operations === 0) break;
  const before = threadCpuNs();
  Atomics.store(words, PAIR_WORDS.READY, Atomics.load(words, PAIR_WORDS.START));
  const half = await back(operations);
  const endNs = monotonicNs();
  const after = threadCpuNs();
  const cpuNs = before === undefined || after === undefined ? undefined : after - before;
  const report: BackReport = { ...half, endNs, cpuNs };
  port.postMessage({ pairReport: report });
}
port.close();
doorbell.close();
