import test from 'ava';
import { SleepQueue } from '../../../packages/frontend/src/guest/sleep-queue.ts';

function queueAt(startMs: number) {
  let now = startMs;
  const log: string[] = [];
  const queue = new SleepQueue({ nowMs: () => now }, () => log.push('changed'));
  return { queue, log, advance: (ms: number) => (now += ms) };
}

test('SleepQueue wakes sleepers in the order of their time, not of their arrival', async (t) => {
  const { queue, advance } = queueAt(100);
  const woken: string[] = [];
  const all = [
    queue.sleep(20).then(() => woken.push('late')),
    queue.sleep(10).then(() => woken.push('early')),
    queue.sleep(10).then(() => woken.push('early too')),
  ];
  t.is(queue.deadlineMs(), 110);
  t.false(queue.poll());
  advance(10);
  t.true(queue.poll());
  t.is(queue.deadlineMs(), 120);
  advance(10);
  t.true(queue.poll());
  await Promise.all(all);
  t.deepEqual(woken, ['early', 'early too', 'late']);
  t.is(queue.deadlineMs(), Number.POSITIVE_INFINITY);
});

test('SleepQueue ends a sleep whose signal is aborted, and forgets it', async (t) => {
  const { queue } = queueAt(0);
  const abort = new AbortController();
  const sleep = queue.sleep(1000, abort.signal);
  abort.abort();
  await sleep;
  t.is(queue.deadlineMs(), Number.POSITIVE_INFINITY);
  await t.notThrowsAsync(queue.sleep(1000, abort.signal));
});

test('SleepQueue tells of every new sleeper', (t) => {
  const { queue, log } = queueAt(0);
  void queue.sleep(5);
  void queue.sleep(1);
  t.deepEqual(log, ['changed', 'changed']);
});
