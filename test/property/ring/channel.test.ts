// The channel against a model: any sequence of sends, claims, flushes and reads, from start positions around 0, 2^31, 2^32.
import test from 'ava';
import fc from 'fast-check';
import { type Channel, createChannel } from 'sharedarraybuffer-ring';

const CAPACITY = 256;
const LONGEST = CAPACITY / 2 - 8;

interface Model {
  /** Sent, in order, not yet received: by lane. */
  readonly sent: string[][];
  counter: number;
}

interface Real {
  readonly channel: Channel;
  readonly senders: ReturnType<Channel['openSender']>[];
}

const contents = (n: number, length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (n * 7 + i) & 0xff);
const note = (bytes: Uint8Array, tag: number): string => `${tag}:${[...bytes].join()}`;

type Command = fc.Command<Model, Real>;

const send = (lane: number, length: number, how: 'copy' | 'claim' | 'abort'): Command => ({
  check: () => true,
  run: (model, { senders }) => {
    const sender = senders[lane];
    if (sender === undefined) throw new Error('no such lane');
    const tag = model.counter;
    const bytes = contents(tag, length);
    model.counter += 1;
    if (how === 'copy') {
      if (sender.trySend(bytes, tag)) model.sent[lane]?.push(note(bytes, tag));
      return;
    }
    const at = sender.claim(length);
    if (at < 0) return;
    sender.bytes.set(bytes, at);
    if (how === 'abort') sender.abort();
    else {
      const kept = Math.floor(length / 2);
      sender.commit(tag, kept);
      model.sent[lane]?.push(note(bytes.subarray(0, kept), tag));
    }
  },
  toString: () => `${how} ${length} in lane ${lane}`,
});

const flush = (lane: number): Command => ({
  check: () => true,
  run: (_model, { senders }) => senders[lane]?.flush(),
  toString: () => `flush lane ${lane}`,
});

const receive = (limit: number, how: 'take' | 'refuse'): Command => ({
  check: () => true,
  run: (model, { channel: { receiver } }) => {
    for (let i = 0; i < limit; i += 1) {
      if (!receiver.peek()) return;
      const { producer, tag } = receiver;
      const expected = model.sent[producer]?.[0];
      const seen = note(receiver.bytes.slice(receiver.at, receiver.at + receiver.length), tag);
      if (seen !== expected) throw new Error(`received ${seen}, expected ${expected}`);
      if (how === 'refuse') {
        receiver.read(() => false);
        if (receiver.tag !== tag) throw new Error('a refused message went away');
        return;
      }
      receiver.consume();
      model.sent[producer]?.shift();
    }
  },
  toString: () => `${how} ${limit}`,
});

function open(producers: number, at: number): Real {
  const channel = createChannel({ capacityBytes: CAPACITY, producers });
  const control = new Int32Array(channel.handle.memory.buffer as SharedArrayBuffer); // plain memory
  for (let lane = 0; lane < producers; lane += 1) {
    const base = 128 + 192 * lane;
    control[base] = at;
    control[base + 32] = at;
  }
  return { channel, senders: Array.from({ length: producers }, () => channel.openSender()) };
}

const starts = fc.oneof(
  ...[0, 2 ** 31, 2 ** 32].map((pivot) => fc.integer({ min: -64, max: 64 }).map((n) => (pivot + 8 * n) | 0)),
);

for (const producers of [1, 3]) {
  test(`a channel of ${producers} behaves as queues do: nothing lost, doubled, reordered or torn`, (t) => {
    const lanes = fc.integer({ min: 0, max: producers - 1 });
    const commands = fc.commands(
      [
        fc
          .tuple(
            lanes,
            fc.integer({ min: 0, max: LONGEST }),
            fc.constantFrom('copy' as const, 'claim' as const, 'abort' as const),
          )
          .map((args) => send(...args)),
        lanes.map(flush),
        fc
          .tuple(fc.integer({ min: 1, max: 8 }), fc.constantFrom('take' as const, 'refuse' as const))
          .map((args) => receive(...args)),
      ],
      { maxCommands: 120 },
    );
    fc.assert(
      fc.property(starts, commands, (at, list) => {
        const real = open(producers, at);
        const model: Model = { sent: Array.from({ length: producers }, () => []), counter: 0 };
        fc.modelRun(() => ({ model, real }), list);
        for (const sender of real.senders) sender.flush();
        receive(1e6, 'take').run(model, real);
        const left = model.sent.flat().length;
        if (left > 0) throw new Error(`${left} messages never arrived`);
      }),
      { numRuns: 300 },
    );
    t.pass();
  });
}
