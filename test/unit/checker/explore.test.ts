// The checker checked: known outcomes of tiny programs, found bugs, kills, sleeping and waking, weak stores.
import test from 'ava';
import { type EndProgram, explore, type Outcome } from '../../checker/explore.ts';
import { killAtEachWrite } from '../../checker/kill.ts';

const setup = () => {
  const buffer = new SharedArrayBuffer(32);
  return { buffers: [buffer], world: { buffer } };
};
type World = ReturnType<typeof setup>['world'];
const words = ({ buffer }: World) => new Int32Array(buffer, 0, 8);

function outcomes(ends: EndProgram<World>[], more: object = {}) {
  const seen = new Set<string>();
  const check = ({ ends: by }: Outcome<World>) => {
    seen.add(
      Object.values(by)
        .map(({ reports, status }) => (status === 'done' ? '' : status) + reports.join())
        .join(' '),
    );
    return undefined;
  };
  const report = explore({ setup, ends, check, ...more });
  return { report, seen: [...seen].sort() };
}

test('explore finds every outcome of two unlocked increments, and one of atomic ones', (t) => {
  const unlocked = (name: string): EndProgram<World> => ({
    name,
    run: (world, probe) => {
      const w = words(world);
      w[0] = (w[0] as number) + 1; // in range
      Atomics.load(w, 1);
      probe.report(Atomics.load(w, 0));
    },
  });
  t.deepEqual(outcomes([unlocked('a'), unlocked('b')]).seen, ['1 1', '1 2', '2 1', '2 2']);
  const atomic = (name: string): EndProgram<World> => ({
    name,
    run: (world, probe) => probe.report(Atomics.add(words(world), 0, 1)),
  });
  t.deepEqual(outcomes([atomic('a'), atomic('b')]).seen, ['0 1', '1 0']);
});

test('explore lets plain stores pass later loads with weak stores only (store buffering)', (t) => {
  const end = (name: string, mine: number, store: (w: Int32Array, i: number) => void): EndProgram<World> => ({
    name,
    run: (world, probe) => {
      const w = words(world);
      store(w, mine);
      probe.report(Atomics.load(w, 1 - mine));
    },
  });
  const plain = (w: Int32Array, i: number) => {
    w[i] = 1;
  };
  const atomic = (w: Int32Array, i: number) => Atomics.store(w, i, 1);
  const strong = ['0 1', '1 0', '1 1'];
  t.deepEqual(outcomes([end('a', 0, plain), end('b', 1, plain)]).seen, strong);
  t.deepEqual(outcomes([end('a', 0, plain), end('b', 1, plain)], { weakStores: true }).seen, ['0 0', ...strong]);
  t.deepEqual(outcomes([end('a', 0, atomic), end('b', 1, atomic)], { weakStores: true }).seen, strong);
});

test('explore puts ends to sleep and wakes them, and shows a lost wake-up with its schedule', (t) => {
  const waker: EndProgram<World> = {
    name: 'waker',
    run: (world) => {
      Atomics.store(words(world), 0, 1);
      Atomics.notify(words(world), 0);
    },
  };
  const sleeper = (sample: boolean): EndProgram<World> => ({
    name: 'sleeper',
    run: (world, probe) => {
      const w = words(world);
      const seen = Atomics.load(w, 0);
      if (seen === 0) Atomics.wait(w, 0, sample ? seen : Atomics.load(w, 0));
      probe.report('awake');
    },
  });
  const check = ({ ends }: Outcome<World>) =>
    Object.values(ends).some(({ status }) => status === 'asleep') ? 'lost wake-up' : undefined;
  const good = explore({ setup, ends: [waker, sleeper(true)], check });
  t.is(good.violation, undefined);
  t.true(good.isComplete);
  const bad = explore({ setup, ends: [waker, sleeper(false)], check });
  t.is(bad.violation?.message, 'lost wake-up');
  t.regex(bad.violation?.schedule.at(-1) ?? '', /sleeper|waker/);
  t.is(explore({ setup, ends: [waker, sleeper(false)], check, preemptions: 0 }).violation, undefined);
});

test('explore times out finite waits when told, resumes pollers at each write, tries every choice', (t) => {
  const wait: EndProgram<World> = {
    name: 'w',
    run: (world, probe) => probe.report(Atomics.wait(words(world), 0, 0, 10)),
  };
  t.deepEqual(outcomes([wait]).seen, ['asleep']);
  t.deepEqual(outcomes([wait], { timeouts: true }).seen, ['timed-out']);
  const poller: EndProgram<World> = {
    name: 'p',
    run: (world, probe) => {
      while (words(world)[0] !== 2) probe.pause();
      probe.report('saw 2');
    },
  };
  const writer: EndProgram<World> = {
    name: 'c',
    run: (world, probe) => {
      Atomics.store(words(world), 0, 1);
      Atomics.store(words(world), 0, 1 + probe.choose(2));
    },
  };
  t.deepEqual(outcomes([poller, writer]).seen, ['asleep ', 'saw 2 ']);
});

test('explore kills an end after each of its writes; a successor starts after its death', (t) => {
  const mortal: EndProgram<World> = {
    name: 'mortal',
    isMortal: true,
    run: (world) => {
      for (let i = 0; i < 3; i += 1) words(world)[i] = 1;
    },
  };
  const heir: EndProgram<World> = {
    name: 'heir',
    startsAfter: 'mortal',
    run: (world, probe) => probe.report([0, 1, 2].filter((i) => words(world)[i] === 1).length),
  };
  const { seen } = outcomes([mortal, heir], { kills: 1 });
  t.deepEqual(seen, [' 3', 'dead 0', 'dead 1', 'dead 2'], 'a kill after the last write is an end');
});

test('explore reports an exception, an invariant and a program that is not deterministic', (t) => {
  const ends: EndProgram<World>[] = [{ name: 'a', run: (world) => void Atomics.store(words(world), 0, 7) }];
  const check = () => undefined;
  const invariant = (world: World) => (new DataView(world.buffer).getInt32(0, true) === 7 ? 'seven' : undefined);
  t.is(explore({ setup, ends, check, invariant }).violation?.message, 'seven');
  const throwing: EndProgram<World>[] = [
    {
      name: 'a',
      run: (world) => {
        words(world)[0] = 1;
        throw new Error('ouch');
      },
    },
  ];
  t.regex(explore({ setup, ends: throwing, check }).violation?.message ?? '', /a threw: Error: ouch/);
  let runs = 0;
  const fickle: EndProgram<World>[] = [
    {
      name: 'a',
      run: (world) => {
        runs += 1;
        Atomics.load(words(world), runs % 2);
        Atomics.load(words(world), 2);
      },
    },
  ];
  t.regex(explore({ setup, ends: fickle, check }).violation?.message ?? '', /not deterministic/);
});

test('explore sees every access of views and copies', (t) => {
  const touch: EndProgram<World> = {
    name: 'a',
    run: ({ buffer }, probe) => {
      const bytes = new Uint8Array(buffer, 4, 8);
      bytes.set([1, 2, 3], 1);
      bytes.fill(9, 5, 7);
      bytes.copyWithin(0, 1, 3);
      const own = new Uint8Array(4);
      own.set(bytes.subarray(0, 4));
      probe.report([...own].join(''));
      const view = new DataView(buffer, 0, 32);
      view.setUint16(8, 0x1234, true);
      probe.report(view.getUint8(8).toString(16));
      const lanes = new BigInt64Array(buffer, 16, 1);
      lanes[0] = -1n;
      probe.report(Atomics.exchange(new Int32Array(buffer, 16, 1), 0, 5));
      probe.report(ArrayBuffer.isView(bytes) && bytes instanceof Uint8Array && view instanceof DataView);
      probe.report(Atomics.compareExchange(new Int32Array(buffer), 4, 5, 6));
    },
  };
  const { report, seen } = outcomes([touch]);
  t.deepEqual(seen, ['1223,34,-1,true,5']);
  t.is(report.states, 19, 'one state per access, plus the first');
});

test('killAtEachWrite stops an operation after each of its writes and lets recovery look', (t) => {
  const left: string[] = [];
  const writes = killAtEachWrite({
    prepare: () => new Int32Array(new SharedArrayBuffer(12)),
    operation: (w) => {
      try {
        w[0] = 1;
        Atomics.store(w, 1, (w[0] as number) + 1); // in range
      } finally {
        Atomics.add(w, 2, 3);
      }
    },
    verify: (w, after) => left.push(`${after}:${[...w].join('')}`),
  });
  t.is(writes, 3);
  t.deepEqual(left.sort(), ['0:000', '1:100', '2:120', '3:123']);
});
