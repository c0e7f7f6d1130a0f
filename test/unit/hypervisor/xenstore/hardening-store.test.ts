// Hardening of tree, permissions and quotas: a test for each row of the hardening table that concerns them.
import { attachDevice, type DomId, detachDevice, MemoryStore, prepareDomain } from '@splitring/hypervisor';
import type { XS } from '@splitring/hypervisor/io';
import test from 'ava';
import { ask, homes, startTransaction, WireRig } from '../../../support/store-scenario.ts';

const one = 1 as DomId;
const two = 2 as DomId;

test('XSA-57: what the toolstack says about a guest is read-only for it', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  rig.plant(['/local/domain/1/console/tty', '/dev/pts/1'], ['/local/domain/1/console/limit', '65536']);
  for (const path of ['console/tty', 'console/limit', 'console/output', 'name', 'domid', 'device/vbd/1']) {
    t.is(ask(rig, 1, 'WRITE', `${path}|/etc/passwd`), 'EACCES', path);
  }
  t.is(ask(rig, 1, 'RM', 'console|'), 'EACCES');
  t.is(ask(rig, 1, 'READ', 'name|'), 'd1');
});

test('XSA-115: events do not tell of nodes that the watcher may read neither now nor before', (t) => {
  const rig = new WireRig();
  rig.plant(['/top', '', 'n0', 'r1'], ['/top/open', '', 'r0'], ['/top/shut', '', 'n0']);
  for (const path of ['/top', '/top/shut', '/top/shut/x', '/']) ask(rig, 1, 'WATCH', `${path}|t|`);
  rig.events(1);
  rig.plant(['/top/shut/x', 'secret']);
  t.deepEqual(rig.events(1), [], 'neither the node nor its parent is readable');
  rig.plant(['/top/shut', 'still']);
  t.deepEqual(rig.events(1), ['/top/shut t'], 'its parent is readable, and events are merged');
  rig.ask<void>((then) => rig.dom0.setPermissions('/top/shut/x', ['n0', 'r1'], then));
  t.deepEqual(rig.events(1), ['/top/shut/x t'], 'allowed now');
  rig.ask<void>((then) => rig.dom0.setPermissions('/top/shut/x', ['n0'], then));
  t.deepEqual(rig.events(1), ['/top/shut/x t'], 'allowed before this change');
  rig.plant(['/top/shut/x', 'secret again']);
  t.deepEqual(rig.events(1), []);
  rig.ask<void>((then) => rig.dom0.remove('/top/shut/x', then));
  t.deepEqual(rig.events(1), []);
});

test('XSA-175, XSA-178: a guest that rewrites its links does not direct the toolstack', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  const device = { type: 'vbd', id: '1', front: two, back: one };
  rig.ask<void>((then) => attachDevice(rig.dom0, device, then));
  rig.plant(['/victim', '', 'n0'], ['/victim/state', '4']);
  t.is(ask(rig, 2, 'WRITE', 'device/vbd/1/backend|/victim'), 'OK|');
  t.is(ask(rig, 2, 'READ', '/libxl/2/device/vbd/1/backend|'), 'EACCES');
  const detached = rig.ask<string>((then) => detachDevice(rig.toolstack, device, { isForced: true }, then));
  t.true(detached.ok);
  t.is(rig.value('/victim/state'), '4');
  t.is(rig.value('/local/domain/1/backend/vbd/2/1'), undefined);
  t.is(rig.value('/local/domain/2/device/vbd/1'), undefined);
});

test('XSA-322, XSA-417, XSA-419, XSA-483: a reused domid inherits nothing', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  ask(rig, 1, 'WRITE', 'data/mine/deep|1');
  ask(rig, 2, 'WRITE', 'data/for-one|secret');
  ask(rig, 2, 'SET_PERMS', 'data/for-one|n2|r1|');
  ask(rig, 1, 'WATCH', '/local/domain/2/data|t|');
  ask(rig, 1, 'TRANSACTION_START', '|');
  rig.ask<void>((then) => rig.dom0.setPermissions('@releaseDomain', ['n0', 'r1', 'r2'], then));
  ask(rig, 2, 'WATCH', '@releaseDomain|gone|');
  // a transaction of dom0 that would write the dead id back
  rig.dom0.transaction((reply) => {
    if (!reply.ok) return;
    reply.value.write('/late', 'x');
    reply.value.setPermissions('/late', ['n1'], () => {
      rig.server.release(one);
      reply.value.end(true, (end) => t.deepEqual(end, { ok: false, error: 'EAGAIN' }));
    });
  });
  rig.pump();
  rig.guests.delete(1);
  t.true(rig.events(2).includes('@releaseDomain gone'));
  t.is(ask(rig, 2, 'GET_PERMS', 'data/for-one|'), 'n2|');
  t.is(rig.value('/local/domain/1/data/mine/deep'), undefined);
  t.is(rig.value('/late'), undefined);
  t.deepEqual(
    rig.ask<readonly string[]>((then) => rig.dom0.getPermissions('@releaseDomain', then)),
    {
      ok: true,
      value: ['n0', 'r2'],
    },
  );
  const audit = rig.store.audit();
  t.is(audit.transactions, 0);
  t.is(audit.watches, 1, "only domain 2's");
  t.true(audit.isConsistent);
  rig.ask<void>((then) => prepareDomain(rig.dom0, one, 'again', then));
  t.is(ask(rig, 1, 'READ', '/local/domain/2/data/for-one|'), 'EACCES');
  t.is(ask(rig, 1, 'READ', 'data/mine|'), 'ENOENT');
  ask(rig, 2, 'WRITE', 'data/x|1');
  t.deepEqual(rig.events(1), []);
});

test('XSA-323: a relative path counts as long as it is when expanded', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const component = `/${'a'.repeat(99)}`;
  const fits = `data${component.repeat(20)}`; // 2004 characters, relative
  t.is(ask(rig, 1, 'WRITE', `${fits}|x`), 'OK|');
  t.is(ask(rig, 1, 'WRITE', `data${component.repeat(20)}${'b'.repeat(45)}|x`), 'EINVAL', '2049 characters, relative');
  const home = '/local/domain/1/';
  const absolute = (length: number) => `${home}data/${'c'.repeat(length - home.length - 5)}`;
  t.is(ask(rig, 1, 'READ', `${absolute(2048 + home.length)}|`), 'ENOENT', 'counted from the home on');
  t.is(ask(rig, 1, 'READ', `${absolute(2049 + home.length)}|`), 'EINVAL');
  t.is(ask(rig, 1, 'READ', `/${'d'.repeat(2047)}|`), 'EACCES');
  t.is(ask(rig, 1, 'READ', `/${'d'.repeat(2048)}|`), 'EINVAL');
  const read = (path: string) => rig.ask<string>((then) => rig.dom0.read(path, then));
  t.deepEqual(read(absolute(3072)), { ok: false, error: 'ENOENT' }, 'dom0 has no quota, but the protocol has a limit');
  t.deepEqual(read(absolute(3073)), { ok: false, error: 'EINVAL' });
});

test('XSA-330: watching and resetting without end leaves nothing behind', (t) => {
  const store = new MemoryStore();
  const session = store.open({ domid: 1, isPrivileged: false }, () => {});
  for (let i = 0; i < 1_000_000; i++) {
    session.watch(`a/b/c${i % 7}/d`, `t${i}`, Number.POSITIVE_INFINITY, () => {});
    session.reset();
  }
  t.like(store.audit(), { watches: 0, watchBranches: 0, heldBytes: 0 });
});

test('XSA-352: only dom0 gives a node to somebody else', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  ask(rig, 1, 'WRITE', 'data/x|1');
  t.is(ask(rig, 1, 'SET_PERMS', 'data/x|n2|'), 'EPERM');
  t.is(ask(rig, 1, 'GET_PERMS', 'data/x|'), 'n1|');
  t.true(rig.ask<void>((then) => rig.dom0.setPermissions('/local/domain/1/data/x', ['n2'], then)).ok);
  t.true(rig.store.audit().isConsistent, 'the count moved with the node');
});

test('XSA-353: the root is a node like others', (t) => {
  const rig = new WireRig();
  t.is(ask(rig, 1, 'READ', '/|'), 'EACCES');
  t.is(ask(rig, 1, 'DIRECTORY', '/|'), 'EACCES');
  t.is(ask(rig, 1, 'WRITE', '/|x'), 'EACCES');
  t.is(ask(rig, 1, 'RM', '/|'), 'EACCES');
  t.is(ask(rig, 1, 'SET_PERMS', '/|n1|'), 'EACCES');
  t.is(ask(rig, 1, 'MKDIR', '/new|'), 'EACCES');
  ask(rig, 1, 'WATCH', '/|t|');
  rig.events(1);
  rig.plant(['/hidden', 'x']);
  t.deepEqual(rig.events(1), []);
});

test('XSA-414, XSA-415, XSA-421: at the quota every operation is done whole or not at all', (t) => {
  const limits = { nodes: 10, nodeBytes: 100, watches: 2, transactions: 2, transactionNodes: 6, memoryBytes: 600 };
  const rig = new WireRig(limits);
  rig.plant(['/local/domain/1', '', 'n1']);
  const check = (operation: keyof typeof XS, text: string, expected: string, tx = 0) => {
    const before = rig.store.audit();
    const got = ask(rig, 1, operation, text, tx);
    t.is(got, expected, `${operation} ${text.slice(0, 40)}`);
    const after = rig.store.audit();
    t.true(after.isConsistent);
    if (!got.startsWith('OK')) t.is(after.nodes, before.nodes, 'a refusal changes nothing');
  };
  check('WRITE', 'a/b/c|1', 'OK|'); // 4 nodes with the home
  check('WRITE', 'd/e/f/g/h/i|1', 'OK|'); // 10
  check('WRITE', 'j|1', 'ENOSPC');
  check('MKDIR', 'a/b/c/d|', 'ENOSPC');
  check('WRITE', `a|${'v'.repeat(91)}`, 'ENOSPC'); // 91 + "b" and NUL + 8 = 101
  check('WRITE', `a|${'v'.repeat(90)}`, 'OK|');
  check('RM', 'd/e|', 'OK|'); // 5 left
  const start = () => startTransaction(rig, 1);
  const tx = start();
  check('WRITE', 'n/o|1', 'OK|', tx);
  check('RM', 'n|', 'OK|', tx);
  check('TRANSACTION_END', 'T|', 'OK|', tx);
  t.is(rig.store.audit().nodes, 8); // root, local, domain, 1, a, b, c, d: created and removed in one transaction is none
  const many = start();
  check('WRITE', 'k/l/m/n/o|1', 'OK|', many); // touches 6 nodes: these and the home
  check('READ', 'a|', 'ENOSPC', many);
  check('TRANSACTION_END', 'T|', 'ENOMEM', many);
  const [first, second] = [start(), start()];
  check('TRANSACTION_START', '|', 'ENOSPC');
  check('TRANSACTION_END', 'F|', 'OK|', first);
  check('TRANSACTION_END', 'F|', 'OK|', second);
  check('WATCH', 'a|1|', 'OK|');
  check('WATCH', 'a|2|', 'OK|');
  check('WATCH', 'a|3|', 'ENOSPC');
  rig.events(1);
  check('RESET_WATCHES', '|', 'OK|');
  for (let i = 0; i < 4; i++) ask(rig, 1, 'WRITE', `big${i}|${'v'.repeat(80)}`);
  check('WRITE', `a/b|${'v'.repeat(90)}`, 'ENOMEM');
});

test('XSA-414, XSA-421: a commit that would exceed the quota leaves nothing and fires nothing', (t) => {
  const rig = new WireRig({ nodes: 6 });
  rig.plant(['/local/domain/1', '', 'n1']);
  ask(rig, 1, 'WATCH', '/local/domain/1|t|');
  rig.events(1);
  const start = () => startTransaction(rig, 1);
  const full = start();
  for (const name of ['a/x', 'b/x', 'c']) t.is(ask(rig, 1, 'WRITE', `${name}|1`, full), 'OK|');
  t.is(ask(rig, 1, 'WRITE', 'd|1', full), 'ENOSPC', 'the transaction counts what it adds');
  t.is(ask(rig, 1, 'TRANSACTION_END', 'F|', full), 'OK|');
  const late = start();
  for (const name of ['sub/a', 'sub/b']) t.is(ask(rig, 1, 'WRITE', `${name}|1`, late), 'OK|');
  rig.plant(['/other', '', 'n1'], ['/other/x', ''], ['/other/y', '']); // theirs as well, and no conflict
  t.is(ask(rig, 1, 'TRANSACTION_END', 'T|', late), 'ENOSPC');
  t.deepEqual(rig.events(1), []);
  t.is(ask(rig, 1, 'READ', 'sub/a|'), 'ENOENT');
  t.true(rig.store.audit().isConsistent);
});

test('XSA-418: a tree as deep as a path allows is made, walked and removed without recursion', (t) => {
  const rig = new WireRig();
  const path = '/a'.repeat(1500);
  rig.plant([path, 'deep']);
  t.is(rig.value(path), 'deep');
  const stop = rig.dom0.watch(path, () => {});
  rig.pump();
  t.is(rig.store.audit().nodes, 1501);
  t.true(rig.ask<void>((then) => rig.dom0.remove('/a', then)).ok);
  t.is(rig.store.audit().nodes, 1);
  stop();
  rig.pump();
  t.is(rig.store.audit().watchBranches, 0);
});

test('XSA-481, XSA-484: invalid paths are EINVAL whatever the operation; RESET_WATCHES in a transaction is safe', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const tx = startTransaction(rig, 1);
  for (const [operation, rest] of [
    ['READ', ''],
    ['DIRECTORY', ''],
    ['GET_PERMS', ''],
    ['WRITE', 'v'],
    ['MKDIR', ''],
    ['RM', ''],
    ['SET_PERMS', 'n1|'],
    ['WATCH', 't|'],
    ['UNWATCH', 't|'],
    ['DIRECTORY_PART', '0|'],
  ] as const) {
    for (const path of ['a..b', '/a/', '//', `/${'x'.repeat(3072)}`]) {
      t.is(ask(rig, 1, operation, `${path}|${rest}`), 'EINVAL', `${operation} ${path.slice(0, 10)}`);
    }
  }
  t.is(ask(rig, 1, 'RESET_WATCHES', '|', tx), 'OK|');
  t.is(ask(rig, 1, 'READ', 'name|', tx), 'ENOENT', 'the transaction went with the watches');
  t.is(ask(rig, 1, 'READ', 'name|'), 'd1');
});
