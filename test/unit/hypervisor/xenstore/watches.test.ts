// Who hears of what, in which order: watches as the protocol has them, seen on the wire.
import type { DomId } from '@splitring/hypervisor';
import { XS } from '@splitring/hypervisor/io';
import test from 'ava';
import { ask, homes, startTransaction, WireRig } from '../../../support/store-scenario.ts';

const one = 1 as DomId;
const two = 2 as DomId;

/** Domain 1 with watches `path token [depth]`, their initial events read. */
function watching(...watches: readonly string[]): WireRig {
  const rig = new WireRig();
  homes(rig, one, two);
  for (const watch of watches) ask(rig, 1, 'WATCH', `${watch.replaceAll(' ', '|')}|`);
  rig.events(1);
  return rig;
}

const HOME = '/local/domain/1';

interface Row {
  readonly name: string;
  readonly watches: readonly string[];
  readonly before?: readonly (readonly [keyof typeof XS, string])[];
  readonly operation: readonly [keyof typeof XS, string];
  readonly events: readonly string[];
}

const ROWS: readonly Row[] = [
  {
    name: 'a write fires on the node and on every ancestor, the root included, ancestors first',
    watches: ['/ root', `${HOME} home`, 'data data', 'data/x x', 'data/x/below below', 'data/y y'],
    before: [['WRITE', 'data/x|0']],
    operation: ['WRITE', 'data/x|1'],
    events: [`${HOME}/data/x root`, `${HOME}/data/x home`, 'data/x data', 'data/x x'],
  },
  {
    name: 'writing the same value fires',
    watches: ['data/x t'],
    before: [['WRITE', 'data/x|1']],
    operation: ['WRITE', 'data/x|1'],
    events: ['data/x t'],
  },
  {
    name: 'parents created on the way do not fire of their own',
    watches: ['data data', 'data/a a', 'data/a/b b', 'data/a/b/c c'],
    operation: ['WRITE', 'data/a/b/c|1'],
    events: ['data/a/b/c data', 'data/a/b/c a', 'data/a/b/c b', 'data/a/b/c c'],
  },
  {
    name: 'making a directory that is there does not fire',
    watches: ['data t'],
    before: [['MKDIR', 'data/d|']],
    operation: ['MKDIR', 'data/d|'],
    events: [],
  },
  {
    name: 'removing a subtree fires once upwards, and below exactly on watched nodes that were there',
    watches: ['data up', 'data/a root', 'data/a/b inner', 'data/a/b/c leaf', 'data/a/none none'],
    before: [
      ['WRITE', 'data/a/b/c|1'],
      ['WRITE', 'data/a/z|1'],
    ],
    operation: ['RM', 'data/a|'],
    events: ['data/a up', 'data/a root', 'data/a/b inner', 'data/a/b/c leaf'],
  },
  {
    name: 'removing what is not there does not fire',
    watches: ['data t'],
    operation: ['RM', 'data/nothing|'],
    events: [],
  },
  {
    name: 'a change of permissions fires',
    watches: ['data t'],
    before: [['WRITE', 'data/x|1']],
    operation: ['SET_PERMS', 'data/x|n1|r2|'],
    events: ['data/x t'],
  },
  {
    name: 'a depth limits how far below the path changes count',
    watches: ['data zero 0', 'data one 1', 'data two 2', 'data/a exact 0'],
    operation: ['WRITE', 'data/a/b|1'],
    events: ['data/a/b two'],
  },
  {
    name: 'a path is reported as it was watched: relative or absolute',
    watches: ['data relative', `${HOME}/data absolute`],
    operation: ['WRITE', 'data/x|1'],
    events: ['data/x relative', `${HOME}/data/x absolute`],
  },
  {
    name: 'a refused operation fires nothing',
    watches: ['/ root', `${HOME} home`],
    operation: ['WRITE', 'name|other'],
    events: [],
  },
];

for (const row of ROWS) {
  test(`watches: ${row.name}`, (t) => {
    const rig = watching(...row.watches);
    for (const [operation, text] of row.before ?? []) ask(rig, 1, operation, text);
    rig.events(1);
    ask(rig, 1, ...row.operation);
    t.deepEqual(rig.events(1), row.events);
  });
}

test('watches: changes in a transaction fire at its commit, once for each node, and not if it is given up', (t) => {
  const rig = watching('data t');
  const kept = startTransaction(rig, 1);
  ask(rig, 1, 'WRITE', 'data/a|1', kept);
  ask(rig, 1, 'WRITE', 'data/a|2', kept);
  ask(rig, 1, 'WRITE', 'data/b|1', kept);
  ask(rig, 1, 'WRITE', 'data/gone|1', kept);
  ask(rig, 1, 'RM', 'data/gone|', kept);
  t.deepEqual(rig.events(1), []);
  ask(rig, 1, 'TRANSACTION_END', 'T|', kept);
  t.deepEqual(rig.events(1), ['data/a t', 'data/b t']);
  const dropped = startTransaction(rig, 1);
  ask(rig, 1, 'WRITE', 'data/a|3', dropped);
  ask(rig, 1, 'TRANSACTION_END', 'F|', dropped);
  t.deepEqual(rig.events(1), []);
});

test('watches: the answer to WATCH comes first, then its event; the event of an own change before its answer', (t) => {
  const rig = watching();
  const guest = rig.guest(1);
  guest.send(XS.WATCH, 'data\0t\0');
  guest.send(XS.WRITE, 'data/x\x001');
  guest.send(XS.RM, 'data/x\0');
  for (let i = 0; i < 5; i++) rig.server.poll();
  const types = [];
  for (let message = guest.receive(); message; message = guest.receive()) types.push(message.type);
  t.deepEqual(types, [XS.WATCH, XS.WATCH_EVENT, XS.WATCH_EVENT, XS.WRITE, XS.RM], 'and what waits twice is merged');
});

test('watches: identical events that wait are merged, special ones are not', (t) => {
  const rig = watching('data t');
  rig.ask<void>((then) => rig.dom0.setPermissions('@releaseDomain', ['n0', 'r1'], then));
  ask(rig, 1, 'WATCH', '@releaseDomain|gone|');
  rig.events(1);
  const change = (count: number) => {
    for (let i = 0; i < count; i++) rig.dom0.write(`${HOME}/data/x`, String(i));
  };
  change(5);
  for (const domid of [7, 8]) rig.server.release(domid as DomId);
  change(5);
  t.deepEqual(rig.events(1), ['data/x t', '@releaseDomain gone', '@releaseDomain gone']);
});

test('watches: introductions and releases are told to those who may know', (t) => {
  const rig = watching();
  ask(rig, 1, 'WATCH', '@introduceDomain|in|');
  t.deepEqual(rig.events(1), ['@introduceDomain in'], 'the initial event');
  const seen: string[] = [];
  rig.dom0.watch('@introduceDomain', () => seen.push('in'));
  rig.dom0.watch('@releaseDomain', () => seen.push('out'));
  rig.pump();
  seen.length = 0;
  rig.guest(5);
  rig.server.release(5 as DomId);
  rig.pump();
  t.deepEqual(seen, ['in', 'out']);
  t.deepEqual(rig.events(1), [], 'domain 1 was not allowed to');
});

test('introduce refuses a domid that is connected; release knows generations', (t) => {
  const rig = watching();
  const page = new Uint8Array(new SharedArrayBuffer(4096));
  t.false(rig.server.introduce({ domid: one, generation: 2, page, notify: () => {} }));
  t.false(rig.server.release(one, 7), 'a late release of another generation');
  t.is(ask(rig, 1, 'READ', 'name|'), 'd1');
  t.true(rig.server.release(one, 1));
  t.true(rig.server.introduce({ domid: one, generation: 2, page, notify: () => {} }));
});
