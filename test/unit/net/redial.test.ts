// When a peer that has hung up is called back: by an injected clock, ever more rarely, never in a tight loop.
import test from 'ava';
import { Redial } from '../../../packages/backend/src/net/redial.ts';

/** A redial whose peer behaves as the test says, and the times of its attempts. */
function world() {
  const clock = { ms: 1_000_000, nowMs: () => clock.ms };
  const calls: number[] = [];
  let hangUps = 0;
  const redial: Redial = new Redial(clock, {
    dial: () => calls.push(clock.ms),
    hangUp: () => {
      hangUps += 1;
    },
  });
  /** Sleep from deadline to deadline for so long, as an idle loop does. */
  const pass = (ms: number, onCall: () => void) => {
    const endMs = clock.ms + ms;
    while (redial.deadlineMs() <= endMs) {
      clock.ms = Math.max(clock.ms, redial.deadlineMs());
      const before = calls.length;
      redial.poll();
      if (calls.length > before) onCall();
    }
    clock.ms = endMs;
  };
  return { clock, calls, redial, pass, hangUps: () => hangUps };
}

const gaps = (times: readonly number[]) => times.slice(1).map((time, i) => time - (times[i] ?? 0));

test('Redial rests while the peer is there', (t) => {
  const { redial, clock } = world();
  t.is(redial.deadlineMs(), Number.POSITIVE_INFINITY);
  clock.ms += 1e9;
  t.false(redial.poll());
});

test('Redial calls soon, then at doubled intervals up to ten seconds', (t) => {
  const { redial, calls, pass, clock } = world();
  clock.ms += 60_000; // it was there for long
  const lostMs = clock.ms;
  redial.lost();
  pass(60_000, () => redial.lost());
  t.deepEqual(gaps([lostMs, ...calls]), [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000, 10_000]);
  t.is(redial.attempts, calls.length);
});

test('Redial treats a peer that answers only to hang up as one that does not answer', (t) => {
  const { redial, calls, pass } = world();
  redial.lost();
  pass(60_000, () => {
    redial.reached();
    redial.lost();
  });
  t.deepEqual(gaps(calls).slice(-3), [10_000, 10_000, 10_000]);
  redial.reached();
  pass(10_000, () => t.fail());
  const before = calls.length;
  redial.lost(); // it held: the next call is soon
  pass(150, () => redial.reached());
  t.is(calls.length, before + 1);
});

test('Redial gives an attempt up that takes too long, and hangs up', (t) => {
  const { redial, calls, pass, hangUps } = world();
  redial.lost();
  pass(30_000, () => {}); // nobody says what became of the attempts
  t.true(hangUps() >= 2);
  t.true(gaps(calls).every((gap) => gap > 5000));
});

test('Redial stops for good', (t) => {
  const { redial, pass } = world();
  redial.lost();
  redial.stop();
  pass(100_000, () => t.fail());
  t.is(redial.attempts, 0);
});
