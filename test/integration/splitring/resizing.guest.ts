// A guest for tests: tells the size of its disk, and writes the last block of every size that it sees.
import { defineGuest } from 'splitring/guest';

export default defineGuest(async (guest) => {
  const disk = guest.disk('xvda');
  let sizes = 0;
  let tell = () => {};
  disk.onChange = () => tell();
  while (!guest.signal.aborted) {
    const changed = new Promise<void>((resolve) => {
      tell = resolve;
      guest.signal.addEventListener('abort', () => resolve());
    });
    await disk.write(disk.capacityBytes - 512, new Uint8Array(512).fill(0xa0 + sizes));
    await disk.flush();
    guest.counters.set('bytes', disk.capacityBytes);
    await changed;
    sizes += 1;
  }
  return sizes;
});
