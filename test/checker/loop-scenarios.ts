// Small worlds in which ends live on their event loops: awaited sends and receives, aborts, deadlines, a port, deaths.
import type { AbortSignalLike, AsyncWaitStrategy, Channel } from 'sharedarraybuffer-ring';
import {
  type ChannelVariant,
  type ChannelWorld,
  codeOf,
  expected,
  handleFor,
  LENGTHS,
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
import type { AnyProgram, LoopProbe, LoopProgram, Outcome, Scenario } from './explore.ts';
import type { RingLibrary } from './plants.ts';

type LoopScenario = Scenario<ChannelWorld, AnyProgram<ChannelWorld>>;

/** Aborts `sometime`. A real AbortSignal would turn the explorer's stop in a listener into an uncaught exception. */
function abortSometime(probe: LoopProbe): AbortSignalLike {
  const listeners = new Set<() => void>();
  const signal = {
    aborted: false,
    reason: 'aborted',
    addEventListener: (_: 'abort', listener: () => void) => void listeners.add(listener),
    removeEventListener: (_: 'abort', listener: () => void) => void listeners.delete(listener),
  };
  probe.sometime('abort', () => {
    signal.aborted = true;
    for (const listener of listeners) listener();
  });
  return signal;
}

/** Open the channel on an event loop: its timers and its clock are the explorer's. */
function open(
  lib: RingLibrary,
  world: ChannelWorld,
  thread: number,
  probe: LoopProbe,
  wait?: AsyncWaitStrategy,
): Channel {
  const { clock, timer } = probe;
  return lib.openChannel(handleFor(world, thread), { wait: wait ?? lib.waitAsync({ clock, timer }), clock });
}

function awaitingSender(lib: RingLibrary, closes: boolean): LoopProgram<ChannelWorld> {
  return {
    name: 'sender',
    runLoop: async (world, probe) => {
      try {
        const { sender } = open(lib, world, SENDER_THREAD, probe);
        for (const [n] of LENGTHS.entries()) {
          await sender.send(messageOf(SENDER_THREAD, n));
          probe.report(n);
        }
        if (closes) sender.close();
      } catch (error) {
        probe.report(codeOf(error));
      }
    },
  };
}

function awaitingReceiver(lib: RingLibrary, count: number): LoopProgram<ChannelWorld> {
  return {
    name: 'receiver',
    runLoop: async (world, probe) => {
      try {
        const { receiver } = open(lib, world, RECEIVER_THREAD, probe);
        let left = count;
        for await (const message of receiver) {
          probe.report(nameOf(message));
          left -= 1;
          if (left === 0) return;
        }
        probe.report('closed');
      } catch (error) {
        probe.report(codeOf(error));
      }
    },
  };
}

function allArrived(outcome: Outcome<ChannelWorld>): string | undefined {
  return unfinished(outcome) ?? mustBe('receiver', reports(outcome, 'receiver'), expected(SENDER_THREAD));
}

/** Both ends await, and no close comes to help: every message once, in order; nobody waits for ever or is left alive. */
function loopStream(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  return {
    setup: setup(lib, variant),
    preemptions: variant.preemptions ?? 1,
    ends: [awaitingSender(lib, false), awaitingReceiver(lib, LENGTHS.length)],
    check: allArrived,
  };
}

/** The receiver awaits, the sender blocks in `Atomics.wait`. */
function loopFedByBlocking(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  return {
    ...loopStream(lib, variant),
    ends: [
      {
        name: 'sender',
        run: (world) => {
          const { sender } = openBlocking(lib, world, SENDER_THREAD);
          for (const [n] of LENGTHS.entries()) sender.sendSync(messageOf(SENDER_THREAD, n));
        },
      },
      awaitingReceiver(lib, LENGTHS.length),
    ],
  };
}

/** The sender awaits room, the receiver blocks in `Atomics.wait`. */
function loopFeedsBlocking(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  return {
    ...loopStream(lib, variant),
    ends: [
      awaitingSender(lib, false),
      {
        name: 'receiver',
        run: (world, probe) => {
          const { receiver } = openBlocking(lib, world, RECEIVER_THREAD);
          for (const _ of LENGTHS) probe.report(nameOf(receiver.receiveSync() ?? new Uint8Array(0)));
        },
      },
    ],
  };
}

/** Both ends wake each other by messages on a port instead of `Atomics.notify`. */
function loopDoorbell(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  const doorbell = (probe: LoopProbe, peer: string): AsyncWaitStrategy =>
    lib.portDoorbell(probe.port(peer), { clock: probe.clock, timer: probe.timer });
  return {
    ...loopStream(lib, variant),
    ends: [
      {
        name: 'sender',
        runLoop: async (world, probe) => {
          const { sender } = open(lib, world, SENDER_THREAD, probe, doorbell(probe, 'receiver'));
          for (const [n] of LENGTHS.entries()) await sender.send(messageOf(SENDER_THREAD, n));
        },
      },
      {
        name: 'receiver',
        runLoop: async (world, probe) => {
          const { receiver } = open(lib, world, RECEIVER_THREAD, probe, doorbell(probe, 'sender'));
          for (const _ of LENGTHS) probe.report(nameOf((await receiver.receive()) ?? new Uint8Array(0)));
        },
      },
    ],
  };
}

/** The sender dies anywhere: whoever awaits gets the messages sent, whole, then the news. */
function loopSenderDies(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  return {
    setup: setup(lib, variant),
    preemptions: variant.preemptions ?? 1,
    kills: 1,
    ends: [
      { ...awaitingSender(lib, true), isMortal: true },
      awaitingReceiver(lib, Number.POSITIVE_INFINITY),
      owner(lib, 'sender', SENDER_THREAD),
    ],
    check: (outcome) => {
      const got = reports(outcome, 'receiver');
      const stuck = unfinished(outcome);
      if (stuck !== undefined) return stuck;
      const last = got.pop();
      const isDead = outcome.ends['sender']?.status === 'dead';
      if (last !== 'closed' && !(isDead && last === 'CHANNEL_PEER_DIED')) return `receiver was told ${last}`;
      return mustBe('receiver', got, expected(SENDER_THREAD).slice(0, got.length));
    },
  };
}

/** The receiver dies anywhere: a sender that awaits room is told. */
function loopReceiverDies(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  return {
    setup: setup(lib, variant),
    preemptions: variant.preemptions ?? 1,
    kills: 1,
    ends: [
      awaitingSender(lib, true),
      { ...awaitingReceiver(lib, Number.POSITIVE_INFINITY), isMortal: true },
      owner(lib, 'receiver', RECEIVER_THREAD),
    ],
    check: (outcome) => {
      const told = reports(outcome, 'sender').at(-1);
      const isTold = told === `${LENGTHS.length - 1}` || told === 'CHANNEL_PEER_DIED';
      return unfinished(outcome) ?? (isTold ? undefined : `sender was told ${told}`);
    },
  };
}

/** An awaited receive is aborted at any moment; the receiver then goes on: nothing is lost, nothing is left behind. */
function loopReceiveAborted(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  return {
    ...loopStream(lib, variant),
    ends: [
      awaitingSender(lib, false),
      {
        name: 'receiver',
        runLoop: async (world, probe) => {
          const { receiver } = open(lib, world, RECEIVER_THREAD, probe);
          const signal = abortSometime(probe);
          for (let n = 0; n < LENGTHS.length; ) {
            const message = await receiver.receive(n === 0 ? { signal } : {}).catch(String);
            if (message === 'aborted') {
              probe.report(nameOf((await receiver.receive()) ?? new Uint8Array(0)));
            } else probe.report(typeof message === 'object' ? nameOf(message) : message);
            n += 1;
          }
        },
      },
    ],
  };
}

/** Nobody sends: only the abort can end the wait, and then nothing is left of it. */
function loopAbortedAlone(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  return {
    setup: setup(lib, variant),
    ends: [
      {
        name: 'receiver',
        runLoop: async (world, probe) => {
          const { receiver } = open(lib, world, RECEIVER_THREAD, probe);
          const signal = abortSometime(probe);
          probe.report(await receiver.receive({ signal }).catch(String));
        },
      },
    ],
    check: (outcome) => unfinished(outcome) ?? mustBe('receiver', reports(outcome, 'receiver'), ['aborted']),
  };
}

/** Payload lengths: the third finds no room, the fourth would; the third may be aborted. */
const QUEUED = [16, 16, 24, 8];

/** Sends wait in line, and one of them is aborted at any moment: the others arrive, in order; that one, or not at all. */
function loopSendAborted(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  return {
    setup: setup(lib, variant),
    preemptions: variant.preemptions ?? 1,
    ends: [
      {
        name: 'sender',
        runLoop: async (world, probe) => {
          const { sender } = open(lib, world, SENDER_THREAD, probe);
          const signal = abortSometime(probe);
          const sends = QUEUED.map((length, n) =>
            sender.send(new Uint8Array(length).fill(n), n === 2 ? { signal } : {}),
          );
          for (const { status } of await Promise.allSettled(sends)) probe.report(status);
          sender.close();
        },
      },
      awaitingReceiver(lib, Number.POSITIVE_INFINITY),
    ],
    check: (outcome) => {
      const stuck = unfinished(outcome);
      if (stuck !== undefined) return stuck;
      const sent = reports(outcome, 'sender').map((status) => status === 'fulfilled');
      if (sent.some((isSent, n) => !isSent && n !== 2)) return 'a send was lost that nobody aborted';
      const wanted = QUEUED.map((length, n) => `${n}/${length}`).filter((_, n) => sent[n] === true);
      return mustBe('receiver', reports(outcome, 'receiver'), [...wanted, 'closed']);
    },
  };
}

/** A word of the channel's memory that nobody uses, 0 at first. */
const SPARE_BYTE = 64;

/** A wait is notified though its word is as it was, as happens when the ringer is slow; then the word changes. */
function loopNotifiedEarly(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  return {
    setup: setup(lib, variant),
    ends: [
      {
        name: 'ringer',
        run: ({ buffer }) => {
          const words = new Int32Array(buffer, SPARE_BYTE, 1);
          Atomics.notify(words, 0);
          Atomics.add(words, 0, 1);
          Atomics.notify(words, 0);
        },
      },
      {
        name: 'sleeper',
        runLoop: async ({ buffer }, probe) => {
          const { waitAsync } = lib.waitAsync({ clock: probe.clock, timer: probe.timer });
          const words = new Int32Array(buffer, SPARE_BYTE, 1);
          while (Atomics.load(words, 0) === 0) {
            probe.report(await waitAsync(words, 0, 0, Number.POSITIVE_INFINITY));
          }
        },
      },
    ],
    check: (outcome) =>
      unfinished(outcome) ??
      reports(outcome, 'sleeper').map((report) => (report === 'changed' ? undefined : `woken: ${report}`))[0],
  };
}

/** Waits with deadlines of a sender and a receiver: each is told at its time. */
function loopTimesOut(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  return {
    setup: setup(lib, variant),
    ticks: 4,
    ends: [
      {
        name: 'both',
        runLoop: async (world, probe) => {
          const wait = lib.waitAsync({ clock: probe.clock, timer: probe.timer });
          const { receiver } = open(lib, world, RECEIVER_THREAD, probe, wait);
          const { sender } = open(lib, world, SENDER_THREAD, probe, wait);
          const say = (error: unknown) => probe.report(`${codeOf(error)} at ${probe.clock()}`);
          const message = new Uint8Array(24);
          while (sender.trySend(message));
          await sender.send(message, { timeoutMs: 5 }).catch(say);
          receiver.read(() => true);
          await receiver.receive({ timeoutMs: 600 }).catch(say);
        },
      },
    ],
    check: (outcome) =>
      unfinished(outcome) ??
      mustBe('both', reports(outcome, 'both'), ['CHANNEL_TIMED_OUT at 5', 'CHANNEL_TIMED_OUT at 605']),
  };
}

/** Deadlines of several waits of one strategy, served by its one timer: each ends at its own time, whatever came first. */
function loopDeadlines(lib: RingLibrary, variant: ChannelVariant): LoopScenario {
  const timeouts = [300, 5, 40];
  return {
    setup: setup(lib, variant),
    ticks: timeouts.length,
    ends: [
      {
        name: 'waits',
        runLoop: async ({ buffer }, probe) => {
          const { waitAsync } = lib.waitAsync({ clock: probe.clock, timer: probe.timer });
          const words = new Int32Array(buffer, SPARE_BYTE, 2);
          const waits = timeouts.map(async (timeoutMs, index) => {
            const outcome = await waitAsync(words, index % 2, 0, timeoutMs);
            probe.report(`${outcome} at ${probe.clock()}`);
          });
          await Promise.all(waits);
        },
      },
    ],
    check: (outcome) =>
      unfinished(outcome) ??
      mustBe('waits', reports(outcome, 'waits'), ['timed-out at 5', 'timed-out at 40', 'timed-out at 300']),
  };
}

/** All of them. */
export const loopScenarios = [
  loopAbortedAlone,
  loopDeadlines,
  loopDoorbell,
  loopFedByBlocking,
  loopFeedsBlocking,
  loopNotifiedEarly,
  loopReceiveAborted,
  loopReceiverDies,
  loopSendAborted,
  loopSenderDies,
  loopStream,
  loopTimesOut,
] as const;
