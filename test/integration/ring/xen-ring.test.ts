// The Xen ring between two real workers: every way to wait, both memories, starts at the wrap, back ends killed at any time.
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { initRing, SharedMemory } from 'sharedarraybuffer-ring';
import { WORDS, type XenTask } from './xen-worker.ts';

const PAGE = 4096;
const program = new URL('./xen-worker.ts', import.meta.url);

interface Run {
  readonly kind: 'plain' | 'wasm';
  readonly at: number;
  readonly requests: number;
  readonly frontSpins: number;
  readonly backSpins: number;
}

function start(run: Run) {
  // A wasm memory has pages of 64 KiB; the ring takes the first 4 KiB of whatever there is.
  const { buffer } = SharedMemory.allocate(PAGE, run.kind);
  const region = new Uint8Array(buffer, 0, PAGE);
  initRing(region);
  new Int32Array(buffer, 0, 4).set([run.at, run.at + 1, run.at, run.at + 1]);
  const words = new Int32Array(new SharedArrayBuffer(20));
  const shared = { region: buffer, words, requests: run.requests, at: run.at };
  const spawn = (task: XenTask) => {
    const worker = new Worker(program, { workerData: task });
    // An exception in a worker fails the test: `once` rejects on 'error'.
    return { worker, exited: once(worker, 'exit') };
  };
  const front = spawn({ ...shared, role: 'front', spins: run.frontSpins, epoch: 0 });
  const back = (epoch: number) => spawn({ ...shared, role: 'back', spins: run.backSpins, epoch });
  return { words, front, back };
}

const table: readonly Run[] = [
  { kind: 'plain', at: 0, requests: 4000, frontSpins: 0, backSpins: 0 },
  { kind: 'plain', at: 2 ** 31 - 1000, requests: 20000, frontSpins: 20000, backSpins: 0 },
  { kind: 'wasm', at: 2 ** 32 - 1000, requests: 20000, frontSpins: 0, backSpins: 20000 },
  { kind: 'wasm', at: 2 ** 32 - 1000, requests: 60000, frontSpins: 20000, backSpins: 20000 },
];

for (const run of table) {
  const name = `${run.kind}, from ${run.at}, spinning ${run.frontSpins} and ${run.backSpins} times`;
  test.serial(`FrontRing and BackRing carry every request once between workers (${name})`, async (t) => {
    const { front, back, words } = start(run);
    const { exited } = back(0);
    await Promise.all([front.exited, exited]);
    t.is(Atomics.load(words, WORDS.answered), run.requests);
  });
}

test.serial(
  'a front end replays to successors of back ends killed at any moment: each request answered once',
  async (t) => {
    const run: Run = { kind: 'plain', at: 2 ** 32 - 50, requests: 60000, frontSpins: 500, backSpins: 500 };
    const { front, back, words } = start(run);
    let isDone = false;
    const finished = front.exited.then(() => {
      isDone = true;
    });
    let kills = 0;
    for (let epoch = 0; !isDone; epoch += 2) {
      const current = back(epoch);
      const before = Atomics.load(words, WORDS.answered);
      const moved = () => Atomics.load(words, WORDS.answered) > before + 500;
      while (!isDone && !moved()) await sleep(1);
      if (kills >= 8) {
        await Promise.all([finished, current.exited]);
        break;
      }
      await sleep((epoch * 7) % 5);
      if (!isDone) kills += 1;
      await current.worker.terminate(); // its exit is the fence: nothing of it runs after this
      Atomics.add(words, WORDS.epoch, 1);
      Atomics.add(words, WORDS.frontBell, 1);
      Atomics.notify(words, WORDS.frontBell);
    }
    await finished;
    t.is(Atomics.load(words, WORDS.answered), run.requests);
    t.true(kills > 0);
    t.log(`${kills} back ends killed`);
  },
);
