// A guest that reads and writes as programs do: `await disk.read(…)` in as many loops as requests are in flight, or
// `disk.readSync(…)`.
import { defineGuest, type GuestContext } from 'splitring/guest';
import { Positions } from '../params.ts';
import type { LoadTime } from '../queue-load.ts';
import { type GuestLoad, type LoadArguments, serveTrials } from './serve-trials.ts';

class ProgramLoad implements GuestLoad {
  private readonly disk: ReturnType<GuestContext['disk']>;
  private readonly isRead: boolean;
  private readonly isSync: boolean;
  private readonly positions: Positions;
  private readonly buffers: readonly Uint8Array[];

  constructor(guest: GuestContext<LoadArguments>) {
    const { params, seed } = guest.args;
    const { bytes, depth } = params;
    const disk = guest.disk('xvda');
    this.disk = disk;
    this.isRead = params.op === 'read';
    this.isSync = params['style'] === 'sync';
    this.positions = new Positions(params, seed);
    this.buffers = Array.from({ length: depth }, () => disk.allocate(bytes) ?? new Uint8Array(bytes));
  }

  get counters() {
    return this.disk.counters;
  }

  async run(operations: number): Promise<LoadTime> {
    const from = performance.now();
    if (this.isSync) this.callEach(operations);
    else await this.awaitEach(operations);
    return { elapsedNs: (performance.now() - from) * 1e6, busyNs: Number.NaN };
  }

  private async awaitEach(operations: number): Promise<void> {
    const { disk, isRead, positions } = this;
    let left = operations;
    await Promise.all(
      this.buffers.map(async (buffer) => {
        for (; left > 0; ) {
          left -= 1;
          await (isRead ? disk.read(positions.next(), buffer) : disk.write(positions.next(), buffer));
        }
      }),
    );
  }

  private callEach(operations: number): void {
    const { disk, isRead, positions, buffers } = this;
    const buffer = buffers[0] as Uint8Array; // the depth is 1 at least
    for (let i = 0; i < operations; i += 1) {
      if (isRead) disk.readSync(positions.next(), buffer);
      else disk.writeSync(positions.next(), buffer);
    }
  }
}

export default defineGuest<LoadArguments>((guest) => serveTrials(guest.args, new ProgramLoad(guest)));
