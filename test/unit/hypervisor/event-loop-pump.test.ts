// The idle loop on an event loop: it spins for an answer while that pays, and never starves what else lives on its thread.
import { DomainKernel, EventLoopPump, Hypervisor } from '@splitring/hypervisor';
import test from 'ava';

const immediately = (callback: () => void, ms: number) => {
  const handle = ms === 0 ? setImmediate(callback) : setTimeout(callback, ms);
  return () => clearTimeout(handle as NodeJS.Timeout); // what is 0 ms away is never cancelled here
};

const eventLoopTurn = () => new Promise((resolve) => setImmediate(resolve));

/** A pump over one machine; `poll` says at which of its polls there is work. */
function pumped(spinPolls: number, poll: (polls: number) => boolean, msPerPoll = 0, expectsAnswer = true) {
  let isExpecting = expectsAnswer;
  const hypervisor = new Hypervisor();
  const count = { polls: 0, sleeps: 0 };
  let nowMs = 0;
  const kernel = new DomainKernel({
    hypercalls: hypervisor.attachInThread(hypervisor.createDomain({ name: 'guest' })),
    clock: { nowMs: () => nowMs },
    random: { nextU32: () => 0 },
    connectStore: () => undefined as never, // no test here speaks to a store
  });
  kernel.poll();
  kernel.add({
    poll: () => {
      count.polls += 1;
      nowMs += msPerPoll;
      return poll(count.polls);
    },
    expectsAnswer: () => isExpecting,
    arm: () => {
      count.sleeps += 1;
      return false;
    },
  });
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const pump = new EventLoopPump(kernel, { schedule: immediately, onError, spinPolls: () => spinPolls });
  const expect = (isNow: boolean) => {
    isExpecting = isNow;
  };
  return { pump, kernel, count, errors, expect };
}

test('EventLoopPump finds an answer that comes within its spin without having slept', async (t) => {
  const { pump, count } = pumped(500, (polls) => polls === 300);
  await eventLoopTurn();
  t.true(count.polls >= 800, 'the answer, and another spin');
  t.is(count.sleeps, 1);
  pump.stop();
});

test('EventLoopPump does not spin where domains outnumber cores', async (t) => {
  const { pump, count } = pumped(0, () => false);
  await eventLoopTurn();
  t.is(count.polls, 1);
  t.is(count.sleeps, 1);
  pump.stop();
});

test('EventLoopPump does not spin when no machine expects an answer', async (t) => {
  const { pump, count } = pumped(500, () => false, 0, false);
  await eventLoopTurn();
  t.is(count.polls, 1);
  t.is(count.sleeps, 1);
  pump.stop();
});

test('EventLoopPump waits for a program, some async functions deep, that makes an answer into the next request', async (t) => {
  const { pump, count, expect } = pumped(500, (polls) => {
    if (polls === 1) void program();
    return polls === 1 || polls === 100;
  });
  expect(false);
  const call = async () => {
    await Promise.resolve();
    expect(true);
  };
  const program = async () => {
    await (async () => call())();
  };
  while (count.polls < 100) await eventLoopTurn();
  t.is(count.sleeps, 1, 'after the second answer only');
  pump.stop();
});

test('EventLoopPump spins 30 µs at most', async (t) => {
  const { pump, count } = pumped(1e6, () => false, 0.001);
  await eventLoopTurn();
  t.true(count.polls <= 30 + 2 * 8, `${count.polls} polls of 1 µs`);
  t.is(count.sleeps, 1);
  pump.stop();
});

test('EventLoopPump stops spinning when it does not pay, tries again now and then, and goes on when it pays', async (t) => {
  let answers = 0;
  const { pump, kernel, count } = pumped(100, (polls) => {
    if (answers === 0 || polls % 50 !== 0) return false;
    answers -= 1;
    return true;
  });
  const pollsOfSleep = async () => {
    const before = count.polls;
    kernel.requestPoll();
    await eventLoopTurn();
    return count.polls - before;
  };
  await eventLoopTurn();
  for (let sleeps = 1; sleeps < 8; sleeps += 1) t.true((await pollsOfSleep()) > 100, 'credit is left');
  let spins = 0;
  for (let sleeps = 0; sleeps < 128; sleeps += 1) if ((await pollsOfSleep()) > 100) spins += 1;
  t.is(spins, 2, 'one of 64 is tried');
  answers = 10;
  for (let sleeps = 0; sleeps < 200 && answers > 0; sleeps += 1) await pollsOfSleep();
  t.is(answers, 0);
  for (let sleeps = 0; sleeps < 3; sleeps += 1) t.true((await pollsOfSleep()) > 100, 'it has paid');
  pump.stop();
});

test('EventLoopPump gives the event loop its turn, however many answers come within the spin', async (t) => {
  let turns = 0;
  const { pump, count } = pumped(
    500,
    (polls) => {
      if (polls > 50_000) throw new Error('enough');
      return polls % 4 === 0;
    },
    0.001,
  );
  while (count.polls < 20_000) {
    await eventLoopTurn();
    turns += 1;
  }
  t.true(turns >= 20, `${turns} turns in 20 ms`);
  pump.stop();
});

test('EventLoopPump lets the program act on an answer before it looks for the next', async (t) => {
  const order: string[] = [];
  const { pump, kernel } = pumped(200, (polls) => {
    if (polls === 50) void Promise.resolve().then(() => order.push('program'));
    if (polls > 50 && order.length < 2) order.push('poll');
    return polls === 50;
  });
  kernel.requestPoll();
  await eventLoopTurn();
  t.is(order[0], 'poll', 'what comes with an answer is looked at together');
  t.is(order[1], 'program');
  pump.stop();
});
