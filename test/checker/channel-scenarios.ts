// Small worlds in which the message channel is explored: a lane of 64 bytes, three messages, a seam, sleeps, deaths.
import {
  CAPACITY_BYTES,
  type ChannelVariant,
  type ChannelWorld,
  codeOf,
  expected,
  LENGTHS,
  LINE_BYTES,
  messageOf,
  mustBe,
  nameOf,
  openBlocking,
  owner,
  RECEIVER_THREAD,
  reports,
  SENDER_THREAD,
  setup,
  unfinished,
} from './channel-world.ts';
import type { Probe, Scenario } from './explore.ts';
import type { RingLibrary } from './plants.ts';

function sendAll(lib: RingLibrary, world: ChannelWorld, probe: Probe, thread: number, first = 0, closes = true): void {
  try {
    const { sender } = openBlocking(lib, world, thread);
    for (let n = first; n < LENGTHS.length; n += 1) {
      sender.sendSync(messageOf(thread, n));
      probe.report(n);
    }
    if (closes) sender.close();
  } catch (error) {
    probe.report(codeOf(error));
  }
}

function receiveAll(lib: RingLibrary, world: ChannelWorld, probe: Probe, count = Number.POSITIVE_INFINITY): void {
  try {
    const { receiver } = openBlocking(lib, world, RECEIVER_THREAD);
    for (let n = 0; n < count; n += 1) {
      const message = receiver.receiveSync();
      if (message === undefined) {
        probe.report('closed');
        return;
      }
      probe.report(nameOf(message));
    }
  } catch (error) {
    probe.report(codeOf(error));
  }
}

/** How far the tail is from `at` after each message, padding before the seam included. */
function endsFrom(at: number): number[] {
  let end = 0;
  return LENGTHS.map((length) => {
    const size = length + 8;
    const toSeam = CAPACITY_BYTES - ((at + end) & (CAPACITY_BYTES - 1));
    end += size > toSeam ? toSeam + size : size;
    return end;
  });
}

/** Both ends block, and no close comes to help: every message once, whole, in order; nobody sleeps for ever. */
export function channelStream(lib: RingLibrary, variant: ChannelVariant): Scenario<ChannelWorld> {
  return {
    setup: setup(lib, variant),
    preemptions: variant.preemptions ?? 2,
    ends: [
      { name: 'sender', run: (world, probe) => sendAll(lib, world, probe, SENDER_THREAD, 0, false) },
      { name: 'receiver', run: (world, probe) => receiveAll(lib, world, probe, LENGTHS.length) },
    ],
    check: (outcome) =>
      unfinished(outcome) ?? mustBe('receiver', reports(outcome, 'receiver'), expected(SENDER_THREAD)),
  };
}

/** The sender dies anywhere: the receiver sees whole messages from the first on, at least the sent ones, then the news. */
export function channelSenderDies(lib: RingLibrary, variant: ChannelVariant): Scenario<ChannelWorld> {
  return {
    setup: setup(lib, variant),
    preemptions: variant.preemptions ?? 1,
    kills: 1,
    ends: [
      { name: 'sender', isMortal: true, run: (world, probe) => sendAll(lib, world, probe, SENDER_THREAD) },
      { name: 'receiver', run: (world, probe) => receiveAll(lib, world, probe) },
      owner(lib, 'sender', SENDER_THREAD),
    ],
    check: (outcome) => {
      const got = reports(outcome, 'receiver');
      const last = got.pop();
      const isDead = outcome.ends['sender']?.status === 'dead';
      if (last !== 'closed' && !(isDead && last === 'CHANNEL_PEER_DIED')) return `receiver was told ${last}`;
      if (got.length < reports(outcome, 'sender').length) return 'a message that was sent is lost';
      return unfinished(outcome) ?? mustBe('receiver', got, expected(SENDER_THREAD).slice(0, got.length));
    },
  };
}

/** The receiver dies anywhere: the sender, asleep on a full lane or not, is told. */
export function channelReceiverDies(lib: RingLibrary, variant: ChannelVariant): Scenario<ChannelWorld> {
  return {
    setup: setup(lib, variant),
    preemptions: variant.preemptions ?? 1,
    kills: 1,
    ends: [
      { name: 'sender', run: (world, probe) => sendAll(lib, world, probe, SENDER_THREAD) },
      { name: 'receiver', isMortal: true, run: (world, probe) => receiveAll(lib, world, probe) },
      owner(lib, 'receiver', RECEIVER_THREAD),
    ],
    check: (outcome) => {
      const got = reports(outcome, 'receiver').filter((report) => report !== 'closed');
      const told = reports(outcome, 'sender').at(-1);
      const isTold = told === `${LENGTHS.length - 1}` || told === 'CHANNEL_PEER_DIED';
      if (!isTold) return `sender was told ${told}`;
      return unfinished(outcome) ?? mustBe('receiver', got, expected(SENDER_THREAD).slice(0, got.length));
    },
  };
}

/** The sender dies anywhere and a successor goes on after the last published message: none lost, none twice. */
export function channelSenderResumes(lib: RingLibrary, variant: ChannelVariant): Scenario<ChannelWorld> {
  const { at } = variant;
  return {
    setup: setup(lib, variant),
    preemptions: variant.preemptions ?? 1,
    kills: 1,
    ends: [
      { name: 'sender', isMortal: true, run: (world, probe) => sendAll(lib, world, probe, SENDER_THREAD) },
      {
        name: 'owner of sender',
        startsAfter: 'sender',
        run: (world) => {
          const channel = openBlocking(lib, world, 1);
          lib.watch({ threadId: SENDER_THREAD - 1 }, channel, { end: 'sender' }).died();
        },
      },
      {
        name: 'heir',
        startsAfter: 'owner of sender',
        run: (world, probe) => {
          const published = lib.distance(Atomics.load(new Int32Array(world.buffer, 4 * LINE_BYTES, 1), 0), at);
          const first = endsFrom(at).filter((end) => published >= end).length;
          if (first < LENGTHS.length) sendAll(lib, world, probe, SENDER_THREAD, first);
        },
      },
      { name: 'receiver', run: (world, probe) => receiveAll(lib, world, probe) },
    ],
    check: (outcome) => {
      const got = reports(outcome, 'receiver');
      const told = got.pop();
      // The receiver may look before the heir has come: it is then told of the death, after all that was published.
      if (told !== 'closed' && told !== 'CHANNEL_PEER_DIED') return `receiver was told ${told}`;
      const all = expected(SENDER_THREAD);
      if (told === 'closed' && got.length < all.length) return `closed after ${got.length} messages`;
      const stuck = told === 'closed' ? unfinished(outcome) : undefined;
      return stuck ?? mustBe('receiver', got, all.slice(0, got.length));
    },
  };
}

/** Two senders, one of which may die anywhere: the other's messages all arrive. */
export function channelOneOfTwoDies(lib: RingLibrary, variant: ChannelVariant): Scenario<ChannelWorld> {
  const other = 12;
  return {
    setup: setup(lib, { ...variant, producers: 2 }),
    preemptions: variant.preemptions ?? 0,
    kills: 1,
    ends: [
      { name: 'sender', isMortal: true, run: (world, probe) => sendAll(lib, world, probe, SENDER_THREAD, 2) },
      { name: 'other', run: (world, probe) => sendAll(lib, world, probe, other, 2) },
      { name: 'receiver', run: (world, probe) => receiveAll(lib, world, probe) },
      owner(lib, 'sender', SENDER_THREAD),
    ],
    check: (outcome) => {
      const got = reports(outcome, 'receiver');
      const told = got.pop();
      const isDead = outcome.ends['sender']?.status === 'dead';
      if (told !== 'closed' && !(isDead && told === 'CHANNEL_PEER_DIED')) return `receiver was told ${told}`;
      const of = (thread: number): string[] => got.filter((report) => report.startsWith(`${thread}`));
      const stuck = unfinished(outcome);
      if (stuck !== undefined) return stuck;
      // Whoever is first, and however soon it is gone: the receiver waits for the other.
      const mine = of(SENDER_THREAD);
      return (
        mustBe('first sender', mine, expected(SENDER_THREAD).slice(2, 2 + mine.length)) ??
        mustBe('other sender', of(other), expected(other).slice(2))
      );
    },
  };
}
