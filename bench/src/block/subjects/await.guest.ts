// A guest that awaits each request, as most programs do: `await disk.read(…)` in as many loops as requests are in flight.
import { defineGuest } from 'splitring/guest';
import { Positions } from '../params.ts';
import { type GuestLoad, type LoadArguments, serveTrials } from './serve-trials.ts';

export default defineGuest<LoadArguments>(async (guest) => {
  const { args } = guest;
  const { bytes, depth, op } = args.params;
  const disk = guest.disk('xvda');
  const positions = new Positions(args.params, args.seed);
  const buffers = Array.from({ length: depth }, () => disk.allocate(bytes) ?? new Uint8Array(bytes));
  const load: GuestLoad = {
    get counters() {
      return disk.counters;
    },
    run: async (operations) => {
      let left = operations;
      const from = performance.now();
      await Promise.all(
        buffers.map(async (buffer) => {
          while (left > 0) {
            left -= 1;
            if (op === 'read') await disk.read(positions.next(), buffer);
            else await disk.write(positions.next(), buffer);
          }
        }),
      );
      return { elapsedNs: (performance.now() - from) * 1e6, busyNs: Number.NaN };
    },
  };
  await serveTrials(args, load);
});
