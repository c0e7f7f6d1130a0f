// Extents out of WebAssembly memories, between which drivers copy natively: one memory for each extent, or one for all.
import { PAGE_SIZE } from '../ids.ts';
import type { SharedWasmMemory } from '../memory/wasm-backing.ts';
import { type MemorySource, separateBuffers } from './memory-builder.ts';

/** What this needs of the engine's WebAssembly, which the ES library types do not declare. */
interface WasmDoor {
  readonly Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => SharedWasmMemory;
}

const WASM_PAGE_BYTES = 65_536;

interface Hole {
  readonly from: number;
  readonly lengthBytes: number;
}

/** Make a shared memory of at least `lengthBytes`. @throws RangeError where the engine has none of that size */
function makeMemory(lengthBytes: number): SharedWasmMemory {
  const wasm = (globalThis as { readonly WebAssembly?: WasmDoor }).WebAssembly; // undeclared, see above
  if (wasm === undefined) throw new RangeError('Cannot make a wasm memory: this engine has no WebAssembly');
  const pages = Math.ceil(lengthBytes / WASM_PAGE_BYTES);
  return new wasm.Memory({ initial: pages, maximum: pages, shared: true });
}

/**
 * Every extent a WebAssembly.Memory of its own: as isolated as buffers of their own, and copied natively by engines that
 * copy between memories (`canCopyBetweenMemories`). Where the engine gives no more memories, plain buffers take over.
 */
export function wasmMemoryPerExtent(): MemorySource {
  let nextId = 1;
  return {
    allocate(lengthBytes) {
      let memory: SharedWasmMemory;
      try {
        memory = makeMemory(lengthBytes);
      } catch {
        return separateBuffers.allocate(lengthBytes); // each reserves gigabytes of addresses: they may run out
      }
      const id = nextId;
      nextId += 1;
      return { buffer: memory.buffer, byteOffset: 0, wasm: { id, memory } };
    },
    release: () => {},
  };
}

/**
 * All extents in one shared memory, first fit; released regions are zeroed and used again. The fastest copies on every
 * engine, at the price that every domain holds all of it: isolation is by discipline only, and who chooses this must say so.
 *
 * @example
 * const memory = new WebAssembly.Memory({ initial: 1024, maximum: 1024, shared: true });
 * const hypervisor = new Hypervisor({ memory: wasmMemorySource(memory) });
 */
export function wasmMemorySource(memory: SharedWasmMemory, reservedBytes = WASM_PAGE_BYTES): MemorySource {
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
      return { buffer, byteOffset: hole.from, wasm: { id: 0, memory } };
    },
    release(_buffer, byteOffset, lengthBytes) {
      new Uint8Array(buffer, byteOffset, lengthBytes).fill(0);
      holes = joined([...holes, { from: byteOffset, lengthBytes }]);
    },
  };
}

/** A source as `wasmMemorySource` makes it, over a fresh memory of `lengthBytes`. @throws RangeError */
export function sharedWasmMemory(lengthBytes: number): MemorySource {
  return wasmMemorySource(makeMemory(lengthBytes));
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
