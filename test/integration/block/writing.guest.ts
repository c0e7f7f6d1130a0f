// A guest for tests: fills its disk with a pattern, never flushes, and counts what was acknowledged; or verifies it.
import { defineGuest } from 'splitring/guest';
import { blockOf } from './written-block.ts';

const DEPTH = 8;

export default defineGuest<{ readonly verify: number } | undefined>(async (guest) => {
  const disk = guest.disk('xvda');
  const blocks = disk.capacityBytes / 4096;
  if (guest.args !== undefined) {
    const seen = new Uint8Array(4096);
    for (let block = 0; block < guest.args.verify; block += 1) {
      await disk.read(block * 4096, seen);
      if (Buffer.compare(seen, blockOf(block)) !== 0) return `block ${block} is lost`;
    }
    return 'all there';
  }
  for (let first = 0; first + DEPTH <= blocks; first += DEPTH) {
    const writes = Array.from({ length: DEPTH }, (_, i) => disk.write((first + i) * 4096, blockOf(first + i)));
    await Promise.all(writes);
    guest.counters.add('acknowledged', DEPTH);
  }
  return 'the disk is full';
});
