// One of many guests: draws reads from a common pool, keeps its depth in flight, sleeps for the answers.
import { defineGuest } from 'splitring/guest';
import { CROWD, CROWD_BYTES } from '../crowd-params.ts';
import { type BlockParams, Positions } from '../params.ts';

/** What the bench hands to a guest. */
export interface CrowdArguments {
  readonly shared: SharedArrayBuffer;
  /** One word per guest: reads done in the trial. */
  readonly counts: SharedArrayBuffer;
  readonly index: number;
  readonly depth: number;
  readonly pattern: string;
}

/** Reads drawn from the pool at once. */
const DRAW = 16;

export default defineGuest<CrowdArguments, number>((guest) => {
  const { shared, counts, index, depth, pattern } = guest.args;
  const words = new Int32Array(shared);
  const done = new Int32Array(counts);
  const disk = guest.disk('xvda');
  const queue = disk.openQueue();
  const buffers = Array.from({ length: depth }, () => disk.allocate(CROWD_BYTES));
  const places = buffers.map((buffer) => (buffer === undefined ? 0 : queue.placeOf(buffer)));
  const params: BlockParams = { bytes: CROWD_BYTES, depth, pattern, op: 'read' };
  const positions = new Positions(params, index * 977);
  const free = Int32Array.from(places.keys());
  let taken = 0;
  let freeCount = depth;
  let failures = 0;
  queue.onComplete = (cookie, status) => {
    free[(taken + freeCount) % depth] = cookie; // first in, first out: neighbours stay neighbours in memory
    freeCount += 1;
    if (status !== 0) failures += 1;
  };

  /** Stage up to `most` reads. @returns how many */
  function refill(most: number): number {
    let count = 0;
    for (; freeCount > 0 && count < most; count += 1) {
      const cookie = free[taken % depth] as number; // in range
      queue.read(positions.next(), places[cookie] as number, CROWD_BYTES, cookie);
      taken = (taken + 1) % depth;
      freeCount -= 1;
    }
    queue.publish();
    return count;
  }

  function run(): number {
    let drawn = 0;
    let total = 0;
    for (;;) {
      if (drawn === 0 && Atomics.load(words, CROWD.left) > 0 && Atomics.sub(words, CROWD.left, DRAW) > 0) drawn = DRAW;
      if (drawn === 0 && freeCount === depth) return total;
      if (drawn > 0 && freeCount > 0) {
        const staged = refill(drawn);
        drawn -= staged;
        total += staged;
        if (freeCount > 0) continue;
      }
      queue.wait();
    }
  }

  for (let trial = 0; ; ) {
    Atomics.wait(words, CROWD.trial, trial);
    trial = Atomics.load(words, CROWD.trial);
    if (trial < 0) return failures;
    done[index] = run();
    Atomics.add(words, CROWD.finished, 1);
    Atomics.notify(words, CROWD.finished);
  }
});
