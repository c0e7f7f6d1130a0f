// The image that a block benchmark reads and writes.
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IMAGE_BYTES } from './params.ts';

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
