// Copying inside a shared WebAssembly.Memory at native speed: a helper of 349 bytes, compiled lazily and synchronously.
//
// `copy-wasm.wat` is its source. Where WebAssembly, threads or SIMD are missing or forbidden, the caller copies itself.

/** A `WebAssembly.Memory` that is shared: all this package needs to know of it. It can be posted to workers. */
export interface SharedWasmMemory {
  /** Its bytes; growing replaces the object, older views stay valid. */
  readonly buffer: SharedArrayBuffer;
}

/** What the helper exports; addresses are byte offsets into the memory it was made for. */
export interface CopyHelper {
  /** Copy `bytes` from `from` to `to`; the ranges must not overlap. Traps outside the memory. */
  copy(to: number, from: number, bytes: number): void;
  /** Store `value` atomically in the word at `at`: as `Atomics.store`, at two thirds of its cost. */
  publish(at: number, value: number): void;
}

interface WasmDoor {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
  readonly Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => SharedWasmMemory;
}

const WASM_PAGE_BYTES = 65536;
const CODE =
  '0061736d01000000010c0260037f7f7f0060027f7f00020b01016d016d020301808004030302000107120204636f70790000077075626c69' +
  '736800010a9e020290020020024180044f0440200020012002fc0a00000f0b02400340200241c000490d0120002001fd000400fd0b040020' +
  '002001fd000410fd0b041020002001fd000420fd0b042020002001fd000430fd0b0430200041c0006a2100200141c0006a2101200241c000' +
  '6b21020c000b0b0240034020024110490d0120002001fd000400fd0b0400200041106a2100200141106a2101200241106b21020c000b0b20' +
  '02410871044020002001290300370300200041086a2100200141086a21010b2002410471044020002001280200360200200041046a210020' +
  '0141046a21010b20024102710440200020012f01003b0100200041026a2100200141026a21010b20024101710440200020012d00003a0000' +
  '0b0b0a0020002001fe1702000b';

let compiled: object | undefined;

/** The engine's WebAssembly, which the ES library types do not declare; undefined where there is none. */
function door(): WasmDoor | undefined {
  return (globalThis as { readonly WebAssembly?: WasmDoor }).WebAssembly;
}

/** Allocate a shared memory of at least `bytes`, or return undefined where the engine refuses. */
export function allocateWasmMemory(bytes: number): SharedWasmMemory | undefined {
  const wasm = door();
  if (wasm === undefined) return undefined;
  const pages = Math.max(1, Math.ceil(bytes / WASM_PAGE_BYTES));
  try {
    return new wasm.Memory({ initial: pages, maximum: pages, shared: true });
  } catch {
    return undefined; // no shared memories here, or not this large
  }
}

/** Compile the helper (once) for `memory`, or return undefined where the engine or a content policy refuses. */
export function compileCopyHelper(memory: SharedWasmMemory): CopyHelper | undefined {
  const wasm = door();
  if (wasm === undefined) return undefined;
  try {
    compiled ??= new wasm.Module(fromHex(CODE));
    const { exports } = new wasm.Instance(compiled, { m: { m: memory } });
    return exports as CopyHelper; // the two functions of copy-wasm.wat
  } catch {
    return undefined;
  }
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
