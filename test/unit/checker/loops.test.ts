// The model of event loops checked: what its waits, timers, tasks and ports do, and what it says of an end that is left.
import test from 'ava';
import { type AnyProgram, exploreLoops, type LoopProbe, type Outcome } from '../../checker/explore.ts';

const setup = () => {
  const buffer = new SharedArrayBuffer(32);
  return { buffers: [buffer], world: { buffer } };
};
type World = ReturnType<typeof setup>['world'];
const words = ({ buffer }: World) => new Int32Array(buffer, 0, 8);

/** Every way in which the runs end, in order. */
async function outcomes(ends: AnyProgram<World>[], more: { ticks?: number; kills?: number } = {}): Promise<string[]> {
  const seen = new Set<string>();
  const check = ({ ends: by }: Outcome<World>) => {
    seen.add(
      Object.values(by)
        .map(({ reports, status }) => `${status} ${reports.join()}`.trim())
        .join('; '),
    );
    return undefined;
  };
  const { violation, isComplete } = await exploreLoops({ setup, ends, check, ...more });
  if (violation !== undefined || !isComplete) throw new Error(violation?.message ?? 'incomplete');
  return [...seen].sort();
}

const ringer: AnyProgram<World> = {
  name: 'ringer',
  run: (world) => {
    Atomics.store(words(world), 0, 1);
    Atomics.notify(words(world), 0);
  },
};

function awaiter(hold: (probe: LoopProbe) => { unref(): void }, seen = 0): AnyProgram<World> {
  return {
    name: 'awaiter',
    runLoop: async (world, probe) => {
      const handle = hold(probe);
      const { async, value } = Atomics.waitAsync(words(world), 0, seen);
      probe.report(async ? await value : value);
      handle.unref();
    },
  };
}

const held = ({ timer }: LoopProbe) => timer(10, () => {});

test.serial('exploreLoops delivers a notified wait, and answers at once for a word that has changed', async (t) => {
  t.deepEqual(await outcomes([awaiter(held), ringer]), ['done not-equal; done', 'done ok; done']);
});

test.serial(
  'exploreLoops shows a wait that nobody notifies, one that keeps nobody alive, and an end left alive',
  async (t) => {
    t.deepEqual(await outcomes([awaiter(held)]), ['asleep']);
    t.deepEqual(await outcomes([awaiter(() => ({ unref() {} }))]), ['exited']);
    t.deepEqual(await outcomes([awaiter((probe) => ({ unref: () => void held(probe) }), 1)]), ['held not-equal']);
  },
);

test.serial('exploreLoops runs microtasks before anything else is brought', async (t) => {
  const end: AnyProgram<World> = {
    name: 'end',
    runLoop: async (_, probe) => {
      probe.sometime('task', () => probe.report('task'));
      for (let i = 0; i < 3; i += 1) await undefined;
      probe.report('microtasks');
    },
  };
  t.deepEqual(await outcomes([end]), ['done microtasks,task']);
});

test.serial('exploreLoops fires timers in their order, as many as allowed, and moves the clock', async (t) => {
  const end: AnyProgram<World> = {
    name: 'end',
    runLoop: async (_, probe) => {
      for (const delayMs of [30, 10, 20]) probe.timer(delayMs, () => probe.report(probe.clock()));
      probe.timer(5, () => probe.report('cancelled')).cancel();
    },
  };
  t.deepEqual(await outcomes([end], { ticks: 2 }), ['held 10,20']);
  t.deepEqual(await outcomes([end], { ticks: 3 }), ['done 10,20,30']);
});

test.serial('exploreLoops tries a task at every moment at which the event loop is free', async (t) => {
  const end: AnyProgram<World> = {
    name: 'end',
    runLoop: async (world, probe) => {
      probe.sometime('look', () => probe.report(Atomics.load(words(world), 0)));
    },
  };
  t.deepEqual(await outcomes([end, ringer]), ['done 0; done', 'done 1; done']);
});

test.serial('exploreLoops carries messages between ports', async (t) => {
  const ends: AnyProgram<World>[] = [
    {
      name: 'a',
      runLoop: async (_, probe) => {
        const port = probe.port('b');
        for (let i = 0; i < 2; i += 1) port.postMessage(i);
      },
    },
    {
      name: 'b',
      runLoop: async (_, probe) => {
        const handle = held(probe);
        let left = 2;
        probe.port('a').on('message', () => {
          probe.report('message');
          left -= 1;
          if (left === 0) handle.unref();
        });
      },
    },
  ];
  t.deepEqual(await outcomes(ends), ['done; done message,message']);
});

test.serial('exploreLoops kills an end on its event loop: what it awaited wakes nobody', async (t) => {
  const mortal: AnyProgram<World> = {
    name: 'mortal',
    isMortal: true,
    runLoop: async (world, probe) => {
      const handle = held(probe);
      Atomics.store(words(world), 1, 1);
      probe.report((await Atomics.waitAsync(words(world), 0, 0).value) === 'ok' ? 'woken' : 'changed');
      handle.unref();
    },
  };
  const seen = await outcomes([mortal, ringer], { kills: 1 });
  t.deepEqual(seen, ['dead; done', 'done changed; done', 'done woken; done']);
});

test.serial(
  'exploreLoops reports an exception, an unhandled rejection and a waitAsync with a timeout of its own',
  async (t) => {
    const found = async (run: (world: World, probe: LoopProbe) => Promise<void>) =>
      (await exploreLoops({ setup, ends: [{ name: 'end', runLoop: run }], check: () => undefined })).violation?.message;
    t.regex((await found(() => Promise.reject(new Error('thrown')))) ?? '', /thrown/);
    t.regex((await found(async () => void Promise.reject(new Error('nobody cares')))) ?? '', /nobody cares/);
    t.regex((await found(async (_, { sometime }) => sometime('x', () => JSON.parse('')))) ?? '', /JSON/);
    t.regex((await found(async (world) => void Atomics.waitAsync(words(world), 0, 0, 10))) ?? '', /timeout of its own/);
  },
);
