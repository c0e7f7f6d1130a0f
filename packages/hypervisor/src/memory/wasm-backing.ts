// The WebAssembly.Memory that extents may lie in.

/** A WebAssembly.Memory made with `shared: true`: all that is needed of it. It can be posted to workers. */
export interface SharedWasmMemory {
  /** Its bytes. */
  readonly buffer: SharedArrayBuffer;
}

/** A WebAssembly.Memory that extents lie in. */
export interface WasmBacking {
  /** Its number on this machine, never used again. */
  readonly id: number;
  /** The memory. */
  readonly memory: SharedWasmMemory;
}
