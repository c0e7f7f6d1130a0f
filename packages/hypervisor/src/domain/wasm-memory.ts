// Extents out of one shared WebAssembly.Memory: copies between all of them run at native speed, at the price that every
// domain holds all of it. Isolation is by discipline only then, and who chooses it must say so.

import { PAGE_SIZE } from '../ids.ts';
import type { MemorySource } from './memory-builder.ts';

/** What this needs of a WebAssembly.Memory that was made with `shared: true` and its full size. */
export interface SharedWasmMemory {
  /** The memory. */
  readonly buffer: ArrayBufferLike;
}

interface Hole {
  readonly from: number;
  readonly lengthBytes: number;
}

/**
 * Hand out regions of one shared wasm memory, first fit; released regions are zeroed and used again.
 *
 * @example
 * const memory = new WebAssembly.Memory({ initial: 1024, maximum: 1024, shared: true });
 * const hypervisor = new Hypervisor({ memory: wasmMemorySource(memory) });
 */
export function wasmMemorySource(memory: SharedWasmMemory, reservedBytes = 64 * 1024): MemorySource {
  const { buffer } = memory;
  if (!(buffer instanceof SharedArrayBuffer)) throw new TypeError('Cannot share a wasm memory: it is not a shared one');
  let holes: Hole[] = [{ from: reservedBytes, lengthBytes: buffer.byteLength - reservedBytes }];
  return {
    allocate(lengthBytes) {
      const at = holes.findIndex((hole) => hole.lengthBytes >= lengthBytes);
      const hole = holes[at];
      if (hole === undefined || lengthBytes % PAGE_SIZE !== 0) {
        throw new RangeError(`Cannot allocate ${lengthBytes} bytes of wasm memory: no room of that size is left`);
      }
      holes.splice(at, 1, { from: hole.from + lengthBytes, lengthBytes: hole.lengthBytes - lengthBytes });
      return { buffer, byteOffset: hole.from };
    },
    release(_buffer, byteOffset, lengthBytes) {
      new Uint8Array(buffer, byteOffset, lengthBytes).fill(0);
      holes = joined([...holes, { from: byteOffset, lengthBytes }]);
    },
  };
}

/** Holes in order, neighbours made one, empty ones dropped. */
function joined(holes: readonly Hole[]): Hole[] {
  const result: Hole[] = [];
  for (const hole of [...holes].sort((a, b) => a.from - b.from)) {
    const last = result.at(-1);
    if (hole.lengthBytes === 0) continue;
    if (last !== undefined && last.from + last.lengthBytes === hole.from) {
      result[result.length - 1] = { from: last.from, lengthBytes: last.lengthBytes + hole.lengthBytes };
    } else {
      result.push(hole);
    }
  }
  return result;
}
