// The rows of the hardening table that concern the xenstore, one test or more each, named after them.
import {
  attachDevice,
  type DomId,
  detachDevice,
  MemoryStore,
  prepareDomain,
  RingXenstoreClient,
  XenstoreServer,
} from '@splitring/hypervisor';
import { XS, XS_PAGE, XS_PAGE_ERROR } from '@splitring/hypervisor/io';
import test from 'ava';
import { ManualClock } from '../../../support/store-rig.ts';
import { WireRig } from '../../../support/store-scenario.ts';

const one = 1 as DomId;
const two = 2 as DomId;

function homes(rig: WireRig, ...domids: readonly DomId[]): void {
  for (const domid of domids) rig.ask<void>((then) => prepareDomain(rig.dom0, domid, `d${domid}`, then));
}

/** Ask and get the payload with `|` for NUL, or the bare name of the error. */
function payload(rig: WireRig, domid: number, operation: keyof typeof XS, text: string, tx = 0): string {
  const answer = rig.request(domid, XS[operation], text.replaceAll('|', '\0'), tx);
  return answer.type === XS.ERROR ? answer.payload.replace('\0', '') : answer.payload.replaceAll('\0', '|');
}

function report(rig: WireRig, domid: number) {
  const found = rig.server.inspect().find((entry) => entry.domid === domid);
  if (!found) throw new Error(`domain ${domid} is not connected`);
  return found;
}

function word(page: Uint8Array, offset: number): number {
  return new DataView(page.buffer).getUint32(offset, true);
}

test('XSA-38: request and response indices out of range cost the guest its own connection', (t) => {
  const offsets = [XS_PAGE.reqCons, XS_PAGE.reqProd, XS_PAGE.rspCons, XS_PAGE.rspProd];
  const values = [1025, 0x7fffffff, 0x80000000, 0xfffffbff];
  for (const offset of offsets) {
    for (const value of values) {
      const rig = new WireRig();
      homes(rig, one, two);
      const guest = rig.guest(1);
      t.is(payload(rig, 1, 'WRITE', 'data/x|1'), 'OK|');
      const base = word(guest.page, offset);
      new DataView(guest.page.buffer).setUint32(offset, (base + value) >>> 0, true);
      guest.send(XS.READ, 'data/x\0');
      for (let i = 0; i < 5; i++) rig.server.poll();
      t.is(word(guest.page, XS_PAGE.error), XS_PAGE_ERROR.indices, `offset ${offset} + ${value}`);
      t.false(rig.server.arm(), 'nothing to do for a broken connection');
      t.is(payload(rig, 2, 'WRITE', 'data/y|2'), 'OK|', 'the neighbour goes on');
    }
  }
});

test('XSA-57: what the toolstack says about a guest is read-only for it', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  rig.plant(['/local/domain/1/console/tty', '/dev/pts/1'], ['/local/domain/1/console/limit', '65536']);
  for (const path of ['console/tty', 'console/limit', 'console/output', 'name', 'domid', 'device/vbd/1']) {
    t.is(payload(rig, 1, 'WRITE', `${path}|/etc/passwd`), 'EACCES', path);
  }
  t.is(payload(rig, 1, 'RM', 'console|'), 'EACCES');
  t.is(payload(rig, 1, 'READ', 'name|'), 'd1');
});

test('XSA-72: a listing longer than a message is E2BIG, and complete in parts', (t) => {
  const rig = new WireRig();
  const names = Array.from({ length: 2000 }, (_, i) => `child-${i}`);
  rig.plant(['/many', '', 'r0'], ...names.map((name) => [`/many/${name}`, ''] as const));
  t.is(payload(rig, 1, 'DIRECTORY', '/many|'), 'E2BIG');
  const { store } = rig.domain(2);
  t.deepEqual(
    rig.ask<readonly string[]>((then) => store.directory('/many', then)),
    { ok: true, value: names },
  );
  t.is(payload(rig, 1, 'DIRECTORY_PART', '/many|99999999|'), 'EINVAL');
  t.is(payload(rig, 1, 'DIRECTORY_PART', '/many|x|'), 'EINVAL');
  const all = names.map((name) => `${name}|`).join('');
  t.regex(payload(rig, 1, 'DIRECTORY_PART', `/many|${all.length}|`), /^[0-9]+\|\|$/, 'the end, and nothing else');
});

test('XSA-115: events do not tell of nodes that the watcher may read neither now nor before', (t) => {
  const rig = new WireRig();
  rig.plant(['/top', '', 'n0', 'r1'], ['/top/open', '', 'r0'], ['/top/shut', '', 'n0']);
  for (const path of ['/top', '/top/shut', '/top/shut/x', '/']) payload(rig, 1, 'WATCH', `${path}|t|`);
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
  t.is(payload(rig, 2, 'WRITE', 'device/vbd/1/backend|/victim'), 'OK|');
  t.is(payload(rig, 2, 'READ', '/libxl/2/device/vbd/1/backend|'), 'EACCES');
  const detached = rig.ask<string>((then) => detachDevice(rig.toolstack, device, { isForced: true }, then));
  t.true(detached.ok);
  t.is(rig.value('/victim/state'), '4');
  t.is(rig.value('/local/domain/1/backend/vbd/2/1'), undefined);
  t.is(rig.value('/local/domain/2/device/vbd/1'), undefined);
});

test('XSA-206: a guest that writes without pause does not starve a transaction of dom0', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const guest = rig.guest(1);
  payload(rig, 1, 'WRITE', 'data/x|0');
  let [commits, conflicts, writes] = [0, 0, 0];
  /** The guest writes as fast as it is served, for 3 ms. */
  const storm = () => {
    for (let i = 0; i < 30; i++) {
      guest.send(XS.WRITE, 'data/x\0y');
      rig.server.poll();
      while (guest.receive()) writes += 1;
      rig.clock.advance(0.1);
    }
  };
  for (let turn = 0; turn < 500 && commits < 5; turn++) {
    rig.dom0.transaction((reply) => {
      if (!reply.ok) return;
      reply.value.read('/local/domain/1/data/x', () => {});
      storm();
      reply.value.end(true, (end) => {
        if (end.ok) commits += 1;
        else conflicts += 1;
      });
    });
    while (rig.dom0.poll());
  }
  t.is(commits, 5, `after ${conflicts} conflicts and ${writes} writes`);
  t.true(conflicts < 100, `${conflicts} conflicts`);
  const before = writes;
  storm();
  t.true(writes > before + 20, 'without a transaction nobody is charged');
});

test('XSA-322, XSA-417, XSA-419, XSA-483: a reused domid inherits nothing', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  payload(rig, 1, 'WRITE', 'data/mine/deep|1');
  payload(rig, 2, 'WRITE', 'data/for-one|secret');
  payload(rig, 2, 'SET_PERMS', 'data/for-one|n2|r1|');
  payload(rig, 1, 'WATCH', '/local/domain/2/data|t|');
  payload(rig, 1, 'TRANSACTION_START', '|');
  rig.ask<void>((then) => rig.dom0.setPermissions('@releaseDomain', ['n0', 'r1', 'r2'], then));
  payload(rig, 2, 'WATCH', '@releaseDomain|gone|');
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
  t.is(payload(rig, 2, 'GET_PERMS', 'data/for-one|'), 'n2|');
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
  t.is(payload(rig, 1, 'READ', '/local/domain/2/data/for-one|'), 'EACCES');
  t.is(payload(rig, 1, 'READ', 'data/mine|'), 'ENOENT');
  payload(rig, 2, 'WRITE', 'data/x|1');
  t.deepEqual(rig.events(1), []);
});

test('XSA-323: a relative path counts as long as it is when expanded', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const component = `/${'a'.repeat(99)}`;
  const fits = `data${component.repeat(20)}`; // 2004 characters, relative
  t.is(payload(rig, 1, 'WRITE', `${fits}|x`), 'OK|');
  t.is(
    payload(rig, 1, 'WRITE', `data${component.repeat(20)}${'b'.repeat(45)}|x`),
    'EINVAL',
    '2049 characters, relative',
  );
  const home = '/local/domain/1/';
  const absolute = (length: number) => `${home}data/${'c'.repeat(length - home.length - 5)}`;
  t.is(payload(rig, 1, 'READ', `${absolute(3072)}|`), 'ENOENT');
  t.is(payload(rig, 1, 'READ', `${absolute(3073)}|`), 'EINVAL');
});

test('XSA-324: an event too long for a message is dropped and harms nobody', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const token = 'k'.repeat(4080);
  t.is(payload(rig, 1, 'WATCH', `data|${token}|`), 'OK|');
  t.deepEqual(rig.events(1), [`data ${token}`], 'the initial event fits');
  payload(rig, 1, 'WRITE', `data/${'n'.repeat(40)}|x`);
  t.deepEqual(rig.events(1), []);
  t.is(report(rig, 1).droppedEvents, 1);
  payload(rig, 1, 'WRITE', 'data|x');
  t.deepEqual(rig.events(1), [`data ${token}`]);
});

test('XSA-325: a bad connection is kept, ignored, until its domain goes or asks for a new one', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const guest = rig.guest(1);
  payload(rig, 1, 'WATCH', 'data|t|');
  payload(rig, 1, 'TRANSACTION_START', '|');
  new DataView(guest.page.buffer).setUint32(XS_PAGE.reqProd, 0xdeadbeef, true);
  rig.server.poll();
  t.like(rig.server.inspect()[0], { domid: one, error: XS_PAGE_ERROR.indices, outstanding: 0 });
  t.like(rig.store.audit(), { watches: 0, watchBranches: 0, transactions: 0, heldBytes: 0 });
  rig.plant(['/local/domain/1/data', 'x']);
  for (let i = 0; i < 10; i++) t.false(rig.server.poll());
  rig.server.release(one);
  t.deepEqual(rig.server.inspect(), []);
});

test('XSA-326: events that nobody reads take bounded memory, then are dropped', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  payload(rig, 2, 'SET_PERMS', 'data|n2|r1|');
  for (let i = 0; i < 120; i++) payload(rig, 1, 'WATCH', `/local/domain/2/data|token-${i}-${'x'.repeat(100)}|`);
  rig.events(1);
  let most = 0;
  for (let i = 0; i < 190; i++) {
    rig.clock.advance(100); // 19 s in all: just before the connection is given up
    payload(rig, 2, 'WRITE', `data/${i}|x`); // 120 events of some 170 bytes
    most = Math.max(most, rig.store.audit().heldBytes);
  }
  t.true(most > 2_000_000 && most < 2_640_000, `${most} bytes held`);
  t.true(report(rig, 1).droppedEvents > 0);
  t.is(payload(rig, 2, 'READ', 'data/189|'), 'x', 'the writer goes on');
});

test('XSA-326: a client that reads no answers is not read from', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  const mute = rig.guest(1);
  for (let i = 0; i < 500; i++) {
    mute.send(XS.READ, 'name\0');
    rig.server.poll();
  }
  t.is(report(rig, 1).outstanding, 20);
  t.true(rig.store.audit().heldBytes < 20 * 4200);
  t.is(payload(rig, 2, 'READ', 'name|'), 'd2');
});

test('XSA-326: events count against the noisy writer, not the victim, and for 100 ms at most', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  payload(rig, 2, 'SET_PERMS', 'data|n2|r1|');
  payload(rig, 1, 'WATCH', '/local/domain/2/data|t|');
  const noisy = rig.guest(2);
  let sent = 0;
  const storm = () => {
    for (let i = 0; i < 100; i++) {
      sent += 1;
      noisy.send(XS.WRITE, `data/n${sent}\0x`);
      rig.server.poll();
      while (noisy.receive());
    }
  };
  storm();
  t.true(report(rig, 2).outstanding >= 20, 'not read from until the victim has read');
  t.is(report(rig, 1).outstanding, 0);
  t.true(rig.events(1).length > 20);
  t.is(report(rig, 2).outstanding, 0, 'all settled');
  storm();
  t.true(report(rig, 2).outstanding >= 20);
  rig.clock.advance(100);
  rig.server.poll();
  t.true(report(rig, 2).outstanding < 20, 'a victim that does not read at all holds nobody up for long');
});

test('XSA-326: an event unread for 20 s ends the connection with error word 1, and only that one', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  const guest = rig.guest(1);
  payload(rig, 1, 'WATCH', 'data|t|');
  rig.events(1);
  for (let i = 0; i < 60; i++) rig.plant([`/local/domain/1/data/${i}${'z'.repeat(40)}`, 'x']);
  rig.server.poll();
  const deadline = rig.server.deadlineMs();
  t.is(deadline, rig.clock.nowMs() + 20_000);
  rig.clock.advance(19_999);
  rig.server.poll();
  t.is(word(guest.page, XS_PAGE.error), XS_PAGE_ERROR.none);
  rig.clock.advance(1);
  rig.server.poll();
  t.is(word(guest.page, XS_PAGE.error), XS_PAGE_ERROR.event);
  t.is(rig.store.audit().heldBytes, 0);
  t.is(payload(rig, 2, 'READ', 'name|'), 'd2');
});

test('XSA-330: watching and resetting without end leaves nothing behind', (t) => {
  const store = new MemoryStore();
  const session = store.open({ domid: 1, isPrivileged: false }, () => {});
  for (let i = 0; i < 100_000; i++) {
    session.watch(`a/b/c${i % 7}/d`, `t${i}`, Number.POSITIVE_INFINITY, () => {});
    session.reset();
  }
  t.like(store.audit(), { watches: 0, watchBranches: 0, heldBytes: 0 });
});

test('XSA-349: a client queues one event per watch however often the peer changes its state', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  const { store } = rig.domain(1);
  rig.ask<void>((then) => rig.dom0.setPermissions('/local/domain/2/data', ['n2', 'r1'], then));
  let calls = 0;
  store.watch('/local/domain/2/data/state', () => {
    calls += 1;
  });
  rig.pump();
  calls = 0;
  for (let i = 0; i < 2000; i++) {
    payload(rig, 2, 'WRITE', `data/state|${i % 7}`);
    Reflect.apply(Reflect.get(store, 'exchange'), store, []); // messages are taken, but no handler runs
    rig.server.poll();
    t.true(Reflect.get(store, 'inbox').length <= 1);
  }
  rig.pump();
  t.is(calls, 1);
});

test('XSA-352: only dom0 gives a node to somebody else', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  payload(rig, 1, 'WRITE', 'data/x|1');
  t.is(payload(rig, 1, 'SET_PERMS', 'data/x|n2|'), 'EPERM');
  t.is(payload(rig, 1, 'GET_PERMS', 'data/x|'), 'n1|');
  t.true(rig.ask<void>((then) => rig.dom0.setPermissions('/local/domain/1/data/x', ['n2'], then)).ok);
  t.true(rig.store.audit().isConsistent, 'the count moved with the node');
});

test('XSA-353: the root is a node like others', (t) => {
  const rig = new WireRig();
  t.is(payload(rig, 1, 'READ', '/|'), 'EACCES');
  t.is(payload(rig, 1, 'DIRECTORY', '/|'), 'EACCES');
  t.is(payload(rig, 1, 'WRITE', '/|x'), 'EACCES');
  t.is(payload(rig, 1, 'RM', '/|'), 'EACCES');
  t.is(payload(rig, 1, 'SET_PERMS', '/|n1|'), 'EACCES');
  t.is(payload(rig, 1, 'MKDIR', '/new|'), 'EACCES');
  payload(rig, 1, 'WATCH', '/|t|');
  rig.events(1);
  rig.plant(['/hidden', 'x']);
  t.deepEqual(rig.events(1), []);
});

test('XSA-414, XSA-415, XSA-421: at the quota every operation is done whole or not at all', (t) => {
  const limits = { nodes: 10, nodeBytes: 100, watches: 2, transactions: 2, transactionNodes: 6, memoryBytes: 700 };
  const rig = new WireRig(limits);
  rig.plant(['/local/domain/1', '', 'n1']);
  const check = (operation: keyof typeof XS, text: string, expected: string, tx = 0) => {
    const before = rig.store.audit();
    const got = payload(rig, 1, operation, text, tx);
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
  const start = () => Number(payload(rig, 1, 'TRANSACTION_START', '|').slice(0, -1));
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
  for (let i = 0; i < 4; i++) payload(rig, 1, 'WRITE', `big${i}|${'v'.repeat(80)}`);
  check('WRITE', `a/b|${'v'.repeat(90)}`, 'ENOMEM');
});

test('XSA-414, XSA-421: a commit that would exceed the quota leaves nothing and fires nothing', (t) => {
  const rig = new WireRig({ nodes: 6 });
  rig.plant(['/local/domain/1', '', 'n1']);
  payload(rig, 1, 'WATCH', '/local/domain/1|t|');
  rig.events(1);
  const start = () => Number(payload(rig, 1, 'TRANSACTION_START', '|').slice(0, -1));
  const full = start();
  for (const name of ['a/x', 'b/x', 'c']) t.is(payload(rig, 1, 'WRITE', `${name}|1`, full), 'OK|');
  t.is(payload(rig, 1, 'WRITE', 'd|1', full), 'ENOSPC', 'the transaction counts what it adds');
  t.is(payload(rig, 1, 'TRANSACTION_END', 'F|', full), 'OK|');
  const late = start();
  for (const name of ['sub/a', 'sub/b']) t.is(payload(rig, 1, 'WRITE', `${name}|1`, late), 'OK|');
  rig.plant(['/other', '', 'n1'], ['/other/x', ''], ['/other/y', '']); // theirs as well, and no conflict
  t.is(payload(rig, 1, 'TRANSACTION_END', 'T|', late), 'ENOSPC');
  t.deepEqual(rig.events(1), []);
  t.is(payload(rig, 1, 'READ', 'sub/a|'), 'ENOENT');
  t.true(rig.store.audit().isConsistent);
});

test('XSA-416: one poll does a bounded amount of work for one guest', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const guest = rig.guest(1);
  for (let i = 0; i < 40; i++) guest.send(XS.READ, 'name\0');
  rig.server.poll();
  let answers = 0;
  while (guest.receive()) answers += 1;
  t.true(answers <= 8, `${answers} answers in one poll`);
  t.true(rig.server.arm(), 'the rest is not forgotten');
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

test('XSA-420: a length beyond 31 bits is compared as the unsigned number it is', (t) => {
  for (const length of [0x80000010, 0xffffffff, 4097, 0x7fffffff]) {
    const rig = new WireRig();
    homes(rig, one);
    const guest = rig.guest(1);
    const header = new Uint8Array(16);
    const view = new DataView(header.buffer);
    view.setUint32(0, XS.READ, true);
    view.setUint32(12, length, true);
    guest.push(header);
    rig.server.poll();
    t.is(word(guest.page, XS_PAGE.error), XS_PAGE_ERROR.message, String(length));
  }
});

test('XSA-481, XSA-484: invalid paths are EINVAL whatever the operation; RESET_WATCHES in a transaction is safe', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const tx = Number(payload(rig, 1, 'TRANSACTION_START', '|').slice(0, -1));
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
      t.is(payload(rig, 1, operation, `${path}|${rest}`), 'EINVAL', `${operation} ${path.slice(0, 10)}`);
    }
  }
  t.is(payload(rig, 1, 'RESET_WATCHES', '|', tx), 'OK|');
  t.is(payload(rig, 1, 'READ', 'name|', tx), 'ENOENT', 'the transaction went with the watches');
  t.is(payload(rig, 1, 'READ', 'name|'), 'd1');
});

test('a reconnection drops requests, watches and transactions, empties the rings, and the guest goes on', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const { store, page } = rig.domain(1);
  const seen: string[] = [];
  store.watch('data', (path) => seen.push(path));
  rig.pump();
  seen.length = 0;
  new DataView(page.buffer).setUint32(XS_PAGE.rspProd, 0x12345678, true); // something wrote over the page
  const lost: string[] = [];
  store.read('name', (reply) => lost.push(reply.ok ? reply.value : reply.error));
  rig.pump();
  t.deepEqual(lost, ['ECONNRESET']);
  t.true(seen.length > 0, 'the watch was registered anew, and fired');
  t.deepEqual(
    rig.ask<string>((then) => store.read('name', then)),
    { ok: true, value: 'd1' },
  );
  t.is(word(page, XS_PAGE.connection), 0);
  t.is(word(page, XS_PAGE.error), 0);
});

test('a client that finds the page waiting for the server waits, too', (t) => {
  const clock = new ManualClock();
  const store = new MemoryStore();
  const page = new Uint8Array(new SharedArrayBuffer(4096));
  new DataView(page.buffer).setUint32(XS_PAGE.connection, 1, true);
  const client = new RingXenstoreClient({ page, notify: () => {} });
  let answer = '';
  client.read('/', (reply) => {
    answer = reply.ok ? 'ok' : reply.error;
  });
  t.false(client.poll());
  const server = new XenstoreServer({ store, clock });
  server.introduce({ domid: one, generation: 1, page, notify: () => {} });
  for (let i = 0; i < 5; i++) {
    server.poll();
    client.poll();
  }
  t.is(answer, 'EACCES');
});
