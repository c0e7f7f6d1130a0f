// Power cuts under named files: a file found afterwards is one that was there, with its own bytes and no others.
import { DiskFiles } from '@splitring/frontend/sqlite';
import { chance, Machine, PowerCut, type PowerCutOutcome } from './power-cut.ts';

/** What may be found of a file: one life of it, at least so long if it must be there. */
interface Life {
  readonly tag: number;
  syncedBytes: number;
  /** The life was synced and not removed since: it must be there. */
  isOwed: boolean;
}

const NAMES = ['a', 'b', 'c'] as const;

/** Create, append, sync and remove files at random; every life of a file is filled with a byte of its own. */
export function filesLoad(seed: number, isFlushIgnored = false): PowerCutOutcome {
  const next = chance(seed + 5000);
  const machine = new Machine(next, isFlushIgnored);
  const files = DiskFiles.open(machine.disk);
  const lives = new Map<string, Life>();
  let acknowledged = 0;
  let tag = 0;
  machine.cutAfter(50 + next(2500));
  try {
    for (;;) {
      const name = NAMES[next(NAMES.length)] as string; // below its length
      const life = lives.get(name);
      const file = files.open(name, true);
      if (file === undefined) throw new Error('there are four regions for three names');
      if (life === undefined) {
        tag = (tag % 255) + 1;
        lives.set(name, { tag, syncedBytes: 0, isOwed: false });
      } else if (next(4) === 0) {
        life.isOwed = false; // from here on it may be there or not
        files.remove(name);
        lives.delete(name);
        if (next(3) === 0) files.syncDirectory();
      } else if (next(3) === 0) {
        files.sync(file);
        life.isOwed = true;
        life.syncedBytes = file.sizeBytes;
      } else {
        files.write(file, file.sizeBytes, new Uint8Array(1 + next(6000)).fill(life.tag));
      }
      acknowledged += 1;
    }
  } catch (error) {
    if (!(error instanceof PowerCut)) throw error;
  }
  const { flushes } = machine;
  return { losses: findLosses(DiskFiles.open(machine.restart()), lives), flushes, acknowledged };
}

function findLosses(files: DiskFiles, lives: ReadonlyMap<string, Life>): string[] {
  const losses: string[] = [];
  for (const name of NAMES) {
    const life = lives.get(name);
    const file = files.open(name, false);
    if (life?.isOwed === true && (file === undefined || file.sizeBytes < life.syncedBytes)) {
      losses.push(`${name} has ${file?.sizeBytes ?? 'no'} bytes, ${life.syncedBytes} were synced`);
    }
    if (file === undefined || file.sizeBytes === 0) continue;
    const bytes = new Uint8Array(file.sizeBytes);
    files.read(file, 0, bytes);
    if (life?.isOwed === true && bytes[0] !== life.tag) losses.push(`${name} holds ${bytes[0]}, not ${life.tag}`);
    const stranger = bytes.findIndex((byte) => byte !== bytes[0]);
    if (stranger >= 0) losses.push(`${name} holds ${bytes[0]}, but ${bytes[stranger]} at ${stranger}`);
  }
  return losses;
}
