// A guest for tests: reads as much as it gets until it is told to stop. @returns reads done between the signals
import { defineGuest } from 'splitring/guest';
import { WEIGHTED } from './weighted-words.ts';

const DEPTH = 32;

export default defineGuest<{ readonly shared: SharedArrayBuffer }, number>((guest) => {
  const words = new Int32Array(guest.args.shared);
  const disk = guest.disk('xvda');
  const queue = disk.openQueue();
  const buffer = disk.allocate(WEIGHTED.readBytes);
  if (buffer === undefined) throw new Error('no memory for one read');
  const place = queue.placeOf(buffer);
  const places = disk.capacityBytes / WEIGHTED.readBytes;
  let free = DEPTH;
  let sent = 0;
  let done = 0;
  queue.onComplete = (_cookie, status) => {
    if (status !== 0) throw new Error(`a read ends with status ${status}`);
    free += 1;
    if (Atomics.load(words, WEIGHTED.phase) === 1) done += 1;
  };
  Atomics.add(words, WEIGHTED.ready, 1);
  Atomics.notify(words, WEIGHTED.ready);
  while (free < DEPTH || Atomics.load(words, WEIGHTED.phase) < 2) {
    for (; free > 0 && Atomics.load(words, WEIGHTED.phase) < 2; free -= 1) {
      sent += 7; // no two neighbours
      if (!queue.read((sent % places) * WEIGHTED.readBytes, place, WEIGHTED.readBytes, 0)) break;
    }
    queue.publish();
    if (free < DEPTH) queue.wait();
  }
  return done;
});
