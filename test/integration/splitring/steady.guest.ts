// A guest for tests: writes and reads in a loop until told to stop, counting operations.
import { defineGuest } from 'splitring/guest';

export default defineGuest(async (guest) => {
  const disk = guest.disk('xvda');
  const buffer = new Uint8Array(16 * 1024);
  while (!guest.signal.aborted) {
    await disk.write(0, buffer);
    await disk.read(0, buffer);
    await disk.flush();
    guest.counters.add('operations', 3);
  }
  return 'stopped';
});
