// The wait strategies one by one: outcomes, refusals, deadlines, and what keeps a process alive.
import { spawnSync } from 'node:child_process';
import { MessageChannel, Worker } from 'node:worker_threads';
import test from 'ava';
import {
  busySpin,
  poll,
  portDoorbell,
  spinBurst,
  spinThenWait,
  systemClock,
  type TimerHandle,
  type WaitStrategy,
  waitAsync,
} from 'sharedarraybuffer-ring';

const words = (): Int32Array => new Int32Array(new SharedArrayBuffer(8));

function fakeTime() {
  let now = 0;
  let timers: { at: number; run: () => void; isRef: boolean }[] = [];
  return {
    clock: () => now,
    timer(delayMs: number, run: () => void): TimerHandle {
      const entry = { at: now + delayMs, run, isRef: true };
      timers.push(entry);
      return {
        cancel: () => {
          timers = timers.filter((other) => other !== entry);
        },
        ref: () => {
          entry.isRef = true;
        },
        unref: () => {
          entry.isRef = false;
        },
      };
    },
    advance(ms: number) {
      now += ms;
      const due = timers.filter((entry) => entry.at <= now);
      timers = timers.filter((entry) => entry.at > now);
      for (const entry of due) entry.run();
    },
    timers: () => timers,
  };
}

test('spinBurst reports a word that differs, and gives up on one that does not', (t) => {
  const w = words();
  t.false(spinBurst(w, 0, 0));
  t.true(spinBurst(w, 0, 1));
});

for (const [name, strategy] of [
  ['spinThenWait', spinThenWait()],
  ['spinThenWait without spin', spinThenWait({ maxSpins: 0 })],
  ['busySpin', busySpin()],
] as [string, WaitStrategy][]) {
  test(`${name} blocks until the timeout, returns at once when the word has changed`, (t) => {
    const w = words();
    const start = systemClock();
    t.is(strategy.wait(w, 0, 0, 20), 'timed-out');
    t.true(systemClock() - start >= 18);
    t.is(strategy.wait(w, 0, 7, 10_000), 'changed');
    t.true(systemClock() - start < 5_000);
  });

  test(`${name} is woken by another thread`, async (t) => {
    const w = words();
    const code = `const { workerData: w } = require('node:worker_threads');
      Atomics.wait(w, 1, 0, 50); Atomics.store(w, 0, 1); Atomics.notify(w, 0);`;
    const worker = new Worker(code, { eval: true, workerData: w, execArgv: [] });
    await new Promise((resolve) => worker.once('online', resolve));
    const deadline = systemClock() + 20_000;
    while (strategy.wait(w, 0, 0, 5_000) === 'timed-out' && systemClock() < deadline);
    t.is(Atomics.load(w, 0), 1);
    await worker.terminate();
  });
}

test('SpinThenWait spins less after long sleeps and fully again after a short one', (t) => {
  let now = 0;
  let sleepMs = 10;
  const strategy = spinThenWait({ maxSpins: 64 * 8, sliceMs: 1, clock: () => (now += sleepMs) });
  const w = words();
  const reads = (): number => {
    let count = 0;
    const counted = new Proxy(w, {
      get: (target, key) => {
        if (key === '0') count += 1;
        return Reflect.get(target, key, target);
      },
    });
    // Atomics refuses a proxy, so only a burst that never confirms can be counted: the word differs on the last read.
    try {
      strategy.spin(counted, 0, 0);
    } catch {
      // TypeError of Atomics.load at the end of the first burst
    }
    return count;
  };
  t.is(reads(), 64);
  const budget = (): unknown => Reflect.get(strategy, 'bursts');
  t.is(budget(), 8);
  strategy.wait(w, 0, 0, 1);
  t.is(budget(), 4);
  for (let i = 0; i < 8; i += 1) strategy.wait(w, 0, 0, 1);
  t.is(budget(), 1);
  sleepMs = 0.1;
  strategy.wait(w, 0, 0, 1);
  t.is(budget(), 8);
  strategy.limitSpin(0);
  t.false(strategy.spin(w, 0, 1)); // no read at all
});

test('poll never waits', async (t) => {
  const strategy = poll();
  const w = words();
  t.is(strategy.wait(w, 0, 0, Number.POSITIVE_INFINITY), 'timed-out');
  t.is(await strategy.waitAsync(w, 0, 0, Number.POSITIVE_INFINITY), 'timed-out');
  t.is(strategy.wait(w, 0, 1, 0), 'changed');
});

test('strategies on the event loop refuse to block, and say what to do', (t) => {
  const { port1, port2 } = new MessageChannel();
  for (const strategy of [waitAsync(), portDoorbell(port1)]) {
    t.false(strategy.canBlock);
    t.throws(() => strategy.wait(words(), 0, 0, 1), { code: 'WAIT_ASYNC_ONLY', message: /await instead/ });
  }
  port1.close();
  port2.close();
});

test('waitAsync settles changed on a wake, timed-out at the deadline, at once when the word differs', async (t) => {
  const strategy = waitAsync();
  const w = words();
  t.is(await strategy.waitAsync(w, 0, 5, 1_000), 'changed');
  t.is(await strategy.waitAsync(w, 0, 0, 0), 'timed-out');
  t.is(await strategy.waitAsync(w, 0, 0, 15), 'timed-out');
  const pending = Promise.all([strategy.waitAsync(w, 0, 0, 5_000), strategy.waitAsync(w, 0, 0, Infinity)]);
  Atomics.store(w, 0, 1);
  strategy.wake(w, 0);
  t.deepEqual(await pending, ['changed', 'changed']);
});

test('waitAsync keeps one timer for all deadlines and refs it only while somebody waits', async (t) => {
  const time = fakeTime();
  const strategy = waitAsync({ clock: time.clock, timer: time.timer, boundMs: 100 });
  const w = words();
  const long = strategy.waitAsync(w, 0, 0, 1_000);
  const short = strategy.waitAsync(w, 1, 0, 30);
  t.is(time.timers().length, 1);
  t.is(time.timers()[0]?.at, 30);
  time.advance(30);
  t.is(await short, 'timed-out');
  t.is(time.timers()[0]?.at, 130); // the bound, not the deadline
  t.true(time.timers()[0]?.isRef);
  strategy.unref();
  t.false(time.timers()[0]?.isRef);
  strategy.ref();
  Atomics.store(w, 0, 1); // a wake-up that got lost: nobody notifies
  time.advance(100);
  t.is(await long, 'changed');
  time.advance(100);
  t.is(time.timers().length, 0);
});

test('portDoorbell wakes the other side through its port', async (t) => {
  const { port1, port2 } = new MessageChannel();
  const [here, there] = [portDoorbell(port1), portDoorbell(port2)];
  const w = words();
  const pending = here.waitAsync(w, 0, 0, 5_000);
  Atomics.store(w, 0, 1);
  there.wake(w, 0);
  t.is(await pending, 'changed');
  t.is(await here.waitAsync(w, 1, 0, 10), 'timed-out');
  port1.close();
  port2.close();
});

for (const [method, expected] of [
  ['ref', 'changed'],
  ['unref', ''],
] as const) {
  test(`waitAsync: ${method} decides whether a pending wait keeps the process alive`, (t) => {
    const code = `
      import { waitAsync } from '${import.meta.resolve('sharedarraybuffer-ring')}';
      import { Worker } from 'node:worker_threads';
      const w = new Int32Array(new SharedArrayBuffer(8));
      const strategy = waitAsync();
      strategy.${method}();
      const worker = new Worker("const { workerData: w } = require('node:worker_threads'); Atomics.wait(w, 1, 0, 300); Atomics.store(w, 0, 1); Atomics.notify(w, 0);", { eval: true, workerData: w, execArgv: [] });
      worker.unref();
      strategy.waitAsync(w, 0, 0, 20000).then((outcome) => process.stdout.write(outcome));`;
    const { stdout, status, stderr } = spawnSync(
      process.execPath,
      [...process.execArgv, '--input-type=module', '--eval', code],
      { encoding: 'utf8', cwd: new URL('../../..', import.meta.url), timeout: 30_000 },
    );
    t.is(status, 0, stderr);
    t.is(stdout, expected);
  });
}
