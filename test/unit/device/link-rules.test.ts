// Faults of a cable on command: each rule hits the frames that it names, in the time that it names, and no other.
import { createCable, type LinkRule } from '@splitring/device';
import test from 'ava';
import { seeded } from '../../support/card-lab.ts';
import { pattern } from '../../support/net-lab.ts';

/** A cable with rules; frames carry their number in the first byte. */
function world(rules: readonly LinkRule[], seed = 1) {
  const clock = { ms: 500, nowMs: () => clock.ms };
  const cable = createCable(clock, seeded(seed));
  cable.setFaults({ rules });
  const [near, far] = cable.ends;
  const got: { near: string[]; far: string[] } = { near: [], far: [] };
  const name = (frame: Uint8Array) => `${frame[0]}${frame.every((byte) => byte === frame[0]) ? '' : '!'}`;
  near.onFrame = (frame) => got.near.push(name(frame));
  far.onFrame = (frame) => got.far.push(name(frame));
  const poll = () => {
    for (const end of [near, far]) end.poll();
  };
  /** Send frames 0 … count − 1 from both ends, one each millisecond. */
  const send = (count: number) => {
    for (let i = 0; i < count; i += 1) {
      for (const end of [near, far]) end.send(new Uint8Array(60).fill(i));
      poll();
      clock.ms += 1;
    }
    poll();
  };
  return { clock, cable, near, far, got, poll, send };
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => String(from + i));

const table: readonly (readonly [string, readonly LinkRule[], readonly string[]])[] = [
  ['loses the third and fourth frame', [{ kind: 'loss', skip: 2, times: 2 }], ['0', '1', ...range(4, 10)]],
  ['loses what is sent in a while', [{ kind: 'loss', fromMs: 3, toMs: 6 }], [...range(0, 3), ...range(6, 10)]],
  ['doubles one frame', [{ kind: 'duplication', skip: 4, times: 1 }], [...range(0, 5), '4', ...range(5, 10)]],
  ['damages one frame', [{ kind: 'corruption', skip: 9 }], [...range(0, 9), '9!']],
  [
    'counts for each rule, also behind another that hits',
    [
      { kind: 'loss', times: 2 },
      { kind: 'loss', skip: 1, times: 2 },
    ],
    range(3, 10),
  ],
];
for (const [name, rules, want] of table) {
  test(`a rule ${name}, from both ends`, (t) => {
    const { got, send } = world(rules);
    send(10);
    t.deepEqual(got, { near: [...want], far: [...want] });
  });
}

test('a rule for frames from one end leaves those from the other alone', (t) => {
  const { got, send, cable } = world([{ kind: 'loss', from: 'far' }]);
  send(10);
  t.deepEqual(got, { near: [], far: range(0, 10) });
  t.deepEqual(
    cable.ends.map(({ counters }) => counters.lost),
    [0, 10],
  );
});

test('a rule with a share hits about that share, the same frames for the same seed', (t) => {
  const play = (seed: number) => {
    const { got, send } = world([{ kind: 'loss', share: 0.3 }], seed);
    send(250);
    return got.far;
  };
  t.true(Math.abs(play(5).length - 175) < 30);
  t.deepEqual(play(5), play(5));
  t.notDeepEqual(play(5), play(6));
});

test('a rule of delay holds a frame and those behind it, and a rule of reordering lets one overtake', (t) => {
  const { clock, got, near, poll } = world([
    { kind: 'delay', skip: 1, times: 1, delayMs: 50 },
    { kind: 'reordering', skip: 1, times: 1 },
  ]);
  for (let i = 0; i < 4; i += 1) near.send(new Uint8Array(60).fill(i));
  poll();
  t.deepEqual(got.far, ['0', '2'], 'the third has overtaken the one that is held');
  t.is(near.counters.delayed, 1);
  clock.ms += 50;
  poll();
  t.deepEqual(got.far, ['0', '2', '1', '3']);
});

test('a partition takes the carrier away for its time, and frames on their way with it', (t) => {
  const { clock, cable, near, far, got, poll } = world([
    { kind: 'partition', fromMs: 10, toMs: 20 },
    { kind: 'partition', fromMs: 15, toMs: 30 },
    { kind: 'delay', delayMs: 5 },
  ]);
  const changes: [number, boolean][] = [];
  far.onCarrier = () => changes.push([clock.ms - 500, far.hasCarrier]);
  // Sleep from deadline to deadline, as an idle loop does; a frame each four milliseconds.
  for (const endMs = 540; clock.ms < endMs; ) {
    if ((clock.ms - 500) % 4 === 0) near.send(pattern(60, clock.ms));
    poll();
    clock.ms = Math.min(clock.ms + 4 - ((clock.ms - 500) % 4), Math.max(clock.ms + 1, far.deadlineMs()), endMs);
  }
  t.deepEqual(changes, [
    [10, false],
    [30, true],
  ]);
  clock.ms = 600;
  poll();
  const { counters } = near;
  t.is(counters.sent, 10);
  t.is(counters.cut, 6, 'one on its way (sent at 8), five without a carrier');
  t.is(got.far.length, 4);
  t.is(counters.sent + counters.duplicated, counters.delivered + counters.lost + counters.cut);
  cable.setCut(true);
  t.false(near.hasCarrier);
  cable.setFaults({});
  t.false(near.hasCarrier, 'cut by hand is cut');
  cable.setCut(false);
  t.true(near.hasCarrier);
});
