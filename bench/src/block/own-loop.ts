// The baseline: this very thread calling fs by itself, one request after the other.
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { type BlockParams, Positions } from './params.ts';

/** A loop over the image, into shared memory as a guest's would be. */
export class OwnLoop {
  private readonly file: number;
  private readonly params: BlockParams;
  private readonly positions: Positions;
  private readonly buffers: readonly Uint8Array[];
  private turn = 0;

  constructor(image: string, params: BlockParams, seed: number) {
    this.file = openSync(image, 'r+');
    this.params = params;
    this.positions = new Positions(params, seed);
    // As many buffers as the other side has in flight, so that caches see the same.
    const memory = new SharedArrayBuffer(params.bytes * params.depth);
    this.buffers = Array.from(
      { length: params.depth },
      (_, i) => new Uint8Array(memory, i * params.bytes, params.bytes),
    );
  }

  /** Nanoseconds per operation of `operations` calls. */
  run(operations: number): number {
    const { file, params, positions, buffers } = this;
    const isRead = params.op === 'read';
    const from = performance.now();
    for (let i = 0; i < operations; i += 1) {
      this.turn = (this.turn + 1) % buffers.length;
      const buffer = buffers[this.turn] as Uint8Array; // in range
      if (isRead) readSync(file, buffer, 0, params.bytes, positions.next());
      else writeSync(file, buffer, 0, params.bytes, positions.next());
    }
    return ((performance.now() - from) * 1e6) / operations;
  }

  /** Close the file. */
  close(): void {
    closeSync(this.file);
  }
}
