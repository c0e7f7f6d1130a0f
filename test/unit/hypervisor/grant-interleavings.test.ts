// Every interleaving of a mapper and a granter at every access to shared memory, on the shipped code.
import {
  attach,
  type ControlMessage,
  type DomainBoot,
  type DomainHypercalls,
  type FrameNumber,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  type GrantRef,
  Hypervisor,
} from '@splitring/hypervisor';
import test from 'ava';
import { explore } from '../../checker/explore.ts';
import { mapOne, SMALL, unmapOne } from '../../support/machine.ts';

interface World {
  readonly mapper: DomainBoot;
  readonly granter: DomainBoot;
  /** A frame of the granter for the mapper. */
  readonly frame: FrameNumber;
  /** The granter's table. */
  readonly table: SharedArrayBuffer;
}

/** The first reference that a table hands out. */
const REF = 8 as GrantRef;

function setup(): { buffers: SharedArrayBuffer[]; world: World } {
  const hypervisor = new Hypervisor({ limits: SMALL });
  const [granter, mapper] = ['granter', 'mapper'].map((name) => {
    const domain = hypervisor.createDomain({ name });
    const memory = [...domain.boot.memory];
    const queue: ControlMessage[] = [];
    const post = hypervisor.connect(domain.domid, {
      post: (message) => {
        queue.push(message);
        if (message.kind !== 'reply') memory.push(message);
      },
    });
    return { boot: { ...domain.boot, memory }, live: attach(domain.boot, { post, receive: () => queue.shift() }) };
  });
  if (granter === undefined || mapper === undefined) throw new Error('two were made');
  const { first: frame } = granter.live.allocateFrames(mapper.boot.domid, 1);
  const table = granter.boot.grantTables[granter.boot.domid] as SharedArrayBuffer; // one for every domid
  return { buffers: [table], world: { mapper: mapper.boot, granter: granter.boot, frame, table } };
}

const open = (boot: DomainBoot): DomainHypercalls => attach(boot, { post: () => {}, receive: () => undefined });

/** What the granter's thread does: grant, and end as soon as it lets it. */
function grantAndEnd(world: World, tries: number): boolean {
  const hypercalls = open(world.granter);
  const ref = hypercalls.grantAccess(world.mapper.domid, world.frame, false);
  let hasEnded = false;
  for (let i = 0; i < tries && !hasEnded; i++) hasEnded = hypercalls.endAccess(ref);
  return hasEnded;
}

test('a grant ends or is mapped, never both, whatever the order of steps (XSA-396)', (t) => {
  const outcomes = new Set<string>();
  const found = explore<World>({
    setup,
    ends: [
      {
        name: 'mapper',
        run: (world, probe) => {
          const hypercalls = open(world.mapper);
          probe.report(mapOne(hypercalls, world.granter.domid, REF).status);
        },
      },
      { name: 'granter', run: (world, probe) => probe.report(grantAndEnd(world, 1)) },
    ],
    check: ({ world, ends }) => {
      const status = ends['mapper']?.reports[0];
      const hasEnded = ends['granter']?.reports[0];
      outcomes.add(`${status} ${hasEnded}`);
      const bits = (new Int32Array(world.table)[REF * 2] ?? 0) & (8 | 16);
      if (status === GNTST.okay) return hasEnded === false && bits === 24 ? undefined : `mapped, but ended ${hasEnded}`;
      return bits === 0 ? undefined : `refused, but the bits say ${bits}`;
    },
  });
  t.is(found.violation, undefined, `${found.violation?.message}\n${found.violation?.schedule.join('\n')}`);
  t.true(found.isComplete);
  t.deepEqual([...outcomes].sort(), ['-1 true', '0 false']);
});

test('mapping, mapping for writing and unmapping beside a granter that tries to end leaves no bit and no lie', (t) => {
  const found = explore<World>({
    setup,
    ends: [
      {
        name: 'mapper',
        run: (world, probe) => {
          const hypercalls = open(world.mapper);
          const reader = mapOne(hypercalls, world.granter.domid, REF, GNTMAP_host_map | GNTMAP_readonly);
          const writer = mapOne(hypercalls, world.granter.domid, REF);
          for (const { status, handle } of [reader, writer]) {
            if (status === GNTST.okay) probe.report(unmapOne(hypercalls, handle));
          }
        },
      },
      { name: 'granter', run: (world, probe) => probe.report(grantAndEnd(world, 2)) },
    ],
    check: ({ world, ends }) => {
      const word = new Int32Array(world.table)[REF * 2] ?? 0;
      if ((word & (8 | 16)) !== 0) return `bits are left: ${word}`;
      if (ends['mapper']?.reports.some((status) => status !== GNTST.okay)) return 'an unmap failed';
      return (word === 0) === (ends['granter']?.reports[0] === true) ? undefined : 'ended, but the entry is there';
    },
  });
  t.is(found.violation, undefined, `${found.violation?.message}\n${found.violation?.schedule.join('\n')}`);
  t.true(found.isComplete);
});

test('a second domain that the granter turns the entry over to cannot map beside the first', (t) => {
  const hypervisor = new Hypervisor({ limits: SMALL });
  const made = hypervisor.createDomain({ name: 'granter' });
  const granter = hypervisor.attachInThread(made);
  const [one, two] = ['one', 'two'].map((name) => hypervisor.attachInThread(hypervisor.createDomain({ name })));
  if (one === undefined || two === undefined) throw new Error('two were made');
  const first = granter.allocateFrames(one.domid, 1).first;
  const other = granter.allocateFrames(two.domid, 1).first;
  const ref = granter.grantAccess(one.domid, first as FrameNumber, false);
  const { handle } = mapOne(one, granter.domid, ref);
  const words = new Int32Array(made.boot.grantTables[made.domid] as SharedArrayBuffer); // one for every domid
  const granted = words[ref * 2] ?? 0;
  words[ref * 2 + 1] = other;
  words[ref * 2] = (two.domid << 16) | (granted & 0xffff);
  t.is(mapOne(two, granter.domid, ref).status, GNTST.general_error);
  words[ref * 2] = (two.domid << 16) | 1; // it may wipe the status bits: then it has lied to itself, and to nobody else
  t.is(mapOne(two, granter.domid, ref).status, GNTST.okay);
  t.is(unmapOne(one, handle), GNTST.okay);
  t.is(one.memory.pageBytes(first).length, 4096);
});
