// The Xen ring against a model with unbounded counters, from start indices around 0, 2^31 and 2^32.
import test from 'ava';
import fc from 'fast-check';
import { BackRing, FrontRing, initRing, ringSlots } from 'sharedarraybuffer-ring';

/** What the protocol says, in numbers that never wrap. */
interface Model {
  readonly slots: number;
  reqStaged: number;
  reqProd: number;
  reqCons: number;
  reqEvent: number;
  rspStaged: number;
  rspProd: number;
  rspCons: number;
  rspEvent: number;
}

interface Real {
  readonly front: FrontRing;
  readonly back: BackRing;
  readonly slotBytes: number;
}

type Step = fc.Command<Model, Real>;

function must(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

/** A value to put into the slot of `index`, so that a mixed-up slot shows. */
const mark = (index: number, isResponse: boolean) =>
  (Math.imul(index, 0x9e3779b1) ^ (isResponse ? 0x5a5a5a5a : 0)) >>> 0;

function fill(view: DataView, at: number, slotBytes: number, value: number): void {
  for (let i = 0; i < slotBytes; i += 1) view.setUint8(at + i, (value >>> ((i & 3) * 8)) & 255);
}

function holds(view: DataView, slotBytes: number, value: number): boolean {
  for (let i = 0; i < slotBytes; i += 1) if (view.getUint8(i) !== ((value >>> ((i & 3) * 8)) & 255)) return false;
  return true;
}

function command(name: string, run: (m: Model, r: Real) => void): Step {
  return { check: () => true, run, toString: () => name };
}

const stageRequest = () =>
  command('stageRequest', (m, { front, slotBytes }) => {
    const free = m.slots - (m.reqStaged - m.rspCons);
    must(front.freeSlots === free && front.isFull === (free === 0), `freeSlots ${front.freeSlots}, model ${free}`);
    const at = front.stageRequest();
    must(at >= 0 === free > 0, 'staged without room, or not with room');
    if (at < 0) return;
    fill(front.view, at, slotBytes, mark(m.reqStaged, false));
    m.reqStaged += 1;
  });

const pushRequests = () =>
  command('pushRequests', (m, { front }) => {
    const mustNotify = m.reqEvent > m.reqProd && m.reqEvent <= m.reqStaged;
    must(front.pushRequests() === mustNotify, `notify must be ${mustNotify}`);
    m.reqProd = m.reqStaged;
  });

const takeRequests = (most: number) =>
  command(`takeRequests ${most}`, (m, { back, slotBytes }) => {
    must(back.availableRequests() === m.reqProd - m.reqCons, 'wrong number of requests');
    for (let i = 0; i < most; i += 1) {
      const isThere = m.reqCons < m.reqProd;
      must(back.takeRequest() === isThere, 'took what is not there, or not what is');
      if (!isThere) return;
      must(holds(back.request, slotBytes, mark(m.reqCons, false)), `request ${m.reqCons} is wrong`);
      m.reqCons += 1;
    }
  });

const stageResponse = () =>
  command('stageResponse', (m, { back, slotBytes }) => {
    must(back.unanswered === m.reqCons - m.rspStaged, 'wrong number unanswered');
    const at = back.stageResponse();
    must(at >= 0 === m.rspStaged < m.reqCons, 'staged an answer without a question, or not with one');
    if (at < 0) return;
    fill(back.view, at, slotBytes, mark(m.rspStaged, true));
    m.rspStaged += 1;
  });

const pushResponses = () =>
  command('pushResponses', (m, { back }) => {
    const mustNotify = m.rspEvent > m.rspProd && m.rspEvent <= m.rspStaged;
    must(back.pushResponses() === mustNotify, `notify must be ${mustNotify}`);
    m.rspProd = m.rspStaged;
  });

const takeResponses = (most: number) =>
  command(`takeResponses ${most}`, (m, { front, slotBytes }) => {
    must(front.availableResponses() === m.rspProd - m.rspCons, 'wrong number of responses');
    for (let i = 0; i < most; i += 1) {
      const isThere = m.rspCons < m.rspProd;
      must(front.takeResponse() === isThere, 'took what is not there, or not what is');
      if (!isThere) return;
      must(holds(front.response, slotBytes, mark(m.rspCons, true)), `response ${m.rspCons} is wrong`);
      m.rspCons += 1;
    }
  });

const finalChecks = () =>
  command('finalCheck of both', (m, { front, back }) => {
    must(back.finalCheck() === m.reqProd > m.reqCons, 'back end sleeps on work, or not without');
    if (m.reqProd === m.reqCons) m.reqEvent = m.reqCons + 1;
    must(front.finalCheck() === m.rspProd > m.rspCons, 'front end sleeps on work, or not without');
    if (m.rspProd === m.rspCons) m.rspEvent = m.rspCons + 1;
  });

const arm = (ahead: number) =>
  command(`armAt ${ahead}`, (m, { front, back }) => {
    must(front.armAt(ahead) === m.rspProd - m.rspCons >= ahead, 'front armAt');
    must(back.armAt(ahead) === m.reqProd - m.reqCons >= ahead, 'back armAt');
    m.rspEvent = m.rspCons + ahead;
    m.reqEvent = m.reqCons + ahead;
  });

const starts = fc.oneof(
  fc.constantFrom(0, 1, 2 ** 31 - 4, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 4, 2 ** 32 - 1),
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
);
const most = fc.integer({ min: 1, max: 9 });
const steps = fc.commands(
  [
    fc.constant(0).map(stageRequest),
    fc.constant(0).map(stageRequest),
    fc.constant(0).map(pushRequests),
    most.map(takeRequests),
    fc.constant(0).map(stageResponse),
    fc.constant(0).map(stageResponse),
    fc.constant(0).map(pushResponses),
    most.map(takeResponses),
    fc.constant(0).map(finalChecks),
    most.map(arm),
  ],
  { maxCommands: 120, size: 'max' },
);

test('FrontRing and BackRing do what the unbounded model does, whatever the start, slot size and schedule', (t) => {
  const slotSizes = fc.constantFrom(1, 3, 4, 8, 12, 16, 108, 112, 148, 252);
  const slotCounts = fc.constantFrom(1, 2, 4, 32);
  fc.assert(
    fc.property(starts, slotSizes, slotCounts, steps, (at, slotBytes, slots, commands) => {
      const setup = () => {
        const bytes = 64 + slots * slotBytes;
        const region = new Uint8Array(new SharedArrayBuffer(Math.ceil(bytes / 4) * 4), 0, bytes);
        initRing(region);
        new Int32Array(region.buffer, 0, 4).set([at, at + 1, at, at + 1]);
        const real = {
          front: new FrontRing(region, slotBytes, { at }),
          back: new BackRing(region, slotBytes, { at }),
          slotBytes,
        };
        const zero = { reqStaged: at, reqProd: at, reqCons: at, reqEvent: at + 1 };
        return { model: { slots, ...zero, rspStaged: at, rspProd: at, rspCons: at, rspEvent: at + 1 }, real };
      };
      fc.modelRun(setup, commands);
    }),
    { numRuns: 300 },
  );
  t.is(ringSlots(64 + 32 * 112, 112), 32);
});

test('inspect tells all indices unsigned and disturbs nothing', (t) => {
  fc.assert(
    fc.property(starts, (at) => {
      const region = new Uint8Array(new SharedArrayBuffer(64 + 4 * 8));
      initRing(region);
      new Int32Array(region.buffer, 0, 4).set([at, at + 1, at, at + 1]);
      const ring = new FrontRing(region, 8, { at });
      ring.stageRequest();
      const before = Uint8Array.from(region);
      const next = (at + 1) % 2 ** 32;
      const seen = ring.inspect();
      const expected = { slots: 4, reqProd: at, reqEvent: next, rspProd: at, rspEvent: next, prodPvt: next, cons: at };
      return JSON.stringify(seen) === JSON.stringify(expected) && before.every((byte, i) => byte === region[i]);
    }),
    { numRuns: 50 },
  );
  t.pass();
});
