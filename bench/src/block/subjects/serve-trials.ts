// A guest's side of a block trial: told how many operations to run, it tells what they took and what its own loop takes.
import { threadId } from '../../harness/affinity.ts';
import { threadCpuNs } from '../../harness/cpu-time.ts';
import { OwnLoop } from '../own-loop.ts';
import { type BlockParams, CONTROL, RESULT } from '../params.ts';
import type { LoadTime } from '../queue-load.ts';

/** What the bench hands to its guest. */
export interface LoadArguments {
  readonly control: SharedArrayBuffer;
  readonly result: SharedArrayBuffer;
  readonly image: string;
  readonly params: BlockParams;
  readonly seed: number;
}

/** A load through the disk. */
export interface GuestLoad {
  run(operations: number): LoadTime | Promise<LoadTime>;
  /** What the disk's front end has counted so far. */
  readonly counters: { readonly requests: number; readonly notificationsSent: number };
}

/** Serve trials until the bench asks for none. */
export async function serveTrials(args: LoadArguments, load: GuestLoad): Promise<void> {
  const words = new Int32Array(args.control);
  const results = new Float64Array(args.result);
  const own = new OwnLoop(args.image, args.params, args.seed + 1);
  words[CONTROL.thread] = threadId() ?? 0;
  Atomics.store(words, CONTROL.done, -1);
  Atomics.notify(words, CONTROL.done);
  for (let trial = 0; ; ) {
    Atomics.wait(words, CONTROL.start, trial);
    trial = Atomics.load(words, CONTROL.start);
    const operations = words[CONTROL.operations] as number; // the buffer has all words
    if (operations === 0) break;
    const base = Math.max(16, operations >> 2);
    const before = own.run(base);
    const { requests, notificationsSent } = load.counters;
    const cpuFrom = threadCpuNs() ?? Number.NaN;
    const { elapsedNs, busyNs } = await load.run(operations);
    const cpuNs = (threadCpuNs() ?? Number.NaN) - cpuFrom;
    const counted = load.counters;
    const after = own.run(base);
    results[RESULT.splitNs] = elapsedNs / operations;
    results[RESULT.busyNs] = busyNs / operations;
    results[RESULT.cpuNs] = cpuNs / operations;
    results[RESULT.ownNs] = (before + after) / 2;
    results[RESULT.requests] = (counted.requests - requests) / operations;
    results[RESULT.notifications] = (counted.notificationsSent - notificationsSent) / operations;
    Atomics.store(words, CONTROL.done, trial);
    Atomics.notify(words, CONTROL.done);
  }
  own.close();
}
