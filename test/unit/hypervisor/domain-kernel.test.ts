// The kernel polls what has work, and the idle loops lose no wake-up between the last look and the sleep.
import { DomainKernel, EventLoopPump, Hypervisor, pumpUntil, runDomain, type Stepped } from '@splitring/hypervisor';
import test from 'ava';

function machine(parts: Partial<Stepped> = {}) {
  const count = { polls: 0, arms: 0 };
  const stepped: Stepped = {
    poll: () => {
      count.polls += 1;
      return parts.poll?.() ?? false;
    },
    arm: () => {
      count.arms += 1;
      return parts.arm?.() ?? false;
    },
    deadlineMs: () => parts.deadlineMs?.() ?? Number.POSITIVE_INFINITY,
    needsEventLoop: () => parts.needsEventLoop?.() ?? false,
    usesEventLoop: () => parts.usesEventLoop?.() ?? false,
  };
  return { stepped, count };
}

function domain() {
  const hypervisor = new Hypervisor();
  const one = hypervisor.attachInThread(hypervisor.createDomain({ name: 'one' }));
  const two = hypervisor.attachInThread(hypervisor.createDomain({ name: 'two' }));
  const port = one.allocUnbound(two.domid);
  const peerPort = two.bindInterdomain(one.domid, port);
  let now = 0;
  const kernel = new DomainKernel({
    hypercalls: one,
    clock: { nowMs: () => now },
    random: { nextU32: () => 0 },
    connectStore: () => undefined as never, // no test here speaks to a store
  });
  kernel.poll(); // events that the binding raised
  return {
    kernel,
    port,
    raise: () => two.notify(peerPort),
    advance: (ms: number) => (now += ms),
    setPaused: (isPaused: boolean) => (isPaused ? hypervisor.pause(one.domid) : hypervisor.unpause(one.domid)),
  };
}

const timer = (callback: () => void, ms: number) => {
  const handle = setTimeout(callback, ms);
  return () => clearTimeout(handle);
};

const idle = { spinPolls: 3, sliceMs: 5, turn: () => new Promise<void>((resolve) => setImmediate(resolve)) };

test('DomainKernel polls data machines every turn and control machines now and then', (t) => {
  const { kernel } = domain();
  const data = machine();
  const control = machine();
  kernel.add(data.stepped);
  kernel.add(control.stepped, 'control');
  for (let turn = 0; turn < 64; turn += 1) kernel.poll();
  t.is(data.count.polls, 64);
  t.is(control.count.polls, 4);
});

test('DomainKernel polls control machines after an event and before every sleep', (t) => {
  const { kernel, port, raise } = domain();
  const control = machine();
  const events: number[] = [];
  kernel.add(control.stepped, 'control');
  kernel.onEvent(port, () => events.push(control.count.polls));
  raise();
  t.true(kernel.poll());
  t.deepEqual(events, [0], 'the handler runs before the machines');
  t.is(control.count.polls, 1);
  kernel.arm();
  t.is(control.count.polls, 2);
  t.is(control.count.arms, 1);
});

test('DomainKernel does nothing while its domain is paused, and what came meanwhile when it is resumed', (t) => {
  const { kernel, port, raise, setPaused } = domain();
  const data = machine();
  let events = 0;
  kernel.add(data.stepped);
  kernel.onEvent(port, () => (events += 1));
  setPaused(true);
  raise();
  t.false(kernel.poll());
  t.false(kernel.arm());
  t.deepEqual([data.count.polls, data.count.arms, events], [0, 0, 0]);
  setPaused(false);
  t.true(kernel.poll());
  t.deepEqual([data.count.polls, events], [1, 1]);
});

test('DomainKernel forgets handlers and machines that were taken away, also in the middle of a poll', (t) => {
  const { kernel, port, raise } = domain();
  const other = machine();
  const remover = machine({
    poll: () => {
      kernel.remove(other.stepped);
      return false;
    },
  });
  kernel.add(remover.stepped);
  kernel.add(other.stepped);
  kernel.onEvent(port, () => t.fail('the handler was taken away'));
  kernel.offEvent(port);
  raise();
  kernel.poll();
  kernel.poll();
  t.is(remover.count.polls, 2);
  t.is(other.count.polls, 1, 'the turn in which it was removed still has it');
});

test('pumpUntil arms before it sleeps and returns when work is done', (t) => {
  const { kernel } = domain();
  let left = 3;
  const worker = machine({
    poll: () => {
      if (worker.count.polls % 10 !== 0) return false;
      left -= 1;
      return true;
    },
  });
  kernel.add(worker.stepped);
  t.true(pumpUntil(kernel, () => left === 0, idle));
  t.true(worker.count.arms >= 3);
});

test('pumpUntil does not sleep when arming finds work', (t) => {
  const { kernel } = domain();
  let hasArrived = false;
  const late = machine({
    poll: () => hasArrived,
    arm: () => {
      hasArrived = true; // arrived between the last poll and the arming
      return true;
    },
  });
  kernel.add(late.stepped);
  const started = performance.now();
  t.true(pumpUntil(kernel, () => hasArrived, { ...idle, sliceMs: 10_000 }));
  t.true(performance.now() - started < 5_000);
});

test('pumpUntil does not sleep when the doorbell rang after it was sampled', (t) => {
  const { kernel, port, raise } = domain();
  let isRung = false;
  let hasRung = false;
  kernel.onEvent(port, () => {
    isRung = true;
  });
  kernel.add(
    machine({
      arm: () => {
        if (!hasRung) raise(); // after the last look, before the sleep
        hasRung = true;
        return false;
      },
    }).stepped,
  );
  const started = performance.now();
  t.true(pumpUntil(kernel, () => isRung, { ...idle, sliceMs: 10_000 }));
  t.true(performance.now() - started < 5_000);
});

test('pumpUntil gives up after its timeout', (t) => {
  const { kernel, advance } = domain();
  kernel.add(
    machine({
      arm: () => {
        advance(10);
        return false;
      },
    }).stepped,
  );
  t.false(pumpUntil(kernel, () => false, idle, 25));
});

test('runDomain takes turns with the event loop while a machine needs it', async (t) => {
  const { kernel } = domain();
  let isFlushed = false;
  let turns = 0;
  const turn = async () => {
    turns += 1;
    isFlushed = turns === 5;
  };
  const flushing = machine({ needsEventLoop: () => !isFlushed, poll: () => false });
  kernel.add(flushing.stepped);
  await runDomain(kernel, () => isFlushed, { ...idle, turn });
  t.is(flushing.count.polls, 5, 'rings are served between the turns');
});

const schedule = (callback: () => void, ms: number) => {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
};

test('runDomain sleeps beside open sockets: few polls, and a request, an event or a deadline ends the sleep', async (t) => {
  const { kernel, raise, advance } = domain();
  let isDone = false;
  let isOpen = true;
  let deadline = Number.POSITIVE_INFINITY;
  const socket = machine({ usesEventLoop: () => isOpen, deadlineMs: () => deadline });
  kernel.add(socket.stepped);
  const running = runDomain(kernel, () => isDone, { ...idle, spinPolls: 0, sliceMs: 10_000, schedule });
  const after = async (act: () => void): Promise<number> => {
    const before = socket.count.polls;
    act();
    await new Promise((resolve) => setTimeout(resolve, 40));
    return socket.count.polls - before;
  };
  await after(() => {});
  t.is(await after(() => {}), 0, 'asleep');
  t.true((await after(() => kernel.requestPoll())) > 0);
  t.true((await after(raise)) > 0);
  for (let i = 0; i < 10; i += 1) t.true((await after(() => kernel.requestPoll())) < 4, 'and asleep again');
  t.true((await after(raise)) > 0, 'events are still heard');
  deadline = 15;
  await after(() => kernel.requestPoll());
  t.true((await after(() => advance(20))) > 0);
  deadline = Number.POSITIVE_INFINITY;
  isOpen = false; // the last socket is closed: back to a blocking sleep, which ends with the domain
  isDone = true;
  kernel.requestPoll();
  await running;
});

test('EventLoopPump polls on events, on deadlines and on request, and stops', async (t) => {
  const { kernel, port, raise } = domain();
  const log: string[] = [];
  let deadline = Number.POSITIVE_INFINITY;
  const worker = machine({
    deadlineMs: () => deadline,
    poll: () => {
      if (deadline === Number.POSITIVE_INFINITY || log.includes('deadline')) return false;
      log.push('deadline');
      deadline = Number.POSITIVE_INFINITY;
      return true;
    },
  });
  kernel.add(worker.stepped);
  kernel.onEvent(port, () => log.push('event'));
  const pump = new EventLoopPump(kernel, { schedule: timer, onError: (error) => t.fail(String(error)) });
  const turn = (ms = 20) => new Promise((resolve) => setTimeout(resolve, ms));
  await turn();
  raise();
  await turn();
  t.deepEqual(log, ['event']);
  deadline = 5;
  kernel.requestPoll();
  await turn();
  t.deepEqual(log, ['event', 'deadline']);
  pump.stop();
  const { polls } = worker.count;
  raise();
  kernel.requestPoll();
  await turn();
  t.is(worker.count.polls, polls);
});

test('EventLoopPump hands on what a machine throws, once, and stops', async (t) => {
  const { kernel } = domain();
  kernel.add(
    machine({
      poll: () => {
        throw new Error('a bug');
      },
    }).stepped,
  );
  const errors: unknown[] = [];
  new EventLoopPump(kernel, { schedule: () => () => {}, onError: (error) => errors.push(error) });
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.is(errors.length, 1);
});
