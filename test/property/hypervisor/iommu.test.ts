// The IOMMU against a small model: what a device may reach at any moment, for any order of map, unmap and invalidation.
import {
  createIommuTables,
  type DomId,
  IO_READ,
  IO_WRITE,
  IoInvalidator,
  Iommu,
  IoPageTables,
  type IoSpace,
  QUARANTINE_SPACE,
  routingId,
  setContext,
} from '@splitring/hypervisor';
import test from 'ava';
import fc from 'fast-check';

const PAGES = [1, 1024, 2 ** 30 - 1];
const RIDS = [routingId(0, 1, 0), routingId(0, 2, 0)];

interface Model {
  /** Per space: what the tables say. */
  readonly tables: Map<number, number>[];
  /** Per space and page: what a device may still reach, stale entries included. */
  readonly reachable: Map<number, Set<number>>[];
  /** Space of each function: now, and the one it may have cached. */
  readonly context: { now: number; cached: Set<number> }[];
}

interface Real {
  readonly buffer: SharedArrayBuffer;
  readonly tables: IoPageTables;
  readonly unit: Iommu;
  readonly requesters: ReturnType<Iommu['requester']>[];
  readonly spaces: readonly IoSpace[];
  readonly local: IoInvalidator;
  readonly remote: IoInvalidator;
}

type Cmd = fc.Command<Model, Real>;
const page = fc.constantFrom(...PAGES);
const space = fc.integer({ min: 0, max: 1 });
const rights = fc.constantFrom(IO_READ, IO_WRITE, IO_READ | IO_WRITE);

const make = (name: string, run: (model: Model, real: Real) => void): Cmd => ({
  check: () => true,
  run,
  toString: () => name,
});

const note = (model: Model, s: number, p: number, entry: number) => {
  model.tables[s]?.set(p, entry);
  const set = model.reachable[s]?.get(p) ?? new Set<number>();
  if (entry !== 0) set.add(entry);
  model.reachable[s]?.set(p, set);
};

const commands = [
  fc.tuple(space, page, fc.integer({ min: 0, max: 1000 }), rights).map(([s, p, frame, bits]) =>
    make(`map ${s} ${p} → ${frame} ${bits}`, (model, real) => {
      if (!real.tables.map(real.spaces[s] as IoSpace, p, frame, bits)) throw new Error('map refused'); // two spaces
      note(model, s, p, (frame << 2) | bits);
    }),
  ),
  fc.tuple(space, page).map(([s, p]) =>
    make(`unmap ${s} ${p}`, (model, real) => {
      real.tables.unmap(real.spaces[s] as IoSpace, p); // two spaces
      note(model, s, p, 0);
    }),
  ),
  fc.tuple(space, page, fc.boolean()).map(([s, p, isLocal]) =>
    make(`invalidate ${s} ${p} ${isLocal}`, (model, real) => {
      const invalidator = isLocal ? real.local : real.remote;
      invalidator.invalidate(real.spaces[s] as IoSpace, p, 1); // two spaces
      real.unit.serve();
      if (!invalidator.wait(0)) throw new Error('not served');
      const entry = model.tables[s]?.get(p) ?? 0;
      model.reachable[s]?.set(p, new Set(entry === 0 ? [] : [entry]));
    }),
  ),
  fc.tuple(fc.integer({ min: 0, max: 1 }), fc.integer({ min: -1, max: 1 }), fc.boolean()).map(([f, s, isFlushed]) =>
    make(`assign ${f} → ${s} ${isFlushed}`, (model, real) => {
      const id = RIDS[f] as (typeof RIDS)[0]; // two functions
      setContext(real.buffer, id, s < 0 ? QUARANTINE_SPACE : (real.spaces[s] as IoSpace)); // two spaces
      const context = model.context[f] as Model['context'][0]; // two functions
      context.now = s;
      context.cached.add(s);
      if (!isFlushed) return;
      real.local.invalidateContext(id);
      context.cached.clear();
      context.cached.add(s);
    }),
  ),
  fc.tuple(fc.integer({ min: 0, max: 1 }), page, fc.boolean()).map(([f, p, isWrite]) =>
    make(`access ${f} ${p} ${isWrite}`, (model, real) => {
      const got = real.unit.translate(real.requesters[f] as Real['requesters'][0], p, isWrite); // two functions
      const needed = isWrite ? IO_WRITE : IO_READ;
      const context = model.context[f] as Model['context'][0]; // as above
      const allowed = new Set<number>();
      let mustReach = true;
      for (const s of context.cached) {
        const entries = s < 0 ? new Set<number>() : (model.reachable[s]?.get(p) ?? new Set<number>());
        for (const entry of entries) if ((entry & needed) !== 0) allowed.add(entry >>> 2);
        const current = s < 0 ? 0 : (model.tables[s]?.get(p) ?? 0);
        if ((current & needed) === 0) mustReach = false;
      }
      if (got === -1 ? mustReach : !allowed.has(got)) {
        throw new Error(`got ${got}, allowed ${[...allowed].join()}, must reach: ${mustReach}`);
      }
    }),
  ),
];

test('Iommu reaches only what is mapped now or was and is not yet invalidated, and always what is mapped', (t) => {
  fc.assert(
    fc.property(fc.commands(commands, { maxCommands: 100, size: 'max' }), (cmds) => {
      const setup = () => {
        const buffer = createIommuTables({ spaces: 3, tablePages: 32, units: 2 });
        const tables = new IoPageTables(buffer);
        const spaces = [1, 2].map((id) => tables.createSpace(id as DomId, 1));
        const unit = new Iommu(buffer, 1 as DomId);
        for (const id of RIDS) setContext(buffer, id, QUARANTINE_SPACE);
        const requesters = RIDS.map((id) => unit.requester(id));
        const local = new IoInvalidator(buffer, unit);
        const real: Real = { buffer, tables, unit, requesters, spaces, local, remote: new IoInvalidator(buffer) };
        const model: Model = {
          tables: [new Map(), new Map()],
          reachable: [new Map(), new Map()],
          context: RIDS.map(() => ({ now: -1, cached: new Set([-1]) })),
        };
        return { model, real };
      };
      fc.modelRun(setup, cmds);
    }),
    { numRuns: 400 },
  );
  t.pass();
});
