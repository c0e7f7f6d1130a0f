// Baseline for latency: a message to a thread in the middle and on to a third one, and back the same way.
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { OpenSubject } from '../../harness/contract.ts';
import { monotonicNs } from '../../harness/pair.ts';
import { makeFrame, type NetParams } from '../params.ts';

const RELAY = `
const { workerData: { near, far } } = require('node:worker_threads');
near.on('message', (buffer) => (far ?? near).postMessage(buffer, [buffer]));
far?.on('message', (buffer) => near.postMessage(buffer, [buffer]));
`;

function startHop(near: MessagePort, far: MessagePort | undefined): Worker {
  return new Worker(RELAY, { eval: true, workerData: { near, far }, transferList: far ? [near, far] : [near] });
}

/** Open the subject. */
export function open({ bytes }: NetParams): OpenSubject {
  const first = new MessageChannel();
  const second = new MessageChannel();
  const workers = [startHop(first.port2, second.port1), startHop(second.port2, undefined)];
  let answered: ((buffer: ArrayBuffer) => void) | undefined;
  first.port1.on('message', (buffer: ArrayBuffer) => answered?.(buffer));
  const ask = (buffer: ArrayBuffer) =>
    new Promise<ArrayBuffer>((resolve) => {
      answered = resolve;
      first.port1.postMessage(buffer, [buffer]);
    });
  return {
    trial: async (operations) => {
      const times = new Float64Array(operations);
      let buffer = makeFrame(0, 1, bytes).buffer as ArrayBuffer; // made from a plain array
      for (let i = 0; i < operations; i++) {
        const from = monotonicNs();
        buffer = await ask(buffer);
        times[i] = monotonicNs() - from;
      }
      times.sort();
      const at = (share: number) => (times[Math.floor((times.length - 1) * share)] ?? 0) / 2;
      return { value: at(0.5), metrics: { p99: at(0.99) } };
    },
    close: async () => {
      first.port1.close();
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}
