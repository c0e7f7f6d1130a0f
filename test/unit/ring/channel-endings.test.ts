// The ends of a channel tell the truth: closed, failed and died are three outcomes, the same for every kind of caller.
import test from 'ava';
import {
  busySpin,
  type Channel,
  createChannel,
  HeartbeatMonitor,
  openChannel,
  poll,
  type RingError,
  spinThenWait,
  waitAsync,
  watch,
} from 'sharedarraybuffer-ring';

const one = Uint8Array.of(1);
const control = (channel: Channel): Int32Array => new Int32Array(channel.handle.memory.buffer as SharedArrayBuffer);
const RECEIVER_STATE = 32;
const LANE0 = 128;
const SENDER_STATE = LANE0 + 96;

/** A worker as `watch` sees it. */
function fakeWorker(threadId: number) {
  const listeners: (() => void)[] = [];
  return {
    threadId,
    once: (_event: 'exit', listener: () => void) => listeners.push(listener),
    off: (_event: 'exit', listener: () => void) => listeners.splice(listeners.indexOf(listener), 1),
    exit: () => {
      for (const listener of [...listeners]) listener();
    },
    listeners,
  };
}

/** Pretend that the end with this state word was opened by another thread. */
function giveTo(channel: Channel, stateAt: number, threadId: number): void {
  control(channel)[stateAt] = ((threadId + 1) << 11) | (1 << 3) | 1;
}

const endings = [
  ['close', (end: { close(): void }) => end.close(), 'CHANNEL_CLOSED', { kind: 'closed' }],
  [
    'fail',
    (end: { fail(r: string): void }) => end.fail('disk on fire'),
    'CHANNEL_FAILED',
    { kind: 'failed', reason: 'disk on fire' },
  ],
] as const;

for (const [name, end, code, ending] of endings) {
  test(`a sender that does ${name}: messages first, then the outcome, for polling, blocking and awaiting receivers`, async (t) => {
    const open = (): Channel => {
      const channel = createChannel({ capacityBytes: 256 });
      channel.sender.trySend(one);
      channel.sender.trySend(one);
      t.is(channel.receiver.ending, undefined);
      end(channel.sender);
      end(channel.sender); // twice is harmless
      return channel;
    };
    const polling = open();
    t.is(polling.receiver.receiveBatch(9).length, 2);
    t.deepEqual(polling.receiver.ending, ending);
    t.deepEqual(polling.sender.ending, ending);
    t.throws(() => polling.sender.trySend(one), { code });
    t.throws(() => polling.sender.claim(1), { code });
    await t.throwsAsync(polling.sender.send(one), { code });

    const blocking = open().receiver;
    t.deepEqual([blocking.receiveSync(), blocking.receiveSync()], [one, one]);
    const awaiting = open().receiver;
    t.deepEqual([await awaiting.receive(), await awaiting.receive()], [one, one]);
    if (name === 'close') {
      t.is(blocking.receiveSync(), undefined);
      t.is(await awaiting.receive(), undefined);
    } else {
      t.throws(() => blocking.receiveSync(), { code, message: /disk on fire/ });
      await t.throwsAsync(awaiting.receive(), { code });
    }
  });

  test(`a receiver that does ${name}: the outcome for senders of every kind, waiting ones included`, async (t) => {
    const { sender, receiver } = createChannel({ capacityBytes: 64 });
    while (sender.trySend(new Uint8Array(24)));
    const waiting = [sender.send(new Uint8Array(24)), sender.send(one)];
    end(receiver);
    for (const promise of waiting) await t.throwsAsync(promise, { code });
    t.throws(() => sender.trySend(one), { code });
    t.throws(() => sender.sendSync(one), { code });
    t.deepEqual(sender.ending, ending);
  });
}

test('for await ends when the channel is closed, throws when it failed, and may be left and entered again', async (t) => {
  const { sender, receiver } = createChannel({ capacityBytes: 256 });
  const got: number[] = [];
  sender.trySend(Uint8Array.of(1));
  sender.trySend(Uint8Array.of(2));
  for await (const message of receiver) {
    got.push(message[0] ?? -1);
    break;
  }
  setTimeout(() => {
    sender.trySend(Uint8Array.of(3));
    sender.close();
  }, 5);
  for await (const message of receiver) got.push(message[0] ?? -1);
  t.deepEqual(got, [1, 2, 3]);
  const failing = createChannel({ capacityBytes: 256 });
  failing.sender.fail('x'.repeat(100));
  const error = await t.throwsAsync<RingError>(async () => {
    for await (const _ of failing.receiver) t.fail();
  });
  t.deepEqual({ ...error?.data }, { reason: 'x'.repeat(62) });
});

test('watch: the death of the sender reaches a receiver that waits, and one that comes later', async (t) => {
  const channel = createChannel({ capacityBytes: 256 });
  const { receiver } = channel;
  channel.sender.trySend(one);
  giveTo(channel, SENDER_STATE, 41);
  const worker = fakeWorker(41);
  watch(worker, channel);
  t.deepEqual(await receiver.receive(), one, 'committed before the death');
  const waiting = receiver.receive();
  worker.exit();
  await t.throwsAsync(waiting, { code: 'CHANNEL_PEER_DIED' });
  t.throws(() => receiver.receiveSync(), { code: 'CHANNEL_PEER_DIED' });
  t.deepEqual(receiver.ending, { kind: 'died' });
  t.is(worker.listeners.length, 0);
});

test('watch: the death of the receiver reaches waiting senders', async (t) => {
  const channel = createChannel({ capacityBytes: 64 });
  const { sender } = channel;
  giveTo(channel, RECEIVER_STATE, 41);
  const worker = fakeWorker(41);
  watch(worker, channel);
  while (sender.trySend(new Uint8Array(24)));
  const waiting = sender.send(one);
  worker.exit();
  await t.throwsAsync(waiting, { code: 'CHANNEL_PEER_DIED' });
  t.throws(() => sender.trySend(one), { code: 'CHANNEL_PEER_DIED' });
});

test('watch: a worker that dies before it opened its end is missed, whenever this thread opens its own', (t) => {
  for (const opensFirst of [true, false]) {
    const channel = createChannel({ capacityBytes: 64 });
    if (opensFirst) channel.receiver.peek();
    const worker = fakeWorker(41);
    watch(worker, channel);
    worker.exit();
    t.deepEqual(channel.receiver.ending, { kind: 'died' });
  }
  const between = createChannel({ capacityBytes: 64 });
  const worker = fakeWorker(41);
  watch(worker, between, { end: 'sender' });
  worker.exit();
  t.is(between.inspect().senders[0]?.state, 'died');
  t.is(between.inspect().receiver.state, 'free');
});

test('watch leaves other ends alone, counts a worker that is gone already, and can be stopped', (t) => {
  const channel = createChannel({ capacityBytes: 64, producers: 2 });
  channel.receiver.peek();
  giveTo(channel, SENDER_STATE, 41);
  giveTo(channel, SENDER_STATE + 192, 42);
  const [a, b] = [fakeWorker(41), fakeWorker(42)];
  watch(a, channel);
  watch(b, channel).stop();
  b.exit();
  t.deepEqual(
    channel.inspect().senders.map((s) => s.state),
    ['open', 'open'],
  );
  a.exit();
  t.deepEqual(
    channel.inspect().senders.map((s) => s.state),
    ['died', 'open'],
  );
  t.is(channel.receiver.ending, undefined, 'the other producer goes on');
  const late = createChannel({ capacityBytes: 64 });
  late.receiver.peek();
  watch({ threadId: -1 }, late);
  t.deepEqual(late.receiver.ending, { kind: 'died' });
  const browser = createChannel({ capacityBytes: 64 });
  browser.receiver.peek();
  giveTo(browser, SENDER_STATE, -5);
  watch({}, browser).died();
  t.deepEqual(browser.receiver.ending, { kind: 'died' });
});

test('restart: a resumed sender goes on after the last published message; a claim of its dead predecessor is gone', (t) => {
  const channel = createChannel({ capacityBytes: 256, restart: 'resume' }, { publish: 'manual' });
  const dead = channel.openSender();
  dead.trySend(Uint8Array.of(1));
  dead.flush();
  dead.trySend(Uint8Array.of(2)); // staged, never published
  dead.claim(50); // claimed, never committed
  giveTo(channel, SENDER_STATE, 41);
  t.throws(() => channel.openSender(), { code: 'CHANNEL_END_TAKEN' });
  const worker = fakeWorker(41);
  channel.receiver.peek();
  watch(worker, channel);
  worker.exit();
  const successor = channel.openSender({ publish: 'each' });
  t.is(successor.generation, 2);
  successor.trySend(Uint8Array.of(3));
  t.deepEqual(channel.receiver.receiveBatch(9), [Uint8Array.of(1), Uint8Array.of(3)]);
  dead.abort();
  dead.flush(); // a zombie publishes nothing
  t.throws(() => dead.trySend(one), { code: 'CHANNEL_PEER_DIED' });
  t.deepEqual(channel.receiver.receiveBatch(9), []);
});

test('restart: a resumed receiver gets again what its predecessor had not released', (t) => {
  const channel = createChannel({ capacityBytes: 1024, restart: 'resume' }, { publish: 'each' });
  const dead = channel.openReceiver();
  for (let i = 0; i < 4; i += 1) channel.sender.trySend(Uint8Array.of(i));
  dead.tryReceive();
  dead.release();
  dead.tryReceive();
  giveTo(channel, RECEIVER_STATE, 41);
  watch({ threadId: 41, once: (_e, listener) => listener() }, channel);
  t.throws(() => channel.sender.trySend(one), { code: 'CHANNEL_PEER_DIED' });
  const successor = channel.openReceiver();
  t.deepEqual(
    successor.receiveBatch(9).map((m) => m[0]),
    [1, 2, 3],
  );
  channel.sender.trySend(one); // the sender may go on
  t.deepEqual(successor.tryReceive(), one);
  t.deepEqual(dead.ending, { kind: 'died' });
});

test('restart refuse: an end that is over is never opened again', (t) => {
  for (const state of [2, 3, 4]) {
    const channel = createChannel({ capacityBytes: 64 });
    control(channel)[SENDER_STATE] = (1 << 3) | state;
    control(channel)[RECEIVER_STATE] = (1 << 3) | state;
    t.throws(() => channel.sender, { code: 'CHANNEL_END_TAKEN', message: /restart/ });
    t.throws(() => channel.receiver, { code: 'CHANNEL_END_TAKEN' });
  }
});

test('waits that only this thread could end throw instead of hanging', (t) => {
  const both = createChannel({ capacityBytes: 64 });
  both.sender.flush();
  t.throws(() => both.receiver.receiveSync({ timeoutMs: 10 }), { code: 'WAIT_WOULD_HANG' });
  while (both.sender.trySend(new Uint8Array(24)));
  t.throws(() => both.sender.sendSync(new Uint8Array(24)), { code: 'WAIT_WOULD_HANG' });
  const watched = createChannel({ capacityBytes: 64 });
  watched.receiver.peek();
  giveTo(watched, SENDER_STATE, 41);
  const w = watch(fakeWorker(41), watched);
  t.throws(() => watched.receiver.receiveSync(), { code: 'WAIT_NEEDS_TIMEOUT' });
  t.throws(() => watched.receiver.receiveSync({ timeoutMs: 5 }), { code: 'CHANNEL_TIMED_OUT' });
  w.stop();
  const async = createChannel({ capacityBytes: 64 }, { wait: waitAsync() });
  t.throws(() => async.receiver.receiveSync(), { code: 'WAIT_ASYNC_ONLY' });
});

for (const strategy of [spinThenWait(), busySpin(), poll(), waitAsync()]) {
  test(`timeouts and abort with ${strategy.name}`, async (t) => {
    const channel = createChannel({ capacityBytes: 64 }, { wait: strategy });
    const { receiver, sender } = channel;
    await t.throwsAsync(receiver.receive({ timeoutMs: 10 }), { code: 'CHANNEL_TIMED_OUT' });
    if (strategy.canBlock) {
      const word = control(channel)[SENDER_STATE] ?? 0;
      giveTo(channel, SENDER_STATE, 41);
      t.throws(() => receiver.receiveSync({ timeoutMs: 10 }), { code: 'CHANNEL_TIMED_OUT' });
      control(channel)[SENDER_STATE] = word;
    }
    await t.throwsAsync(receiver.receive({ signal: AbortSignal.abort(new Error('early')) }), { message: 'early' });
    if (strategy.neverWaits) return;
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('stop')), 5);
    await t.throwsAsync(receiver.receive({ signal: controller.signal }), { message: 'stop' });
    t.is(sender.ending, undefined);
  });
}

test('send: in the order of the calls; one that is aborted or out of time leaves the queue without holding others up', async (t) => {
  const channel = createChannel({ capacityBytes: 64 });
  const { sender, receiver } = channel;
  while (sender.trySend(new Uint8Array(24)));
  const controller = new AbortController();
  const first = sender.send(Uint8Array.of(1), { timeoutMs: 10 });
  const second = sender.send(Uint8Array.of(2), { signal: controller.signal });
  const third = sender.send(Uint8Array.of(3));
  const fourth = sender.send(Uint8Array.of(4), { timeoutMs: 10_000 });
  t.false(sender.trySend(one), 'nobody overtakes');
  t.throws(() => sender.sendSync(one), { code: 'CHANNEL_SEND_PENDING' });
  controller.abort(new Error('changed my mind'));
  await t.throwsAsync(second, { message: 'changed my mind' });
  await t.throwsAsync(first, { code: 'CHANNEL_TIMED_OUT' });
  await t.throwsAsync(sender.send(new Uint8Array(99)), { instanceOf: RangeError });
  t.is(receiver.receiveBatch(1).length, 1);
  receiver.release();
  await Promise.all([third, fourth]);
  const rest = receiver.receiveBatch(9).map((m) => m[0]);
  t.deepEqual(rest.slice(-2), [3, 4]);
  t.true(sender.trySend(one), 'the way is free again');
});

test('ChannelReceiver serves one waiting call at a time', async (t) => {
  const { sender, receiver } = createChannel({ capacityBytes: 64 });
  const first = receiver.receive();
  await t.throwsAsync(receiver.receive(), { code: 'CHANNEL_RECEIVE_PENDING' });
  sender.trySend(one);
  t.deepEqual(await first, one);
});

test('HeartbeatMonitor: silence makes an end suspect, a beat or progress makes it alive, nothing makes it dead', (t) => {
  let now = 0;
  const channel = createChannel({ capacityBytes: 256 }, { publish: 'each' });
  const monitor = new HeartbeatMonitor(channel, 'sender', { suspectAfterMs: 100, clock: () => now });
  t.is(monitor.check(), 'absent');
  const { sender } = channel;
  t.is(monitor.check(), 'alive');
  now = 100;
  t.is(monitor.check(), 'suspect');
  sender.beat();
  t.is(monitor.check(), 'alive');
  now = 199;
  t.is(monitor.check(), 'alive');
  sender.trySend(one);
  now = 200;
  t.is(monitor.check(), 'alive');
  sender.close();
  t.is(monitor.check(), 'absent');
  t.throws(() => new HeartbeatMonitor(channel, 'sender', {}, 1), { instanceOf: RangeError });
});

test('openChannel twice on one thread: the second cannot take what the first holds', (t) => {
  const channel = createChannel({ capacityBytes: 64 });
  const again = openChannel(channel.handle);
  channel.sender.flush();
  t.throws(() => again.sender, { code: 'CHANNEL_END_TAKEN', message: /another owner/ });
  t.is(again.receiver.generation, 1);
  t.throws(() => watch(fakeWorker(1), {} as Channel), { instanceOf: TypeError });
});
