// Counts how often shared memory is read, byte by byte: what a peer can change between two reads must be read once.
import type { Monitor } from '../checker/access.ts';

/** Counts the loads of each byte while it is told to. */
export class Counting implements Monitor {
  isCounting = false;
  private readonly loads = new Map<SharedArrayBuffer, Uint32Array>();

  access({ kind, buffer, at, bytes, perform }: Parameters<Monitor['access']>[0]): unknown {
    if (this.isCounting && kind !== 'store') {
      let counts = this.loads.get(buffer);
      if (counts === undefined) {
        counts = new Uint32Array(buffer.byteLength);
        this.loads.set(buffer, counts);
      }
      for (let i = at; i < at + bytes; i += 1) counts[i] = (counts[i] as number) + 1; // inside the buffer
    }
    return perform();
  }

  wait(): string {
    throw new Error('nothing waits here');
  }

  notify(): number {
    return 0;
  }

  /** Most loads of any byte in a range. */
  most(buffer: ArrayBufferLike, at: number, bytes: number): number {
    return Math.max(...(this.loads.get(buffer as SharedArrayBuffer)?.subarray(at, at + bytes) ?? [0]));
  }
}
