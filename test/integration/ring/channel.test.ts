// Channels between real threads: every mix of wait strategies, kills at random moments, deaths that wake sleepers.
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { createChannel, createRpc, openRpc, type RingError, spinThenWait, watch } from 'sharedarraybuffer-ring';
import { checkMessage, messageOf, type StrategyName, type Task } from './channel-worker.ts';

const LONGEST = 200;

function start(task: Task): { worker: Worker; result: Promise<string>; exited: Promise<void>; first: Promise<number> } {
  const worker = new Worker(new URL('./channel-worker.ts', import.meta.url), { workerData: task });
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  const result = new Promise<string>((resolve, reject) => {
    worker.on('message', (message: { result?: string }) => message.result !== undefined && resolve(message.result));
    worker.once('error', reject);
    worker.once('exit', () => resolve('exited'));
  });
  const first = new Promise<number>((resolve) => {
    worker.on('message', (message: { first?: number }) => message.first !== undefined && resolve(message.first));
  });
  return { worker, result, exited, first };
}

/** A small deterministic generator: a failing seed can be run again. */
function random(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) / 2 ** 24;
  };
}

const mixes: [StrategyName, StrategyName][] = [
  ['spin-then-wait', 'spin-then-wait'],
  ['sleep', 'sleep'],
  ['sleep', 'wait-async'],
  ['wait-async', 'sleep'],
  ['wait-async', 'wait-async'],
  ['busy-spin', 'spin-then-wait'],
  ['spin-then-wait', 'busy-spin'],
];

for (const [producing, consuming] of mixes) {
  test.serial(`two workers, ${producing} to ${consuming}: nothing lost, doubled, torn or left asleep`, async (t) => {
    const { handle } = createChannel({ capacityBytes: 1024 });
    const messages = producing === 'wait-async' || consuming === 'wait-async' ? 3_000 : 20_000;
    const consumer = start({ role: 'consume', handle, wait: consuming, messages: 0, seed: 0 });
    const producer = start({ role: 'produce', handle, wait: producing, messages, seed: 7 });
    t.is(await producer.result, `sent ${messages}`);
    t.is(await consumer.result, `7:${messages}`);
  });
}

test.serial(
  'three producers to one consumer, each with another strategy: each stream whole and in order',
  async (t) => {
    const { handle } = createChannel({ capacityBytes: 1024, producers: 3 });
    const strategies: StrategyName[] = ['spin-then-wait', 'sleep', 'wait-async'];
    const producers = strategies.map((wait, i) =>
      start({ role: 'produce', handle, wait, messages: 3_000, seed: i + 1 }),
    );
    const consumer = start({ role: 'consume', handle, wait: 'sleep', messages: 0, seed: 0 });
    for (const producer of producers) t.is(await producer.result, 'sent 3000');
    t.is(await consumer.result, '1:3000 2:3000 3:3000');
  },
);

test.serial('three producers, each started after the one before is gone: the consumer waits for all', async (t) => {
  const { handle } = createChannel({ capacityBytes: 1024, producers: 3 });
  const consumer = start({ role: 'consume', handle, wait: 'sleep', messages: 0, seed: 0 });
  for (const seed of [1, 2, 3]) {
    const producer = start({ role: 'produce', handle, wait: 'sleep', messages: 100, seed });
    // Unless it is the last, the consumer must not have ended meanwhile.
    t.is(await (seed < 3 ? Promise.race([producer.result, consumer.result]) : producer.result), 'sent 100');
    await producer.exited;
  }
  t.is(await consumer.result, '1:100 2:100 3:100');
});

for (const [calling, echo] of [
  ['spin-then-wait', 'echo'],
  ['wait-async', 'echo-async'],
  ['sleep', 'echo-async'],
] as const) {
  test.serial(`request and reply between two workers: ${calling} calls ${echo}`, async (t) => {
    const { handle } = createRpc({ capacityBytes: 1024 });
    const wait = echo === 'echo' ? 'sleep' : 'wait-async';
    const responder = start({ role: echo, handle, wait, messages: 0, seed: 0 });
    const caller = start({ role: 'call', handle, wait: calling, messages: 500, seed: 3 });
    t.is(await caller.result, 'called 500');
    t.is(await responder.result, 'served');
  });
}

test.serial('callSync that timed out does not poison the next one', async (t) => {
  const rpc = createRpc({ capacityBytes: 4096 });
  const { caller } = openRpc(rpc.handle);
  // Nobody answers yet: the first calls give up, their requests stay queued and are answered late.
  for (let i = 0; i < 3; i += 1) {
    t.throws(() => caller.callSync(Uint8Array.of(i), { timeoutMs: 5 }), { code: 'CHANNEL_TIMED_OUT' });
  }
  const echo = start({ role: 'echo', handle: rpc.handle, wait: 'sleep', messages: 0, seed: 0 });
  t.deepEqual(caller.callSync(Uint8Array.of(9), { timeoutMs: 10_000 }), Uint8Array.of(9));
  t.is(caller.lateReplies, 3);
  caller.close();
  t.is(await echo.result, 'served');
});

test.serial(
  'a producer killed at random moments: whole messages in order, none lost that was committed, death told',
  async (t) => {
    const channel = createChannel({ capacityBytes: 512, restart: 'resume' });
    const { receiver } = channel;
    const draw = random(20_261_122);
    for (let incarnation = 0; incarnation < 8; incarnation += 1) {
      const progress = new Int32Array(new SharedArrayBuffer(4));
      const wait: StrategyName = (['sleep', 'spin-then-wait', 'wait-async'] as const)[incarnation % 3] ?? 'sleep';
      const task: Task = { role: 'produce', handle: channel.handle, wait, messages: 0, seed: incarnation, progress };
      const { worker, exited } = start(task);
      watch(worker, channel);
      // Until the successor has opened its end, the channel says that the peer is dead.
      while (channel.inspect().senders[0]?.state !== 'open') await new Promise((resolve) => setTimeout(resolve, 1));
      let expected = 0;
      let isKilled = false;
      const killAt = Math.floor(draw() * 400);
      const error = await t.throwsAsync<RingError>(async () => {
        for (;;) {
          const message = await receiver.receive({ timeoutMs: 20_000 });
          const found = checkMessage(message ?? new Uint8Array(0), LONGEST);
          if (typeof found === 'string' || found.n !== expected || found.seed !== incarnation) {
            void worker.terminate();
            throw new Error(`expected message ${expected} of ${incarnation}, found ${JSON.stringify(found)}`);
          }
          expected += 1;
          if (expected > killAt && !isKilled) {
            isKilled = true;
            void worker.terminate();
          }
        }
      });
      t.is(error?.code, 'CHANNEL_PEER_DIED', error?.message);
      await exited;
      t.true(expected >= Atomics.load(progress, 0), `${expected} received, ${Atomics.load(progress, 0)} committed`);
    }
  },
);

test.serial(
  'a consumer killed at random moments: its successor goes on where it released; the producer is told',
  async (t) => {
    const channel = createChannel({ capacityBytes: 512, restart: 'resume' });
    const { sender } = channel;
    const draw = random(4711);
    const progress = new Int32Array(new SharedArrayBuffer(4));
    let n = 0;
    for (let incarnation = 0; incarnation < 8; incarnation += 1) {
      const released = Atomics.load(progress, 0);
      const wait: StrategyName = incarnation % 2 === 0 ? 'sleep' : 'wait-async';
      const consumer = start({ role: 'consume', handle: channel.handle, wait, messages: 0, seed: 0, progress });
      watch(consumer.worker, channel);
      // Until the successor has opened its end, the channel says that the peer is dead.
      while (channel.inspect().receiver.state !== 'open') await new Promise((resolve) => setTimeout(resolve, 1));
      const killAt = n + Math.floor(draw() * 300) + 5;
      const error = await t.throwsAsync<RingError>(async () => {
        for (;;) {
          await sender.send(messageOf(n, 5, LONGEST), { timeoutMs: 20_000 });
          n += 1;
          if (n === killAt) void consumer.worker.terminate();
        }
      });
      t.is(error?.code, 'CHANNEL_PEER_DIED');
      const first = await Promise.race([consumer.first, consumer.exited]);
      // It may have died between giving a message back and saying so: never a message twice that was released before.
      if (typeof first === 'number') t.true(first === released || first === released + 1, `${first} after ${released}`);
      await consumer.exited;
    }
    sender.close();
  },
);

test.serial(
  'a worker asleep in Atomics.wait learns that another worker died, from the thread that owns both',
  async (t) => {
    const { handle } = createChannel({ capacityBytes: 512 });
    const owner = createChannel({ capacityBytes: 512 });
    const consumer = start({ role: 'consume', handle: owner.handle, wait: 'sleep', messages: 0, seed: 0 });
    const task: Task = { role: 'produce', handle: owner.handle, wait: 'sleep', messages: 0, seed: 1 };
    const producer = start({ ...task, progress: new Int32Array(new SharedArrayBuffer(4)) });
    watch(producer.worker, owner);
    await consumer.first;
    void producer.worker.terminate();
    t.regex(await consumer.result, /^CHANNEL_PEER_DIED/);
    t.is(handle.producers, 1);
  },
);

test.serial('a worker that blocks on a full channel learns that the reading worker died', async (t) => {
  const channel = createChannel({ capacityBytes: 512 });
  const consumer = start({ role: 'consume', handle: channel.handle, wait: 'sleep', messages: 0, seed: 0 });
  watch(consumer.worker, channel, { end: 'receiver' });
  const producer = start({ role: 'produce', handle: channel.handle, wait: 'sleep', messages: 0, seed: 1 });
  await consumer.first;
  void consumer.worker.terminate();
  t.regex(await producer.result, /^CHANNEL_PEER_DIED/);
});

test.serial('a worker that dies at boot is missed', async (t) => {
  const channel = createChannel({ capacityBytes: 512 });
  const worker = new Worker('process.exit(3)', { eval: true, execArgv: [] });
  watch(worker, channel);
  await t.throwsAsync(channel.receiver.receive({ timeoutMs: 20_000 }), { code: 'CHANNEL_PEER_DIED' });
});

test.serial('a blocked owner is helped only by its timeout', async (t) => {
  const channel = createChannel({ capacityBytes: 512 }, { wait: spinThenWait({ maxSpins: 0 }) });
  const worker = new Worker('process.exit(3)', { eval: true, execArgv: [] });
  watch(worker, channel);
  t.throws(() => channel.receiver.receiveSync({ timeoutMs: 100 }), { code: 'CHANNEL_TIMED_OUT' });
  await t.throwsAsync(channel.receiver.receive(), { code: 'CHANNEL_PEER_DIED' });
});
