// CPU time of the calling thread, where the system tells it.
import { openSync, readSync } from 'node:fs';

const buffer = Buffer.alloc(96);
const sleeper = new Int32Array(new SharedArrayBuffer(4));
let file: number | undefined;

/**
 * CPU nanoseconds that this thread has used, from /proc/thread-self/schedstat; `undefined` where there is none.
 *
 * The kernel updates the figure when the thread leaves its core, so this sleeps for a moment first: call it outside the
 * timed part, and only on a thread that may block.
 */
export function threadCpuNs(): number | undefined {
  if (file === undefined) {
    try {
      file = openSync('/proc/thread-self/schedstat', 'r');
    } catch {
      file = -1;
    }
  }
  if (file === -1) return undefined;
  Atomics.wait(sleeper, 0, 0, 0.001);
  const length = readSync(file, buffer, 0, buffer.length, 0);
  return Number.parseInt(buffer.toString('latin1', 0, length), 10);
}
