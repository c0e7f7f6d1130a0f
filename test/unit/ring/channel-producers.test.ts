// The end of a channel with several producers: all that were announced have come and are gone, however quick the first are.
import test from 'ava';
import { type Channel, createChannel, openChannel, poll, watch } from 'sharedarraybuffer-ring';

const one = Uint8Array.of(1);
const states = (channel: Channel): string[] => channel.inspect().senders.map(({ state }) => state);

test('ChannelReceiver.ending waits for every announced producer, and tells the worst of their endings', async (t) => {
  const channel = createChannel({ capacityBytes: 64, producers: 3 });
  const { receiver } = channel;
  for (const last of [false, false, true]) {
    const sender = channel.openSender();
    sender.trySend(one);
    if (last) sender.fail('full');
    else sender.close();
    t.deepEqual(await receiver.receive(), one);
    t.deepEqual(receiver.ending, last ? { kind: 'failed', reason: 'full' } : undefined);
  }
  await t.throwsAsync(receiver.receive(), { code: 'CHANNEL_FAILED' });
  t.deepEqual(receiver.ending, { kind: 'failed', reason: 'full' });
});

test('Channel.openSender takes lanes never used before those that were closed', (t) => {
  const channel = createChannel({ capacityBytes: 64, producers: 2 });
  channel.openSender().close();
  channel.openSender();
  t.deepEqual(states(channel), ['closed', 'open']);
  t.is(channel.openSender().generation, 2);
  t.throws(() => channel.openSender(), { code: 'CHANNEL_END_TAKEN' });
});

test('Channel.seal: nobody else is waited for, a waiting receiver is told, who comes in time may still send', async (t) => {
  const channel = createChannel({ capacityBytes: 64, producers: 4 });
  const first = channel.openSender();
  openChannel(channel.handle).seal();
  channel.seal();
  t.deepEqual(states(channel), ['open', 'closed', 'closed', 'closed']);
  const second = channel.openSender();
  first.close();
  second.trySend(one);
  t.deepEqual(await channel.receiver.receive(), one);
  const waiting = channel.receiver.receive();
  second.close();
  t.is(await waiting, undefined);
  const unused = createChannel({ capacityBytes: 64, producers: 2 });
  const told = unused.receiver.receive();
  unused.seal();
  t.is(await told, undefined);
});

test('a producer that comes after the receiver was told the end is told too, instead of waiting for a reader', async (t) => {
  const channel = createChannel({ capacityBytes: 64, producers: 2 }, { wait: poll() });
  channel.openSender().close();
  channel.openSender().close();
  t.deepEqual(channel.receiver.ending, { kind: 'closed' }, 'looking is not being told');
  const early = channel.openSender();
  early.trySend(one);
  t.deepEqual(await channel.receiver.receive(), one);
  early.close();
  t.is(await channel.receiver.receive(), undefined);
  const late = channel.openSender();
  t.throws(() => late.trySend(one), { code: 'CHANNEL_CLOSED' });
  t.is(await channel.receiver.receive(), undefined, 'told once is told for ever');
});

test("restart 'resume': an end that was told is not final, a producer may come again", async (t) => {
  const channel = createChannel({ capacityBytes: 64, producers: 2, restart: 'resume' });
  channel.openSender().close();
  channel.openSender().close();
  t.is(await channel.receiver.receive(), undefined);
  const again = channel.openSender();
  again.trySend(one);
  t.deepEqual(await channel.receiver.receive(), one);
});

test('watch: each worker that dies before it came is missed once; one that came and left is not', (t) => {
  for (const opensFirst of [true, false]) {
    const channel = createChannel({ capacityBytes: 64, producers: 3 });
    if (opensFirst) channel.receiver.peek();
    const exits: (() => void)[] = [];
    const worker = (threadId: number) => ({ threadId, once: (_: 'exit', exit: () => void) => exits.push(exit) });
    for (const threadId of [41, 42, 43]) watch(worker(threadId), channel);
    const words = new Int32Array(channel.handle.memory.buffer as SharedArrayBuffer);
    words[128 + 96] = (42 << 11) | (1 << 3) | 2; // the first lane: closed in order by the thread of worker 41
    exits[0]?.();
    t.is(channel.receiver.ending, undefined, 'two are still to come');
    exits[1]?.();
    t.deepEqual(states(channel), ['closed', 'died', 'free']);
    t.is(channel.receiver.ending, undefined, 'one is still to come');
    exits[2]?.();
    t.deepEqual(states(channel), ['closed', 'died', 'died']);
    t.deepEqual(channel.receiver.ending, { kind: 'died' });
  }
  const before = createChannel({ capacityBytes: 64, producers: 3 });
  for (let i = 0; i < 2; i += 1) watch({ threadId: -1 }, before);
  t.is(before.receiver.ending, undefined);
  t.deepEqual(states(before), ['died', 'died', 'free'], 'they died before anybody opened an end');
});
