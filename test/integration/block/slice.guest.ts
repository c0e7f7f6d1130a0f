// A guest for tests: fills its whole disk with a pattern of its own, in awkward pieces, and flushes.
import { defineGuest } from 'splitring/guest';
import { sliceBytes } from './slice-bytes.ts';

const PIECES = [512, 4096, 7680, 65_536, 1024];

export default defineGuest<{ readonly number: number }>(async (guest) => {
  const disk = guest.disk('xvda');
  const bytes = sliceBytes(guest.args.number, disk.capacityBytes);
  const writes: Promise<void>[] = [];
  for (let at = 0, i = 0; at < bytes.byteLength; i += 1) {
    const length = Math.min(PIECES[i % PIECES.length] as number, bytes.byteLength - at); // in range
    writes.push(disk.write(at, bytes.subarray(at, at + length)));
    at += length;
  }
  await Promise.all(writes);
  await disk.flush();
  return disk.capacityBytes;
});
