// Where the memory of a host's extents comes from, by its configuration.
import { type MemorySource, separateBuffers, sharedWasmMemory, wasmMemoryPerExtent } from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import type { CheckedHost } from './config.ts';

/** Where extents come from. @throws SplitringError BAD_CONFIG if there is no shared memory of that size */
export function memorySource(extents: CheckedHost['extents']): MemorySource {
  if (extents === 'separate') return separateBuffers;
  if (extents === 'separate-wasm') return wasmMemoryPerExtent();
  try {
    return sharedWasmMemory(extents.shared);
  } catch (cause) {
    const message = `Cannot make a host: extents: no shared WebAssembly memory of ${extents.shared} bytes`;
    throw new SplitringError('BAD_CONFIG', message, { path: 'extents' }, cause);
  }
}
