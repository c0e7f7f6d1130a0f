// The split disk: a guest's load through front end, ring, back end, native driver, NVMe model and IOMMU to a real file.
//
// Beside each trial the guest's thread and this one, held on the driver domain's core, run the same load by themselves.
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHost } from 'splitring';
import { pinThread, threadId } from '../../harness/affinity.ts';
import type { OpenSubject, Trial } from '../../harness/contract.ts';
import { OwnLoop } from '../own-loop.ts';
import { type BlockParams, CONTROL, IMAGE_BYTES, RESULT } from '../params.ts';
import type { LoadArguments } from './load.guest.ts';

/** A file of its own for this process, every page of it written and cached. */
export function makeImage(): { readonly path: string; readonly remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'splitring-bench-'));
  const path = join(folder, 'disk.img');
  const file = openSync(path, 'w');
  const chunk = new Uint8Array(1 << 20);
  for (let at = 0; at < IMAGE_BYTES; at += chunk.length) writeSync(file, chunk.fill(at >> 20), 0, chunk.length, at);
  closeSync(file);
  return { path, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

function threads(): string[] {
  try {
    return readdirSync('/proc/self/task');
  } catch {
    return [];
  }
}

/** Open the subject. */
export async function open(params: BlockParams): Promise<OpenSubject> {
  const image = makeImage();
  const before = new Set(threads());
  const host = await createHost({ driverDomains: [{ name: 'io', disks: { vol0: { image: image.path } } }] });
  for (const id of threads()) if (!before.has(id)) pinThread(Number(id), 1);
  const control = new SharedArrayBuffer(CONTROL.words * 4);
  const result = new SharedArrayBuffer(RESULT.doubles * 8);
  const words = new Int32Array(control);
  const results = new Float64Array(result);
  const isBusyTimed = params['busy'] === true;
  const args: LoadArguments = { control, result, image: image.path, params, seed: 7, hasBase: true, isBusyTimed };
  const guest = await host.createDomain({
    name: 'load',
    program: new URL('./load.guest.js', import.meta.url),
    args,
    disks: [{ name: 'xvda', from: 'vol0' }],
  });
  await answer(words, 0);
  pinThread(words[CONTROL.thread], 0);
  pinThread(threadId(), 1);
  const own = new OwnLoop(image.path, params, 99);
  let trials = 0;

  async function trial(operations: number): Promise<Trial> {
    const base = Math.max(16, operations >> 2);
    const driverBefore = own.run(base);
    trials += 1;
    words[CONTROL.operations] = operations;
    Atomics.store(words, CONTROL.start, trials);
    Atomics.notify(words, CONTROL.start);
    await answer(words, trials - 1 === 0 ? -1 : trials - 1);
    const driver = (driverBefore + own.run(base)) / 2;
    const guestOwn = results[RESULT.ownNs] as number; // the buffer has all doubles
    return {
      value: results[RESULT.splitNs] as number,
      metrics: { busy: results[RESULT.busyNs] as number },
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
      image.remove();
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
