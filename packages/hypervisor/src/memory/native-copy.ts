// Copies between extents at the speed of the engine's own memory.copy, which Uint8Array.set does not have for memory that
// threads share: V8 moves such bytes a word at a time.
//
// Within one WebAssembly.Memory the ring package's helper does it. Between two memories it takes an engine with several
// memories in one module (V8 12, Node 22); elsewhere there is no function, and the caller uses `set`.
import { SharedMemory } from 'sharedarraybuffer-ring';
import type { ExtentGrant } from './extent.ts';
import type { SharedWasmMemory } from './wasm-backing.ts';

/** Copy `lengthBytes` from byte `from` of one memory to byte `to` of another; traps outside of them. */
export type NativeCopyFunction = (to: number, from: number, lengthBytes: number) => void;

/** What this needs of the engine's WebAssembly, which the ES library types do not declare. */
interface WasmDoor {
  readonly Module: new (code: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: object,
  ) => { readonly exports: { readonly copy: NativeCopyFunction } };
}

interface Known {
  readonly memory: SharedWasmMemory;
  readonly buffer: SharedArrayBuffer;
  extents: number;
}

/**
 * (module
 *   (import "m" "f" (memory 1 65536 shared)) (import "m" "t" (memory 1 65536 shared))
 *   (func (export "copy") (param i32 i32 i32)
 *     (memory.copy 1 0 (local.get 0) (local.get 1) (local.get 2))))
 */
const CROSS_CODE =
  '0061736d0100000001070160037f7f7f000215' +
  '02016d0166020301808004016d01740203018080040302010007080104636f707900000a0e010c00200020012002fc0a01000b';

/** A pair of memories as one number: ids stay far below 2^26. */
const PAIR = 1 << 26;

let crossModule: object | undefined | null = null;

/** The module that copies between two memories; undefined where the engine refuses it. */
function crossCopy(): object | undefined {
  if (crossModule !== null) return crossModule;
  const wasm = (globalThis as { readonly WebAssembly?: WasmDoor }).WebAssembly; // undeclared, see above
  try {
    crossModule = wasm === undefined ? undefined : new wasm.Module(fromHex(CROSS_CODE));
  } catch {
    crossModule = undefined; // one memory to a module here, or none at all
  }
  return crossModule;
}

/** Whether this engine copies natively between two separate memories. */
export function canCopyBetweenMemories(): boolean {
  return crossCopy() !== undefined;
}

/** The wasm memories behind one thread's extents, and functions that copy within and between them. */
export class NativeCopy {
  readonly #memories = new Map<number, Known>();
  readonly #ids = new WeakMap<ArrayBufferLike, number>();
  readonly #functions = new Map<number, NativeCopyFunction | undefined>();

  /** Take note of an extent's memory. @returns the grant with the one buffer object that stands for that memory here */
  adopt(grant: ExtentGrant): ExtentGrant {
    const { wasm } = grant;
    if (wasm === undefined) return grant;
    let known = this.#memories.get(wasm.id);
    if (known === undefined) {
      known = { memory: wasm.memory, buffer: wasm.memory.buffer, extents: 0 };
      this.#memories.set(wasm.id, known);
      this.#ids.set(known.buffer, wasm.id);
    }
    known.extents += 1;
    return { ...grant, buffer: known.buffer };
  }

  /** An extent is no longer held. */
  forget(grant: ExtentGrant): void {
    const id = grant.wasm?.id;
    const known = id === undefined ? undefined : this.#memories.get(id);
    if (id === undefined || known === undefined) return;
    known.extents -= 1;
    if (known.extents > 0) return;
    this.#memories.delete(id);
    for (const pair of this.#functions.keys()) {
      if (pair % PAIR === id || Math.floor(pair / PAIR) === id) this.#functions.delete(pair);
    }
  }

  /** The memory that a view of an extent lies in; -1 for plain buffers. */
  memoryOf(bytes: Uint8Array): number {
    return this.#ids.get(bytes.buffer) ?? -1;
  }

  /** What copies from memory `from` to memory `to`; undefined where nothing does: use `Uint8Array.set`. */
  between(from: number, to: number): NativeCopyFunction | undefined {
    const pair = from * PAIR + to;
    if (this.#functions.has(pair)) return this.#functions.get(pair);
    const copy = this.#make(this.#memories.get(from)?.memory, this.#memories.get(to)?.memory);
    this.#functions.set(pair, copy);
    return copy;
  }

  #make(from: SharedWasmMemory | undefined, to: SharedWasmMemory | undefined): NativeCopyFunction | undefined {
    if (from === undefined || to === undefined) return undefined;
    if (from === to) return SharedMemory.open({ memory: from }).helper?.copy;
    const module = crossCopy();
    if (module === undefined) return undefined;
    const wasm = (globalThis as unknown as { readonly WebAssembly: WasmDoor }).WebAssembly; // untyped without DOM; crossCopy has used it
    return new wasm.Instance(module, { m: { f: from, t: to } }).exports.copy;
  }
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
