// A subject made of two threads: the front runs on the main thread of the subject's process, the back in a worker.
//
// The time of a trial goes from the moment both are running to the end of the later half. Between trials the back sleeps.
import process from 'node:process';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { pinThread, threadId } from './affinity.ts';
import type { OpenSubject, Params, Trial } from './contract.ts';
import { threadCpuNs } from './cpu-time.ts';

/** What a half may say at the end of a trial. */
export interface HalfReport {
  /** Sum over what was sent or received; both halves must agree, so that a subject that loses data is no subject. */
  readonly checksum?: number;
  /** Nanoseconds per operation, if the half measured them itself; else the elapsed time counts. */
  readonly value?: number;
  /** Further metrics. */
  readonly metrics?: Readonly<Record<string, number>>;
}

/** One half of a pair, set up and ready for trials. */
export type Half = (operations: number) => HalfReport | Promise<HalfReport>;

/** Both halves of a subject, in one module that exports it as `pair`. */
export interface PairDefinition<P extends Params, Shared> {
  /** Plain data for both threads; called once, on the front's. */
  share(params: P): Shared;
  /** Set up the front half. */
  front(shared: Shared, params: P, port: PairPort): Half;
  /** Set up the back half, in the worker. */
  back(shared: Shared, params: P, port: PairPort): Half;
}

/** The plain way between the two threads, for subjects that are made of messages. */
export interface PairPort {
  /** Post to the other half. */
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  /** Take what the other half posts. */
  listen(listener: (message: unknown) => void): void;
  /** A port of its own between the two halves, for doorbells. */
  readonly doorbell: MessagePort;
}

/** Words of the control buffer: trial number, operations, ready. */
const START = 0;
const OPERATIONS = 1;
const READY = 2;

/** What the worker gets. */
export interface BackData {
  readonly module: string;
  readonly control: SharedArrayBuffer;
  readonly shared: unknown;
  readonly params: Params;
  readonly doorbell: MessagePort;
}

/** What the worker posts after each trial. */
export interface BackReport extends HalfReport {
  readonly endNs: number;
  readonly cpuNs: number | undefined;
}

/** What the worker posts first. */
export interface BackReady {
  readonly pairReady: { readonly thread: number | undefined };
}

/** Open a pair as a subject. `module` is the URL of the module that exports the definition as `pair`. */
export async function openPair<P extends Params, Shared>(
  module: string,
  definition: PairDefinition<P, Shared>,
  params: P,
): Promise<OpenSubject> {
  const shared = definition.share(params);
  const control = new SharedArrayBuffer(12);
  const words = new Int32Array(control);
  const doorbell = new MessageChannel();
  const data: BackData = { module, control, shared, params, doorbell: doorbell.port2 };
  const worker = new Worker(new URL('./pair-back.js', import.meta.url), {
    workerData: data,
    transferList: [doorbell.port2],
  });
  let report: ((report: BackReport) => void) | undefined;
  let fail: ((error: Error) => void) | undefined;
  let listener: (message: unknown) => void = () => undefined;
  worker.on('error', (error: Error) => fail?.(error));
  worker.on('message', (message: { pairReport?: BackReport; data?: unknown }) => {
    if (message.pairReport !== undefined) report?.(message.pairReport);
    else if (message.data !== undefined) listener(message.data);
  });
  const backThread = await new Promise<number | undefined>((resolve, reject) => {
    fail = reject;
    worker.once('message', (ready: BackReady) => resolve(ready.pairReady.thread));
  });
  pinThread(backThread, 1);
  pinThread(threadId(), 0);
  const front = definition.front(shared, params, {
    post: (message, transfer = []) => worker.postMessage({ data: message }, transfer as ArrayBuffer[]),
    listen: (next) => {
      listener = next;
    },
    doorbell: doorbell.port1,
  });
  let trials = 0;

  async function trial(operations: number): Promise<Trial> {
    const reported = new Promise<BackReport>((resolve, reject) => {
      report = resolve;
      fail = reject;
    });
    const cpuBefore = threadCpuNs();
    trials = (trials + 1) | 0;
    words[OPERATIONS] = operations;
    Atomics.store(words, START, trials);
    Atomics.notify(words, START);
    while (Atomics.load(words, READY) !== trials);
    const from = monotonicNs();
    const own = await front(operations);
    const frontEnd = monotonicNs();
    const other = await reported;
    const cpuAfter = threadCpuNs();
    if (own.checksum !== other.checksum) {
      throw new Error(`Checksums differ: sent ${own.checksum}, received ${other.checksum}`);
    }
    const end = Math.max(other.endNs, frontEnd);
    const cpu: Record<string, number> = {};
    if (cpuBefore !== undefined && cpuAfter !== undefined) cpu['cpu-front'] = (cpuAfter - cpuBefore) / operations;
    if (other.cpuNs !== undefined) cpu['cpu-back'] = other.cpuNs / operations;
    return {
      value: own.value ?? (end - from) / operations,
      metrics: { ...sum(own.metrics, other.metrics), ...cpu },
    };
  }

  return {
    trial,
    close: async () => {
      words[OPERATIONS] = 0;
      Atomics.store(words, START, trials + 1);
      Atomics.notify(words, START);
      doorbell.port1.close();
      await worker.terminate();
    },
  };
}

/** Metrics of both halves; one that both report (notifications) is their sum. */
function sum(front: Readonly<Record<string, number>> = {}, back: Readonly<Record<string, number>> = {}) {
  const all: Record<string, number> = { ...front };
  for (const [name, value] of Object.entries(back)) all[name] = (all[name] ?? 0) + value;
  return all;
}

/** Nanoseconds of the clock that all threads share (`performance.now()` starts anew in each). */
export function monotonicNs(): number {
  return Number(process.hrtime.bigint());
}

/** Control words, for the worker. */
export const PAIR_WORDS = { START, OPERATIONS, READY } as const;
