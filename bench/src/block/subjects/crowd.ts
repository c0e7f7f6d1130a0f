// Many guests on one driver domain, each with a depth of its own, all asleep between batches.
//
// The base is this thread reading the image by itself, with everybody asleep, before and after each trial.
import { createHost } from 'splitring';
import type { OpenSubject, Trial } from '../../harness/contract.ts';
import { CROWD, CROWD_BYTES, type CrowdParams } from '../crowd-params.ts';
import { makeImage } from '../image.ts';
import { OwnLoop } from '../own-loop.ts';
import type { CrowdArguments } from './crowd.guest.ts';

/** Reads of each guest before the first trial: every one of them compiles its own code. */
const WARM_UP_READS = 10_000;

/** Open the subject. */
export async function open(params: CrowdParams): Promise<OpenSubject> {
  const { guests: count, pattern } = params;
  const image = makeImage();
  const host = await createHost({ driverDomains: [{ name: 'io', disks: { vol0: { image: image.path } } }] });
  const shared = new SharedArrayBuffer(CROWD.words * 4);
  const counts = new SharedArrayBuffer(count * 4);
  const words = new Int32Array(shared);
  const done = new Int32Array(counts);
  const guests = await Promise.all(
    Array.from({ length: count }, (_, index) => {
      const depth = index === 0 ? params.firstDepth : params.depth;
      const args: CrowdArguments = { shared, counts, index, depth, pattern };
      const program = new URL('./crowd.guest.js', import.meta.url);
      return host.createDomain({ name: `guest${index}`, program, args, disks: [{ name: 'xvda', from: 'vol0' }] });
    }),
  );
  const failure = Promise.race(guests.map(({ name, exited }) => exited.then((outcome) => fail(name, outcome))));
  failure.catch(() => {}); // without anybody waiting for it, at the end
  await Promise.race([all(words, CROWD.ready, count), failure]);
  const own = new OwnLoop(image.path, { bytes: CROWD_BYTES, depth: params.depth, pattern, op: 'read' }, 99);

  async function trial(operations: number): Promise<Trial> {
    const base = Math.max(64, operations >> 3);
    const before = own.run(base);
    words[CROWD.finished] = 0;
    Atomics.store(words, CROWD.left, operations);
    const from = performance.now();
    Atomics.add(words, CROWD.trial, 1);
    Atomics.notify(words, CROWD.trial);
    await Promise.race([all(words, CROWD.finished, count), failure]);
    const elapsedNs = (performance.now() - from) * 1e6;
    const total = done.reduce((sum, one) => sum + one, 0);
    return {
      value: elapsedNs / total,
      metrics: { spread: Math.max(...done) / Math.max(1, Math.min(...done)) },
      bases: { own: (before + own.run(base)) / 2 },
    };
  }

  await trial(count * WARM_UP_READS);
  return {
    trial,
    close: async () => {
      Atomics.store(words, CROWD.trial, -1);
      Atomics.notify(words, CROWD.trial);
      await Promise.all(guests.map((guest) => guest.exited));
      own.close();
      await host.close();
      image.remove();
    },
  };
}

/** Wait until a word has reached `count`. */
async function all(words: Int32Array, word: number, count: number): Promise<void> {
  for (let seen = Atomics.load(words, word); seen < count; seen = Atomics.load(words, word)) {
    const wait = Atomics.waitAsync(words, word, seen, 1000);
    if (wait.async) await wait.value;
  }
}

function fail(name: string, outcome: { readonly kind: string; readonly message: string }): never {
  throw new Error(`${name} has ended: ${outcome.kind}, ${outcome.message}`);
}
