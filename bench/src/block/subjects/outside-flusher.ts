// A thread that writes to a file of its own and makes it durable, past every domain: what such I/O costs its neighbours
// on this machine whoever does it.
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { type BlockParams, Positions } from '../params.ts';

interface FlusherData {
  readonly image: string;
  /** Words below. */
  readonly shared: SharedArrayBuffer;
}

/** Microseconds from one flush to the next, 0: none, −1: end; flushes so far. */
const WORD = { periodUs: 0, flushes: 1, words: 2 } as const;
const BYTES = 4096;
const PARAMS: BlockParams = { bytes: BYTES, depth: 1, pattern: 'random', op: 'write' };

/** Flushes at a given pace. */
export class OutsideFlusher {
  private readonly words: Int32Array;
  private readonly worker: Worker;

  constructor(image: string) {
    const shared = new SharedArrayBuffer(WORD.words * 4);
    this.words = new Int32Array(shared);
    const data: FlusherData = { image, shared };
    this.worker = new Worker(new URL(import.meta.url), { workerData: data });
  }

  /** Flushes so far. */
  get flushes(): number {
    return Atomics.load(this.words, WORD.flushes);
  }

  /** One write and flush every `periodUs`, or as often as the file allows; 0 stops. */
  pace(periodUs: number): void {
    Atomics.store(this.words, WORD.periodUs, Math.round(periodUs));
    Atomics.notify(this.words, WORD.periodUs);
  }

  async close(): Promise<void> {
    this.pace(-1);
    await new Promise<void>((resolve) => this.worker.once('exit', () => resolve()));
  }
}

function flush({ image, shared }: FlusherData): void {
  const words = new Int32Array(shared);
  const file = openSync(image, 'r+');
  const block = new Uint8Array(BYTES).fill(1);
  const positions = new Positions(PARAMS, 11);
  for (;;) {
    const periodUs = Atomics.load(words, WORD.periodUs);
    if (periodUs < 0) break;
    if (periodUs === 0) {
      Atomics.wait(words, WORD.periodUs, 0);
      continue;
    }
    const from = performance.now();
    writeSync(file, block, 0, BYTES, positions.next());
    fdatasyncSync(file);
    Atomics.add(words, WORD.flushes, 1);
    const restMs = periodUs / 1000 - (performance.now() - from);
    if (restMs > 0) Atomics.wait(words, WORD.periodUs, periodUs, restMs);
  }
  closeSync(file);
}

if (!isMainThread && workerData?.image !== undefined) flush(workerData as FlusherData); // made by the constructor
