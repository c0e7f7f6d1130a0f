// A guest of store-threads.test.ts: it hands a counter back and forth with its peer through the store, and parks between.
import { parentPort, workerData } from 'node:worker_threads';
import { RingXenstoreClient } from '@splitring/hypervisor';

/** What the test hands over. */
export interface StoreGuestData {
  readonly domid: number;
  readonly peer: number;
  readonly page: Uint8Array;
  /** Word 0 rings the server, word `domid` this guest. */
  readonly bells: Int32Array;
  readonly rounds: number;
}

const { domid, peer, page, bells, rounds } = workerData as StoreGuestData;
const store = new RingXenstoreClient({
  page,
  notify: () => {
    Atomics.add(bells, 0, 1);
    Atomics.notify(bells, 0);
  },
});

let mine = 0;
let commits = 0;
let timeouts = 0;
let isAnswering = false; // an event may come twice

/** Answer the peer's number with the next one, inside a transaction that also reads what we wrote before. */
function answer(theirs: number): void {
  isAnswering = true;
  store.transaction((start) => {
    if (!start.ok) throw new Error(start.error);
    const transaction = start.value;
    transaction.read('data/count', (before) => {
      if (before.ok && Number(before.value) !== mine) throw new Error(`wrote ${mine}, read ${before.value}`);
      mine = theirs + 1;
      transaction.write('data/count', String(mine));
      transaction.end(true, (end) => {
        if (!end.ok) throw new Error(end.error);
        commits += 1;
        isAnswering = false;
        look(); // what came meanwhile
      });
    });
  });
}

function look(): void {
  store.read(`/local/domain/${peer}/data/count`, (reply) => {
    const theirs = reply.ok ? Number(reply.value) : -1;
    if (!isAnswering && theirs >= mine && theirs < rounds) answer(theirs);
  });
}

store.watch(`/local/domain/${peer}/data/count`, look);
if (domid === 1) store.write('data/count', '0');

while (mine < rounds - 1 || commits < Math.floor(rounds / 2) - 1) {
  const seen = Atomics.load(bells, domid);
  while (store.poll());
  if (mine >= rounds - 1 && commits >= Math.floor(rounds / 2) - 1) break;
  if (store.arm()) continue;
  if (Atomics.wait(bells, domid, seen, 5000) === 'timed-out') {
    timeouts += 1;
    if (timeouts > 1) break;
  }
}
parentPort?.postMessage({ mine, commits, timeouts, strays: store.strayMessages });
