// Request and reply under the explorer: concurrent calls that wait for room, a call that gives up, a responder that dies.
import type { ChannelEndOptions, RpcHandle } from 'sharedarraybuffer-ring';
import {
  type ChannelVariant,
  type ChannelWorld,
  codeOf,
  handleFor,
  makeWorld,
  mustBe,
  nameOf,
  reports,
  unfinished,
} from './channel-world.ts';
import type { AnyProgram, LoopProbe, LoopProgram, Probe, Scenario } from './explore.ts';
import type { RingLibrary } from './plants.ts';

/** The shared memory of a pair of channels. */
export interface RpcWorld {
  readonly requests: ChannelWorld;
  readonly replies: ChannelWorld;
}

type RpcScenario = Scenario<RpcWorld, AnyProgram<RpcWorld>>;

const CALLER_THREAD = 11;
const RESPONDER_THREAD = 99;
/** With its header a third of a lane's 64 bytes: the third request waits for room. */
const REQUEST_BYTES = 16;

function openPair(lib: RingLibrary, { requests, replies }: RpcWorld, thread: number, options: ChannelEndOptions) {
  const handle: RpcHandle = {
    kind: 'rpc',
    version: 1,
    requests: handleFor(requests, thread),
    replies: handleFor(replies, thread),
  };
  return lib.openRpc(handle, options);
}

function awaiting(lib: RingLibrary, world: RpcWorld, probe: LoopProbe) {
  const { clock, timer } = probe;
  return openPair(lib, world, CALLER_THREAD, { wait: lib.waitAsync({ clock, timer }), clock });
}

function setup(lib: RingLibrary, { at }: ChannelVariant) {
  const world = { requests: makeWorld(lib, { at }), replies: makeWorld(lib, { at }) };
  return () => ({ buffers: [world.requests.buffer, world.replies.buffer], world });
}

const requestOf = (n: number): Uint8Array => new Uint8Array(REQUEST_BYTES).fill(n);

/** A caller of as many concurrent calls as there are timeouts. */
function caller(lib: RingLibrary, timeouts: readonly (number | undefined)[]): LoopProgram<RpcWorld> {
  return {
    name: 'caller',
    runLoop: async (world, probe) => {
      const rpc = awaiting(lib, world, probe);
      const calls = timeouts.map((timeoutMs, n) => rpc.caller.call(requestOf(n), { timeoutMs }).then(nameOf, codeOf));
      for (const answer of await Promise.all(calls)) probe.report(answer);
      rpc.caller.close();
    },
  };
}

/** Answers with the request, blocking, until the caller closes. */
function respond(lib: RingLibrary, world: RpcWorld, probe: Probe): void {
  const clock = (): number => 0;
  const wait = lib.spinThenWait({ maxSpins: 0, clock });
  try {
    openPair(lib, world, RESPONDER_THREAD, { wait, clock, publish: 'each' }).responder.serveSync((request) => request);
  } catch (error) {
    probe.report(codeOf(error));
  }
}

const answers = (count: number): string[] => Array.from({ length: count }, (_, n) => `${n}/${REQUEST_BYTES}`);

/** Three calls under way, more than there is room for: each gets its own answer. */
function rpcCalls(lib: RingLibrary, variant: ChannelVariant): RpcScenario {
  return {
    setup: setup(lib, variant),
    preemptions: variant.preemptions ?? 1,
    ends: [
      caller(lib, [undefined, undefined, undefined]),
      { name: 'responder', run: (world, probe) => respond(lib, world, probe) },
    ],
    check: (outcome) => unfinished(outcome) ?? mustBe('caller', reports(outcome, 'caller'), answers(3)),
  };
}

/** The first call may give up at any moment; the second gets its own answer, never the first's. */
function rpcTimesOut(lib: RingLibrary, variant: ChannelVariant): RpcScenario {
  return {
    ...rpcCalls(lib, variant),
    ticks: 1,
    ends: [caller(lib, [5, undefined]), { name: 'responder', run: (world, probe) => respond(lib, world, probe) }],
    check: (outcome) => {
      const [first, ...others] = reports(outcome, 'caller');
      const isFirst = first === answers(1)[0] || first === 'CHANNEL_TIMED_OUT';
      const stuck = unfinished(outcome);
      if (stuck !== undefined) return stuck;
      return isFirst ? mustBe('second call', others, answers(2).slice(1)) : `the first call got ${first}`;
    },
  };
}

/** The responder dies anywhere: every call is answered or told. */
function rpcResponderDies(lib: RingLibrary, variant: ChannelVariant): RpcScenario {
  return {
    ...rpcCalls(lib, variant),
    kills: 1,
    ends: [
      caller(lib, [undefined, undefined]),
      { name: 'responder', isMortal: true, run: (world, probe) => respond(lib, world, probe) },
      {
        name: 'owner',
        startsAfter: 'responder',
        run: (world) => {
          const rpc = openPair(lib, world, 1, {});
          for (const channel of [rpc.requests, rpc.replies])
            lib.watch({ threadId: RESPONDER_THREAD - 1 }, channel).died();
        },
      },
    ],
    check: (outcome) => {
      const wrong = reports(outcome, 'caller').find((got, n) => got !== answers(2)[n] && got !== 'CHANNEL_PEER_DIED');
      return unfinished(outcome) ?? (wrong === undefined ? undefined : `the caller got ${wrong}`);
    },
  };
}

/** All of them. */
export const rpcScenarios = [rpcCalls, rpcResponderDies, rpcTimesOut] as const;
