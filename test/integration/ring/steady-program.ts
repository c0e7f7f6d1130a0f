// A stream in its steady state, for the test that watches V8 meanwhile: `node … steady-program.ts SUBJECT`.
//
// After the warm-up V8 itself is told to report garbage collections and, a round later, deoptimizations on stdout; it adds
// one line of JSON: bytes of heap that each round took. Both ends run on this thread, a batch of 32 at a time.
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { openSubject, ROUND_MESSAGES } from './steady-subjects.ts';

const WARM_UP_ROUNDS = 100;
const WARM_UP_MESSAGES = 20_000;
/** Measured rounds; the first may still meet code compiled before it had seen everything, and is spared the reports. */
const ROUNDS = 3;

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Bytes on the heap and held outside by objects on it. */
function heapBytes(): number {
  const { used_heap_size, external_memory } = getHeapStatistics();
  return used_heap_size + external_memory;
}

const pass = openSubject(process.argv[2] ?? '');
heapBytes();
for (let round = 0; round < WARM_UP_ROUNDS; round += 1) {
  pass(WARM_UP_MESSAGES);
  await nextTurn(); // the end of a turn publishes, and begins another burst
}
pass(ROUND_MESSAGES);
await nextTurn();
setFlagsFromString('--trace-gc');
const bytes: number[] = [];
for (let round = 0; round < ROUNDS; round += 1) {
  const before = heapBytes();
  pass(ROUND_MESSAGES);
  bytes.push(heapBytes() - before);
  if (round === 0) setFlagsFromString('--trace-deopt');
  await nextTurn();
}
setFlagsFromString('--no-trace-deopt');
setFlagsFromString('--no-trace-gc');
console.log(`\n${JSON.stringify({ bytes })}`);
