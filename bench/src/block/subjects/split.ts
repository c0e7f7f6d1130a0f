// The split disk: a guest's load through front end, ring, back end, native driver, NVMe model and IOMMU to a real file.
//
// Beside each trial the guest's thread and this one, held on the driver domain's core, run the same load by themselves.
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHost, type Host } from 'splitring';
import { pinThread, threadId } from '../../harness/affinity.ts';
import type { OpenSubject, Trial } from '../../harness/contract.ts';
import { makeImage } from '../image.ts';
import { OwnLoop } from '../own-loop.ts';
import { type BlockParams, CONTROL, RESULT } from '../params.ts';
import type { LoadArguments } from './serve-trials.ts';

/** The guest's program by style, and how many disks it wants: each from a driver domain of its own. */
const PROGRAMS: Readonly<Record<string, { readonly module: string; readonly disks: 1 | 2 }>> = {
  queue: { module: './load.guest.js', disks: 1 },
  'two-queues': { module: './two-queues.guest.js', disks: 2 },
  await: { module: './program.guest.js', disks: 1 },
  sync: { module: './program.guest.js', disks: 1 },
};

/** How long a driver domain without work spins at most; until then it and this thread would share a core. */
const DRIVER_SPIN_MS = 3;

function threads(): string[] {
  try {
    return readdirSync('/proc/self/task');
  } catch {
    return [];
  }
}

/** CPU time of threads of this process in nanoseconds, NaN where the system does not tell. */
function cpuOf(ids: readonly string[]): number {
  try {
    return ids.reduce(
      (sum, id) => sum + Number.parseInt(readFileSync(`/proc/self/task/${id}/schedstat`, 'latin1'), 10),
      0,
    );
  } catch {
    return Number.NaN;
  }
}

/** What the driver domains have done for the disks; they tell before they sleep, and every few turns. */
function diskCounts(host: Host): { requests: number; commands: number; notifications: number } {
  const read = (measure: string) =>
    host.driverDomains.reduce((sum, { counters }, at) => sum + counters.read(`vol${at}.${measure}`), 0);
  return { requests: read('requests'), commands: read('commands'), notifications: read('notifications') };
}

/** Open the subject: requests per second, or with `busy` the time that the front end itself takes for a request. */
export async function open(params: BlockParams): Promise<OpenSubject> {
  const program = PROGRAMS[String(params['style'] ?? 'queue')];
  if (program === undefined) throw new RangeError(`There is no guest for ${params['style']}`);
  const images = Array.from({ length: program.disks }, makeImage);
  const [image] = images as [(typeof images)[0]]; // one at least
  const before = new Set(threads());
  const host = await createHost({
    driverDomains: images.map(({ path }, at) => ({ name: `io${at}`, disks: { [`vol${at}`]: { image: path } } })),
  });
  const driverThreads = threads().filter((id) => !before.has(id));
  // Two driver domains have a core each, and the guest sleeps on either.
  const isPinned = program.disks === 1;
  if (isPinned) for (const id of driverThreads) pinThread(Number(id), 1);
  const control = new SharedArrayBuffer(CONTROL.words * 4);
  const result = new SharedArrayBuffer(RESULT.doubles * 8);
  const words = new Int32Array(control);
  const results = new Float64Array(result);
  const isBusyTimed = params['busy'] === true;
  const args: LoadArguments = { control, result, image: image.path, params, seed: 7 };
  const guest = await host.createDomain({
    name: 'load',
    program: new URL(program.module, import.meta.url),
    args,
    disks: images.map((_, at) => ({ name: `xvd${'ab'[at]}`, from: `vol${at}` })),
  });
  await answer(words, 0);
  if (isPinned) pinThread(words[CONTROL.thread], 0);
  pinThread(threadId(), 1);
  const own = new OwnLoop(image.path, params, 99);
  let trials = 0;

  async function trial(operations: number): Promise<Trial> {
    const base = Math.max(16, operations >> 2);
    const driverBefore = own.run(base);
    const cpuBefore = cpuOf(driverThreads);
    const countedBefore = diskCounts(host);
    trials += 1;
    words[CONTROL.operations] = operations;
    Atomics.store(words, CONTROL.start, trials);
    Atomics.notify(words, CONTROL.start);
    await answer(words, trials - 1 === 0 ? -1 : trials - 1);
    if (isPinned) await sleep(DRIVER_SPIN_MS);
    const driver = (driverBefore + own.run(base)) / 2;
    const counted = diskCounts(host);
    const guestOwn = results[RESULT.ownNs] as number; // the buffer has all doubles
    const value = results[isBusyTimed ? RESULT.busyNs : RESULT.splitNs] as number; // as above
    return {
      value,
      metrics: {
        'cpu-guest': results[RESULT.cpuNs] as number,
        'cpu-driver': (cpuOf(driverThreads) - cpuBefore) / operations,
        'notifications-guest': results[RESULT.notifications] as number, // as above
        'notifications-driver': (counted.notifications - countedBefore.notifications) / operations,
        merge: (counted.requests - countedBefore.requests) / (counted.commands - countedBefore.commands),
      },
      bases: { own: (driver + guestOwn) / 2, 'own-guest': guestOwn, 'own-driver': driver },
    };
  }

  return {
    trial,
    close: async () => {
      words[CONTROL.operations] = 0;
      Atomics.store(words, CONTROL.start, trials + 1);
      Atomics.notify(words, CONTROL.start);
      await guest.exited;
      own.close();
      await host.close();
      for (const each of images) each.remove();
    },
  };
}

/** Wait until the guest has written something else than `seen` to its answer. */
async function answer(words: Int32Array, seen: number): Promise<void> {
  while (Atomics.load(words, CONTROL.done) === seen) {
    const wait = Atomics.waitAsync(words, CONTROL.done, seen, 1000);
    if (wait.async) await wait.value;
  }
}
