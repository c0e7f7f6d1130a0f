// What a caller without types may hand in: refused at once, with nothing changed, and never a wait without end.
import test from 'ava';
import {
  type Channel,
  createChannel,
  createRpc,
  HeartbeatMonitor,
  initRing,
  type MessageBuffer,
  openChannel,
  portDoorbell,
  SharedMemory,
  SlotBuffer,
  watch,
} from 'sharedarraybuffer-ring';

const fresh = (): Channel => createChannel({ capacityBytes: 256 });
/** As JavaScript would pass it. */
const as = <T>(value: unknown): T => value as T;

/** Everything in the channel's memory. */
const contents = ({ handle }: Channel): string =>
  new Uint8Array(handle.memory.buffer ?? new SharedArrayBuffer(0)).slice().join();

const NOT_BYTES: Readonly<Record<string, unknown>> = {
  'a string': 'hello',
  'an array': [1, 2, 3],
  'words, whose length counts four bytes each': new Int32Array(4),
  'an ArrayBuffer': new ArrayBuffer(8),
  'a DataView': new DataView(new ArrayBuffer(8)),
  'something with a length': { length: 3 },
  nothing: undefined,
  'a message longer than half the channel': new Uint8Array(121),
};

for (const [what, value] of Object.entries(NOT_BYTES)) {
  test(`ChannelSender refuses ${what}, and nothing changes`, async (t) => {
    const channel = fresh();
    const { sender } = channel;
    const before = contents(channel);
    t.throws(() => sender.trySend(as(value)), { any: true });
    t.throws(() => sender.sendSync(as(value)), { any: true });
    await t.throwsAsync(async () => sender.send(as(value)), { any: true });
    t.is(contents(channel), before);
    t.is(sender.usedBytes, 0);
  });
}

test('ChannelSender.claim and trySendFrom refuse a length that is none, and the sender stays usable', (t) => {
  const { sender, receiver } = fresh();
  for (const length of [-1, Number.NaN, 121, as<number>(undefined)]) {
    t.throws(() => sender.claim(length), { instanceOf: RangeError });
    t.throws(() => sender.trySendFrom(new SlotBuffer(1, 128), 0, length), { instanceOf: RangeError });
  }
  t.throws(() => sender.trySendFrom(new SlotBuffer(1, 8), -8, 8), { instanceOf: RangeError });
  t.throws(() => sender.trySendFrom(as<MessageBuffer>(new Uint8Array(8)), 0, 8), { instanceOf: TypeError });
  t.true(sender.trySend(Uint8Array.of(7)));
  t.deepEqual(receiver.tryReceive(), Uint8Array.of(7));
});

test('a timeout that is no number ends the wait at once instead of never', async (t) => {
  const timeoutMs = Number.NaN;
  const { sender, receiver } = fresh();
  await t.throwsAsync(receiver.receive({ timeoutMs }), { code: 'CHANNEL_TIMED_OUT' });
  t.throws(() => openChannel(fresh().handle).receiver.receiveSync({ timeoutMs }), { code: 'CHANNEL_TIMED_OUT' });
  while (sender.trySend(new Uint8Array(64)));
  await t.throwsAsync(sender.send(new Uint8Array(64), { timeoutMs }), { code: 'CHANNEL_TIMED_OUT' });
});

test('watch and HeartbeatMonitor refuse a handle in place of its channel, and an end that is none', (t) => {
  const channel = fresh();
  t.throws(() => watch({}, as(channel.handle)), { instanceOf: TypeError, message: /no channel/ });
  t.throws(() => watch({}, channel, { end: as('sendr') }), { instanceOf: TypeError, message: /sendr/ });
  t.throws(() => new HeartbeatMonitor(as(channel.handle), 'sender'), { instanceOf: TypeError, message: /no channel/ });
  t.throws(() => new HeartbeatMonitor(channel, as('sendr')), { instanceOf: TypeError, message: /sendr/ });
  t.throws(() => new HeartbeatMonitor(channel, 'sender', {}, 1), { instanceOf: RangeError });
});

test('openChannel refuses a handle whose place is no multiple of a line, or no number', (t) => {
  const { handle } = fresh();
  for (const at of ['0', '128', -128, 64, 0.5, Number.NaN, 2 ** 40]) {
    t.throws(() => openChannel({ ...handle, at: as(at) }), { code: 'CHANNEL_HANDLE' }, String(at));
  }
});

test('SharedMemory.allocate refuses a kind that there is not', (t) => {
  t.throws(() => SharedMemory.allocate(4096, as('wsm')), { instanceOf: TypeError, message: /wsm/ });
});

test('initRing refuses a region without room for a slot, and writes nothing beside it', (t) => {
  const buffer = new SharedArrayBuffer(128);
  const bytes = new Uint8Array(buffer).fill(7);
  for (const length of [0, 8, 64]) {
    t.throws(() => initRing(new Uint8Array(buffer, 0, length)), { code: 'RING_TOO_SMALL' });
  }
  t.true(bytes.every((byte) => byte === 7));
});

test('portDoorbell refuses what is no port', (t) => {
  t.throws(() => portDoorbell(as({})), { instanceOf: TypeError });
});

test('RpcResponder fails a call whose handler answers with something else than bytes, and goes on', async (t) => {
  const rpc = createRpc({ capacityBytes: 256 });
  const answers: unknown[] = ['hello', undefined, [1, 2], Uint8Array.of(4)];
  const served = rpc.responder.serve(() => as(answers.shift()));
  for (let i = 0; i < 3; i += 1) {
    await t.throwsAsync(rpc.caller.call(Uint8Array.of(i)), { code: 'CALL_FAILED', message: /no Uint8Array/ });
  }
  t.deepEqual(await rpc.caller.call(Uint8Array.of(3)), Uint8Array.of(4));
  rpc.caller.close();
  await served;
});
