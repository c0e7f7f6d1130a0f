// Small worlds in which the Xen ring is explored: two slots, three requests, a doorbell each, or a hostile peer.
import type { EndProgram, Outcome, Probe, Scenario } from './explore.ts';
import type { RingLibrary } from './plants.ts';

const FRONT = 0;
const BACK = 1;
const SLOTS = 2;
const SLOT_BYTES = 8;
const COUNT = 3; // requests of a run; one less where somebody dies
const EPOCH = 2; // third word of the bells: 0 at first, 1 once the back end is known dead, 2 once the front end replayed

/** The shared memory of one connection. */
export interface XenWorld {
  readonly region: SharedArrayBuffer;
  readonly bells: SharedArrayBuffer;
}

/** Which mistake an end's own program makes, if any. */
export interface Habits {
  /** Sample the doorbell after the final check: the classic. */
  readonly samplesLate?: boolean;
  /** Requests in this run; `COUNT` by default. */
  readonly count?: number;
  /** Replay to a successor when the back end is declared dead. */
  readonly replays?: boolean;
}

function setup(lib: RingLibrary, at: number, slots = SLOTS) {
  const region = new SharedArrayBuffer(64 + slots * SLOT_BYTES);
  const bells = new SharedArrayBuffer(12);
  lib.initRing(new Uint8Array(region));
  new Int32Array(region, 0, 4).set([at, at + 1, at, at + 1]);
  return () => ({ buffers: [region, bells], world: { region, bells } });
}

function ringBell(world: XenWorld, whose: number): void {
  const bells = new Int32Array(world.bells, 0, 3);
  Atomics.add(bells, whose, 1);
  Atomics.notify(bells, whose);
}

/** Sample the doorbell, make the final check, sleep. */
function sleep(world: XenWorld, whose: number, finalCheck: () => boolean, habits: Habits): void {
  const bells = new Int32Array(world.bells, 0, 3);
  const early = Atomics.load(bells, whose);
  if (finalCheck()) return;
  Atomics.wait(bells, whose, habits.samplesLate === true ? Atomics.load(bells, whose) : early);
}

/**
 * Send `COUNT` requests, as many at a time as fit, and wait for their responses. If the back end is declared dead, make
 * the ring anew and send again what has no response, in the old order.
 */
function frontEnd(lib: RingLibrary, at: number, habits: Habits): EndProgram<XenWorld> {
  return {
    name: 'front',
    run: (world, probe) => {
      const count = habits.count ?? COUNT;
      const region = new Uint8Array(world.region);
      const bells = new Int32Array(world.bells, 0, 3);
      const mustReplay = () => habits.replays === true && Atomics.load(bells, EPOCH) === 1;
      let ring = new lib.FrontRing(region, SLOT_BYTES, { at });
      let sent = 0;
      for (let got = 0; got < count; ) {
        if (mustReplay()) {
          lib.initRing(region);
          ring = new lib.FrontRing(region, SLOT_BYTES);
          sent = got;
          Atomics.store(bells, EPOCH, 2);
          Atomics.notify(bells, EPOCH);
        }
        for (; sent < count; sent += 1) {
          const slot = ring.stageRequest();
          if (slot < 0) break;
          ring.view.setUint32(slot, 1 + sent, true);
          ring.view.setUint32(slot + 4, 11 + sent, true);
        }
        if (ring.pushRequests()) ringBell(world, BACK);
        if (ring.availableResponses() < 0) {
          probe.report(ring.broken?.code);
          return;
        }
        for (; ring.takeResponse(); got += 1) {
          probe.report(`${ring.response.getUint32(0, true)}/${ring.response.getUint32(4, true)}`);
        }
        const canSend = sent < count && !ring.isFull;
        if (got < count && !canSend) sleep(world, FRONT, () => ring.finalCheck() || mustReplay(), habits);
      }
    },
  };
}

/** Answer in order, from index `from` on, up to request `count`. */
function serve(lib: RingLibrary, world: XenWorld, probe: Probe, from: number, habits: Habits): void {
  const count = habits.count ?? COUNT;
  const ring = new lib.BackRing(new Uint8Array(world.region), SLOT_BYTES, { at: from });
  for (let last = 0; last < count; ) {
    if (ring.availableRequests() < 0) {
      probe.report(ring.broken?.code);
      return;
    }
    while (ring.takeRequest()) {
      last = ring.request.getUint32(0, true);
      probe.report(`${last}/${ring.request.getUint32(4, true)}`);
      const slot = ring.stageResponse();
      ring.view.setUint32(slot, 100 + last, true);
      ring.view.setUint32(slot + 4, 200 + last, true);
    }
    if (ring.pushResponses()) ringBell(world, FRONT);
    if (last < count) sleep(world, BACK, () => ring.finalCheck(), habits);
  }
}

const TWO: Habits = { count: 2 };
const LARGER: Habits = { count: 5 };

/** What the back end must have seen of `count` requests. */
function requestsOf(count: number): string {
  return Array.from({ length: count }, (_, i) => `${1 + i}/${11 + i}`).join(' ');
}

/** What the front end must have seen of their responses. */
function responsesOf(count: number): string {
  return Array.from({ length: count }, (_, i) => `${101 + i}/${201 + i}`).join(' ');
}

function sayings({ ends }: Outcome<XenWorld>, name: string): string {
  return ends[name]?.reports.join(' ') ?? '';
}

function restless({ ends }: Outcome<XenWorld>): string | undefined {
  const stuck = Object.entries(ends).find(([, { status }]) => status === 'asleep');
  return stuck === undefined ? undefined : `lost wake-up: ${stuck[0]} sleeps for ever`;
}

/** Both ends sleep when idle: nothing lost, doubled, torn, out of order, nobody left asleep. */
export function xenBlocking(lib: RingLibrary, at: number, habits: Habits = {}): Scenario<XenWorld> {
  const count = habits.count ?? COUNT;
  return {
    setup: setup(lib, at),
    ends: [frontEnd(lib, at, habits), { name: 'back', run: (world, probe) => serve(lib, world, probe, at, habits) }],
    check: (outcome) => {
      const asleep = restless(outcome);
      if (asleep !== undefined) return asleep;
      const [requests, responses] = [sayings(outcome, 'back'), sayings(outcome, 'front')];
      if (requests !== requestsOf(count)) return `back end saw ${requests}`;
      return responses === responsesOf(count) ? undefined : `front end saw ${responses}`;
    },
  };
}

/** The same with four slots and five requests: too many interleavings for all, so those with three preemptions. */
export function xenLarger(lib: RingLibrary, at: number): Scenario<XenWorld> {
  return { ...xenBlocking(lib, at, LARGER), setup: setup(lib, at, 4), preemptions: 3 };
}

/**
 * The back end dies anywhere; its owner declares that, the front end makes the ring anew and replays, a successor
 * attaches to it: each request is answered exactly once, nobody is left asleep.
 */
export function xenBackKilled(lib: RingLibrary, at: number): Scenario<XenWorld> {
  return {
    ...killed(lib, at),
    ends: [
      frontEnd(lib, at, { ...TWO, replays: true }),
      { name: 'back', isMortal: true, run: (world, probe) => serve(lib, world, probe, at, TWO) },
      {
        name: 'heir',
        startsAfter: 'back',
        run: (world, probe) => {
          const bells = new Int32Array(world.bells, 0, 3);
          Atomics.store(bells, EPOCH, 1); // the owner's notice of death
          ringBell(world, FRONT);
          Atomics.wait(bells, EPOCH, 1);
          serve(lib, world, probe, 0, TWO);
        },
      },
    ],
  };
}

/**
 * The same death, but the successor attaches at `rspProd` as some back ends do. Not safe, even though this back end
 * answers in order: the dead one may have written half a response over the request that is to be executed again.
 */
export function xenAttachAtRspProd(lib: RingLibrary, at: number): Scenario<XenWorld> {
  return {
    ...killed(lib, at),
    ends: [
      frontEnd(lib, at, TWO),
      { name: 'back', isMortal: true, run: (world, probe) => serve(lib, world, probe, at, TWO) },
      {
        name: 'heir',
        startsAfter: 'back',
        run: (world, probe) => {
          ringBell(world, FRONT); // the dead one may have published and not rung
          serve(lib, world, probe, Atomics.load(new Int32Array(world.region, 0, 4), 2) >>> 0, TWO);
        },
      },
    ],
  };
}

function killed(lib: RingLibrary, at: number) {
  return {
    setup: setup(lib, at),
    kills: 1,
    preemptions: 2,
    check: (outcome: Outcome<XenWorld>) => {
      const { back, front } = outcome.ends;
      if (back?.status !== 'dead') return undefined; // nobody died: see xenBlocking
      const responses = front?.reports.join(' ');
      if (front?.status === 'asleep') return `front end sleeps for ever after ${responses}`;
      return responses === responsesOf(2) ? undefined : `front end saw ${responses}`;
    },
  };
}

/** Values that a hostile peer tries, relative to the start index. */
const HOSTILE = [0, 1, SLOTS, SLOTS + 1, 2 ** 31, 2 ** 32 - 1];

/** An end that writes two chosen values to chosen header words at any time. */
function vandal(at: number, words: readonly number[]): EndProgram<XenWorld> {
  return {
    name: 'vandal',
    run: (world, probe) => {
      const indexes = new Int32Array(world.region, 0, 4);
      for (let i = 0; i < 2; i += 1) {
        const word = words[probe.choose(words.length)] ?? 0;
        Atomics.store(indexes, word, at + (HOSTILE[probe.choose(HOSTILE.length)] ?? 0));
      }
    },
  };
}

/** A hostile front end: the back end takes at most a ring of requests ahead of its answers, or breaks; it never throws. */
export function xenHostileFront(lib: RingLibrary, at: number): Scenario<XenWorld> {
  return {
    setup: setup(lib, at),
    ends: [
      vandal(at, [0, 1, 2]),
      {
        name: 'victim',
        run: (world, probe) => {
          const ring = new lib.BackRing(new Uint8Array(world.region), SLOT_BYTES, { at });
          for (let look = 0; look < 3; look += 1) {
            const count = ring.availableRequests();
            let taken = 0;
            while (taken <= SLOTS && ring.takeRequest()) taken += 1;
            if (taken !== Math.max(0, count)) probe.report(`took ${taken} of ${count}`);
            if (ring.unanswered > SLOTS) probe.report(`${ring.unanswered} unanswered in ${SLOTS} slots`);
            if (count < 0 && ring.broken === undefined) probe.report('broken without a reason');
            if (look === 0 && taken > 0) ring.stageResponse();
            ring.pushResponses();
          }
        },
      },
    ],
    check: (outcome) => sayings(outcome, 'victim') || undefined,
  };
}

/** A hostile back end: the front end never takes an answer to a request it has not published; it never throws. */
export function xenHostileBack(lib: RingLibrary, at: number): Scenario<XenWorld> {
  return {
    setup: setup(lib, at),
    ends: [
      vandal(at, [0, 2, 3]),
      {
        name: 'victim',
        run: (world, probe) => {
          const ring = new lib.FrontRing(new Uint8Array(world.region), SLOT_BYTES, { at });
          let published = 0;
          let taken = 0;
          for (let look = 0; look < 3; look += 1) {
            if (look < 2 && ring.stageRequest() < 0) probe.report('no slot for an own request');
            published = Math.min(look + 1, 2);
            ring.pushRequests();
            if (ring.broken === undefined && ring.outstanding !== published - taken) {
              probe.report(`${ring.outstanding} outstanding of ${published} published`);
            }
            ring.availableResponses();
            while (taken <= SLOTS && ring.takeResponse()) taken += 1;
            if (taken > published) probe.report(`${taken} answers to ${published} requests`);
          }
        },
      },
    ],
    check: (outcome) => sayings(outcome, 'victim') || undefined,
  };
}
