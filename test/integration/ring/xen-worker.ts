// The workers of the Xen ring's integration tests: a front end that replays when its back end died, and a back end.
import { parentPort, workerData } from 'node:worker_threads';
import { BackRing, FrontRing, i32, initRing, struct, u64 } from 'sharedarraybuffer-ring';

/** What a worker is told. */
export interface XenTask {
  readonly role: 'front' | 'back';
  readonly region: SharedArrayBuffer;
  /** Words as in `WORDS`. */
  readonly words: Int32Array;
  readonly requests: number;
  /** Looks at the ring before sleeping: 0 sleeps at once. */
  readonly spins: number;
  /** Index at which both ends attach in the first epoch. */
  readonly at: number;
  /** A back end's epoch: it attaches once the front end has made the ring of this epoch. */
  readonly epoch: number;
}

/** Doorbells; an even epoch is a ring in use, an odd one a dead back end; answered: progress of the front end. */
export const WORDS = { frontBell: 0, backBell: 1, epoch: 2, done: 3, answered: 4 } as const;

const SLOT_BYTES = 112;
const LOST_MS = 10_000;
const request = struct({ id: u64, seed: i32 });
const response = struct({ id: u64, sum: i32 });
const PAYLOAD_WORDS = 24;
const payloadAt = 16;

function ringBell(words: Int32Array, bell: number): void {
  Atomics.add(words, bell, 1);
  Atomics.notify(words, bell);
}

/** Spin, sample the bell, look once more, sleep. Nobody may sleep for long here: that is a lost wake-up. */
function idle(task: XenTask, bell: number, isReady: () => boolean, finalCheck: () => boolean): void {
  for (let i = 0; i < task.spins; i += 1) if (isReady()) return;
  const sampled = Atomics.load(task.words, bell);
  if (finalCheck()) return;
  if (Atomics.wait(task.words, bell, sampled, LOST_MS) === 'timed-out') throw new Error(`lost wake-up at bell ${bell}`);
}

/** Send every request, answered exactly once each, whatever dies. */
function runFront(task: XenTask): void {
  const { words } = task;
  const region = new Uint8Array(task.region);
  const isDead = () => (Atomics.load(words, WORDS.epoch) & 1) === 1;
  const inFlight = new Map<number, true>(); // in the order of sending: what is replayed
  let ring = new FrontRing(region, SLOT_BYTES, { at: task.at });
  let fresh = 0;
  let answered = 0;
  const stage = (id: number) => {
    const slot = ring.stageRequest();
    if (slot < 0) return false;
    request.set.id(ring.view, slot, id);
    request.set.seed(ring.view, slot, Math.imul(id, 31));
    for (let i = 0; i < PAYLOAD_WORDS; i += 1)
      ring.view.setInt32(slot + payloadAt + i * 4, Math.imul(id + i, 2654435761 | 0), true);
    return true;
  };
  while (answered < task.requests) {
    if (isDead()) {
      initRing(region);
      ring = new FrontRing(region, SLOT_BYTES);
      Atomics.add(words, WORDS.epoch, 1);
      Atomics.notify(words, WORDS.epoch);
      for (const id of inFlight.keys()) if (!stage(id)) throw new Error('more in flight than slots');
    }
    while (fresh < task.requests && stage(fresh)) {
      inFlight.set(fresh, true);
      fresh += 1;
    }
    if (ring.pushRequests()) ringBell(words, WORDS.backBell);
    if (ring.availableResponses() < 0) throw ring.broken ?? new Error('broken without a reason');
    while (ring.takeResponse()) {
      const id = response.get.id(ring.response, 0);
      if (!inFlight.delete(id)) throw new Error(`answer to ${id}, which is not in flight`);
      let sum = Math.imul(id, 31);
      for (let i = 0; i < PAYLOAD_WORDS; i += 1) sum = (sum + Math.imul(id + i, 2654435761 | 0)) | 0;
      if (response.get.sum(ring.response, 0) !== sum) throw new Error(`answer to ${id} is wrong`);
      answered += 1;
    }
    Atomics.store(words, WORDS.answered, answered);
    const canSend = fresh < task.requests && !ring.isFull;
    if (answered < task.requests && !canSend) {
      const isReady = () => ring.availableResponses() !== 0 || isDead();
      idle(task, WORDS.frontBell, isReady, () => ring.finalCheck() || isDead());
    }
  }
  Atomics.store(words, WORDS.done, 1);
  ringBell(words, WORDS.backBell);
}

/** Answer until the front end is done; every other batch in reverse order. */
function runBack(task: XenTask): void {
  const { words } = task;
  for (let now = Atomics.load(words, WORDS.epoch); now !== task.epoch; now = Atomics.load(words, WORDS.epoch)) {
    Atomics.wait(words, WORDS.epoch, now, 100);
    if (Atomics.load(words, WORDS.done) === 1) return;
  }
  const ring = new BackRing(new Uint8Array(task.region), SLOT_BYTES, { at: task.epoch === 0 ? task.at : 0 });
  const batch: { id: number; sum: number }[] = [];
  const isDone = () => Atomics.load(words, WORDS.done) === 1;
  for (let round = 0; !isDone(); round += 1) {
    if (ring.availableRequests() < 0) throw ring.broken ?? new Error('broken without a reason');
    while (ring.takeRequest()) {
      let sum = request.get.seed(ring.request, 0);
      for (let i = 0; i < PAYLOAD_WORDS; i += 1) sum = (sum + ring.request.getInt32(payloadAt + i * 4, true)) | 0;
      batch.push({ id: request.get.id(ring.request, 0), sum });
    }
    if (round % 2 === 1) batch.reverse();
    for (const answer of batch.splice(0)) response.write(ring.view, ring.stageResponse(), answer);
    if (ring.pushResponses()) ringBell(words, WORDS.frontBell);
    idle(
      task,
      WORDS.backBell,
      () => ring.availableRequests() !== 0,
      () => ring.finalCheck() || isDone(),
    );
  }
}

const task = workerData as XenTask | null; // null where a test imports this for its types
if (task !== null) {
  if (task.role === 'front') runFront(task);
  else runBack(task);
  parentPort?.postMessage('done');
}
