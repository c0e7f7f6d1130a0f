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
  const places = Array.from({ length: depth }, () => {
    const buffer = disk.allocate(CROWD_BYTES);
    if (buffer === undefined) throw new Error(`Cannot read ${depth} pages at once: the disk has no memory for so many`);
    return queue.placeOf(buffer);
  });
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

  /** Take some of what is left to do. @returns how many reads */
  function draw(): number {
    return Atomics.load(words, CROWD.left) > 0 && Atomics.sub(words, CROWD.left, DRAW) > 0 ? DRAW : 0;
  }

  function stage(): void {
    const cookie = free[taken % depth] as number; // in range
    if (!queue.read(positions.next(), places[cookie] as number, CROWD_BYTES, cookie)) {
      throw new Error(`Cannot read with ${depth - freeCount} reads in flight: the queue refuses`);
    }
    taken = (taken + 1) % depth;
    freeCount -= 1;
  }

  function run(): number {
    let drawn = 0;
    let total = 0;
    for (;;) {
      while (freeCount > 0) {
        if (drawn === 0) drawn = draw();
        if (drawn === 0) break;
        stage();
        drawn -= 1;
        total += 1;
      }
      queue.publish();
      if (freeCount === depth) return total;
      queue.wait();
    }
  }

  Atomics.add(words, CROWD.ready, 1);
  Atomics.notify(words, CROWD.ready);
  for (let trial = 0; ; ) {
    Atomics.wait(words, CROWD.trial, trial);
    trial = Atomics.load(words, CROWD.trial);
    if (trial < 0) return failures;
    done[index] = run();
    Atomics.add(words, CROWD.finished, 1);
    Atomics.notify(words, CROWD.finished);
  }
});
