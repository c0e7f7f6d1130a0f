// What a guest that flushes in a loop does to the reads of another: the reader's 99th percentile beside it, alone, and
// beside a thread that does the same as often to a file of its own, past every domain.
import { createHost } from 'splitring';
import type { OpenSubject, Params, Trial } from '../../harness/contract.ts';
import { makeImage } from '../image.ts';
import { NEIGHBOUR, type NeighbourArguments } from './neighbour.guest.ts';
import { OutsideFlusher } from './outside-flusher.ts';

/** Fewer reads than these have no 99th percentile worth its name. */
const LEAST_READS = 1000;

/** Open the subject. */
export async function open(_params: Params): Promise<OpenSubject> {
  const image = makeImage();
  const host = await createHost({ driverDomains: [{ name: 'io', disks: { vol0: { image: image.path } } }] });
  const shared = new SharedArrayBuffer(NEIGHBOUR.words * 4);
  const result = new SharedArrayBuffer(8);
  const words = new Int32Array(shared);
  const start = (role: NeighbourArguments['role']) =>
    host.createDomain({
      name: role,
      program: new URL('./neighbour.guest.js', import.meta.url),
      args: { shared, result, role } satisfies NeighbourArguments,
      disks: [{ name: 'xvda', from: 'vol0' }],
    });
  const otherImage = makeImage();
  const outside = new OutsideFlusher(otherImage.path);
  const guests = [await start('reader'), await start('flusher')];
  let trials = 0;

  async function percentile(operations: number, isFlushing: boolean): Promise<number> {
    Atomics.store(words, NEIGHBOUR.isFlushing, isFlushing ? 1 : 0);
    Atomics.notify(words, NEIGHBOUR.isFlushing);
    words[NEIGHBOUR.operations] = Math.max(LEAST_READS, operations);
    trials += 1;
    Atomics.store(words, NEIGHBOUR.trial, trials);
    Atomics.notify(words, NEIGHBOUR.trial);
    while (Atomics.load(words, NEIGHBOUR.answered) !== trials) {
      const wait = Atomics.waitAsync(words, NEIGHBOUR.answered, trials - 1, 1000);
      if (wait.async) await wait.value;
    }
    return new Float64Array(result)[0] ?? 0;
  }

  return {
    trial: async (operations): Promise<Trial> => {
      const before = await percentile(operations, false);
      const flushesBefore = words[NEIGHBOUR.flushes] as number; // the buffer has all words
      const from = performance.now();
      const value = await percentile(operations, true);
      const flushes = (words[NEIGHBOUR.flushes] as number) - flushesBefore; // as above
      const periodUs = ((performance.now() - from) * 1000) / Math.max(1, flushes);
      const outsideBefore = outside.flushes;
      outside.pace(periodUs);
      const elsewhere = await percentile(operations, false);
      outside.pace(0);
      const alone = (before + (await percentile(operations, false))) / 2;
      return { value, bases: { alone, elsewhere }, clean: flushes > 0 && outside.flushes > outsideBefore };
    },
    close: async () => {
      Atomics.store(words, NEIGHBOUR.trial, -1);
      Atomics.store(words, NEIGHBOUR.isFlushing, 1);
      Atomics.notify(words, NEIGHBOUR.trial);
      Atomics.notify(words, NEIGHBOUR.isFlushing);
      await Promise.all(guests.map((guest) => guest.exited));
      await outside.close();
      await host.close();
      image.remove();
      otherImage.remove();
    },
  };
}
