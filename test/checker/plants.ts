// Plant a bug: the shipped sources of the ring with one line changed, imported as a package of its own.
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The ring's door, shipped or planted. */
export type RingLibrary = typeof import('sharedarraybuffer-ring');

/** One changed line. */
export interface Plant {
  /** What the bug is called. */
  readonly name: string;
  /** Which file of `packages/ring/src`. */
  readonly file: string;
  /** Text that occurs exactly once there, so that a plant cannot silently miss. */
  readonly find: string;
  readonly replace: string;
}

const sources = fileURLToPath(new URL('../../packages/ring/src', import.meta.url));

/** Import the ring with `plant` in it. The copy's path follows from its text, so that compilers may cache it. */
export async function plantBug(plant: Plant): Promise<RingLibrary> {
  const text = readFileSync(join(sources, plant.file), 'utf8');
  const parts = text.split(plant.find);
  if (parts.length !== 2)
    throw new Error(`plant "${plant.name}" finds its line ${parts.length - 1} times in ${plant.file}`);
  const planted = parts.join(plant.replace);
  const id = createHash('sha256').update(plant.file).update(planted).digest('hex').slice(0, 16);
  const home = join(tmpdir(), `splitring-plants-${process.pid}`, id);
  if (!existsSync(home)) {
    const parent = join(home, '..');
    mkdirSync(parent, { recursive: true });
    const fresh = mkdtempSync(join(parent, 'new-'));
    cpSync(sources, fresh, { recursive: true });
    writeFileSync(join(fresh, 'package.json'), '{"type":"module"}');
    writeFileSync(join(fresh, plant.file), planted);
    renameSync(fresh, home);
  }
  return (await import(pathToFileURL(join(home, 'index.ts')).href)) as RingLibrary; // a copy of the door
}

/** Remove every planted copy; call when all are imported. */
export function removePlants(): void {
  rmSync(join(tmpdir(), `splitring-plants-${process.pid}`), { recursive: true, force: true });
}
