// A hostile peer: between any two steps of one end, any word of the channel's shared memory may change. The end throws
// nothing but declared errors, does bounded work, and touches no byte outside the channel.
import test from 'ava';
import fc from 'fast-check';
import { type Channel, createChannel, openChannel, poll, RingError, SharedMemory } from 'sharedarraybuffer-ring';

const CAPACITY = 256;
const GUARD = 0x5a;
const DECLARED = ['CHANNEL_CLOSED', 'CHANNEL_FAILED', 'CHANNEL_PEER_DIED', 'CHANNEL_TIMED_OUT'];

interface Poke {
  readonly word: number;
  readonly value: number;
}

/** A channel between two guarded areas of one memory, so that a write outside shows. */
function guarded(producers: number): { channel: Channel; words: Int32Array; isIntact: () => boolean } {
  const memory = SharedMemory.allocate(1 << 14);
  const before = memory.reserve(1024);
  const channel = createChannel({ capacityBytes: CAPACITY, producers, memory }, { wait: poll(), publish: 'each' });
  const end = channel.handle.at + (4 + 6 * producers) * 128 + CAPACITY * producers;
  const after = memory.bytes.subarray(end);
  before.fill(GUARD);
  after.fill(GUARD);
  const words = new Int32Array(memory.buffer, channel.handle.at, (end - channel.handle.at) >> 2);
  const isIntact = (): boolean => before.every((b) => b === GUARD) && after.every((b) => b === GUARD);
  return { channel, words, isIntact };
}

/** Run a step; a declared error is fine, and told. */
function attempt(step: () => unknown): void {
  try {
    step();
  } catch (error) {
    if (error instanceof RingError && DECLARED.includes(error.code)) return;
    throw error;
  }
}

// Mostly values near the truth: positions, lengths and states that nearly fit reach deeper than noise.
const values = fc.oneof(
  fc.integer({ min: -64, max: 600 }),
  fc.integer({ min: -8, max: 80 }).map((n) => n * 8),
  fc.constantFrom(-1, 0x7fffffff, -0x80000000, 1, 2, 3, 4, 7, 9, 10, 11, 12),
  fc.integer(),
);
const pokes = (words: number): fc.Arbitrary<Poke[]> =>
  fc.array(
    fc.record({
      word: fc.oneof(fc.integer({ min: 0, max: words - 1 }), fc.constantFrom(32, 64, 128, 160, 192, 224, 226, 256)),
      value: values,
    }),
    {
      maxLength: 6,
    },
  );
const steps = fc.array(
  fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 120 }), pokes(128 + 192 + 64)),
  {
    minLength: 1,
    maxLength: 40,
  },
);

test('a receiver withstands a sender that writes anything anywhere', (t) => {
  fc.assert(
    fc.property(steps, (list) => {
      const { channel, words, isIntact } = guarded(1);
      const { receiver } = channel;
      const sender = openChannel(channel.handle, { wait: poll(), publish: 'each' }).sender;
      const target = new Uint8Array(CAPACITY);
      let taken = 0;
      for (const [what, length, changes] of list) {
        attempt(() => sender.trySend(new Uint8Array(length)));
        for (const { word, value } of changes) words[word % words.length] = value;
        if (what < 3) attempt(() => receiver.tryReceive());
        else if (what < 5) attempt(() => receiver.tryReceiveInto(target));
        else if (what < 7)
          taken += receiver.read((bytes, at, size) => at >= 0 && size >= 0 && at + size <= bytes.length, 1000);
        else if (what === 7) attempt(() => receiver.release());
        else attempt(() => receiver.receiveSync({ timeoutMs: 0 }));
        void receiver.ending;
        channel.inspect();
        if (taken > 40 * 40) throw new Error('unbounded work');
      }
      if (!isIntact()) throw new Error('a byte outside the channel changed');
    }),
    { numRuns: 1500 },
  );
  t.pass();
});

test('a sender withstands a receiver that writes anything anywhere', (t) => {
  fc.assert(
    fc.property(steps, (list) => {
      const { channel, words, isIntact } = guarded(1);
      const { sender } = channel;
      const receiver = openChannel(channel.handle, { wait: poll() }).receiver;
      for (const [what, length, changes] of list) {
        for (const { word, value } of changes) words[word % words.length] = value;
        if (what < 4) attempt(() => sender.trySend(new Uint8Array(length), what));
        else if (what < 6) {
          attempt(() => {
            const at = sender.claim(length);
            if (at < 0) return;
            if (at + length > CAPACITY) throw new Error('claimed beyond the lane');
            sender.bytes.fill(1, at, at + length);
            sender.commit(0, length >> 1);
          });
        } else if (what === 6) attempt(() => sender.flush());
        else if (what === 7) attempt(() => sender.sendSync(new Uint8Array(length), { timeoutMs: 0 }));
        else receiver.receiveBatch(4);
        void sender.ending;
        if (sender.usedBytes > CAPACITY) throw new Error('more used than there is');
      }
      if (!isIntact()) throw new Error('a byte outside the channel changed');
    }),
    { numRuns: 1500 },
  );
  t.pass();
});

test('a sender that breaks its lane loses it; the other lanes go on', (t) => {
  const { channel, words } = guarded(2);
  const bad = channel.openSender();
  const good = channel.openSender();
  const { receiver } = channel;
  good.trySend(Uint8Array.of(1));
  bad.trySend(Uint8Array.of(2));
  words[128] = 4096; // published more than the lane holds
  good.trySend(Uint8Array.of(3));
  const got = receiver.receiveBatch(9).map((message) => message[0]);
  t.deepEqual(got, [1, 3]);
  t.throws(() => bad.trySend(Uint8Array.of(4)), { code: 'CHANNEL_FAILED' });
  good.trySend(Uint8Array.of(5));
  t.deepEqual(receiver.tryReceive(), Uint8Array.of(5));
  good.close();
  t.is(receiver.ending?.kind, 'failed');
  t.throws(() => receiver.receiveSync({ timeoutMs: 0 }), { code: 'CHANNEL_FAILED' });
});

for (const [name, word, value] of [
  ['beyond the capacity', 128, 264],
  ['not a multiple of 8', 128, 20],
  ['behind the head', 128, -8],
] as const) {
  test(`a tail ${name} ends the channel for the receiver with a reason`, (t) => {
    const { channel, words } = guarded(1);
    channel.sender.trySend(Uint8Array.of(1));
    words[word] = value;
    t.is(channel.receiver.tryReceive(), undefined);
    const ending = channel.receiver.ending;
    t.is(ending?.kind, 'failed');
    t.regex(ending?.kind === 'failed' ? ending.reason : '', /tail/);
  });
}

for (const length of [-2, 9, 248, 0x7fffffff, -0x80000000]) {
  test(`a record length of ${length} ends the channel for the receiver`, (t) => {
    const { channel, words } = guarded(1);
    channel.sender.trySend(Uint8Array.of(1));
    words[128 + 192] = length;
    t.is(channel.receiver.tryReceive(), undefined);
    t.is(channel.receiver.ending?.kind, 'failed');
  });
}
