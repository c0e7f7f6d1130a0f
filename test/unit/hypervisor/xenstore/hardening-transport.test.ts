// Hardening of the transport: one test or more for each row of the hardening table that concerns it, named after it.
import { type DomId, MemoryStore, RingXenstoreClient, XenstoreServer } from '@splitring/hypervisor';
import { XS, XS_PAGE, XS_PAGE_ERROR } from '@splitring/hypervisor/io';
import test from 'ava';
import { ManualClock } from '../../../support/store-rig.ts';
import { ask, homes, report, WireRig, word } from '../../../support/store-scenario.ts';

const one = 1 as DomId;
const two = 2 as DomId;

test('XSA-38: request and response indices out of range cost the guest its own connection', (t) => {
  const offsets = [XS_PAGE.reqCons, XS_PAGE.reqProd, XS_PAGE.rspCons, XS_PAGE.rspProd];
  const values = [1025, 0x7fffffff, 0x80000000, 0xfffffbff];
  for (const offset of offsets) {
    for (const value of values) {
      const rig = new WireRig();
      homes(rig, one, two);
      const guest = rig.guest(1);
      t.is(ask(rig, 1, 'WRITE', 'data/x|1'), 'OK|');
      const base = word(guest.page, offset);
      new DataView(guest.page.buffer).setUint32(offset, (base + value) >>> 0, true);
      guest.send(XS.READ, 'data/x\0');
      for (let i = 0; i < 10; i++) {
        rig.server.poll();
        rig.server.arm();
      }
      t.is(word(guest.page, XS_PAGE.error), XS_PAGE_ERROR.indices, `offset ${offset} + ${value}`);
      t.false(rig.server.arm(), 'nothing to do for a broken connection');
      t.is(ask(rig, 2, 'WRITE', 'data/y|2'), 'OK|', 'the neighbour goes on');
    }
  }
});

test('XSA-72: a listing longer than a message is E2BIG, and complete in parts', (t) => {
  const rig = new WireRig();
  const names = Array.from({ length: 2000 }, (_, i) => `child-${i}`);
  rig.plant(['/many', '', 'r0'], ...names.map((name) => [`/many/${name}`, ''] as const));
  t.is(ask(rig, 1, 'DIRECTORY', '/many|'), 'E2BIG');
  const { store } = rig.domain(2);
  t.deepEqual(
    rig.ask<readonly string[]>((then) => store.directory('/many', then)),
    { ok: true, value: names },
  );
  t.is(ask(rig, 1, 'DIRECTORY_PART', '/many|99999999|'), 'EINVAL');
  t.is(ask(rig, 1, 'DIRECTORY_PART', '/many|x|'), 'EINVAL');
  const all = names.map((name) => `${name}|`).join('');
  t.regex(ask(rig, 1, 'DIRECTORY_PART', `/many|${all.length}|`), /^[0-9]+\|\|$/, 'the end, and nothing else');
});

test('XSA-206: a guest that writes without pause does not starve a transaction of dom0', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const guest = rig.guest(1);
  ask(rig, 1, 'WRITE', 'data/x|0');
  let [commits, conflicts, writes] = [0, 0, 0];
  /** The guest writes as fast as it is served, for 3 ms, up to 100 000 times a second. */
  const storm = () => {
    for (let i = 0; i < 300; i++) {
      guest.send(XS.WRITE, 'data/x\0y');
      rig.server.poll();
      while (guest.receive()) writes += 1;
      rig.clock.advance(0.01);
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
  t.true(writes > before + 250, 'without a transaction nobody is charged');
});

test('XSA-324: an event too long for a message is dropped and harms nobody', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const token = 'k'.repeat(4080);
  t.is(ask(rig, 1, 'WATCH', `data|${token}|`), 'OK|');
  t.deepEqual(rig.events(1), [`data ${token}`], 'the initial event fits');
  ask(rig, 1, 'WRITE', `data/${'n'.repeat(40)}|x`);
  t.deepEqual(rig.events(1), []);
  t.is(report(rig, 1).droppedEvents, 1);
  ask(rig, 1, 'WRITE', 'data|x');
  t.deepEqual(rig.events(1), [`data ${token}`]);
});

test('XSA-325: a bad connection is kept, ignored, until its domain goes or asks for a new one', (t) => {
  const rig = new WireRig();
  homes(rig, one);
  const guest = rig.guest(1);
  ask(rig, 1, 'WATCH', 'data|t|');
  ask(rig, 1, 'TRANSACTION_START', '|');
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
  ask(rig, 2, 'SET_PERMS', 'data|n2|r1|');
  for (let i = 0; i < 120; i++) ask(rig, 1, 'WATCH', `/local/domain/2/data|token-${i}-${'x'.repeat(100)}|`);
  rig.events(1);
  let most = 0;
  for (let i = 0; i < 190; i++) {
    rig.clock.advance(100); // 19 s in all: just before the connection is given up
    ask(rig, 2, 'WRITE', `data/${i}|x`); // 120 events of some 170 bytes
    most = Math.max(most, rig.store.audit().heldBytes);
  }
  t.true(most > 2_000_000 && most < 2_640_000, `${most} bytes held`);
  t.true(report(rig, 1).droppedEvents > 0);
  t.is(ask(rig, 2, 'READ', 'data/189|'), 'x', 'the writer goes on');
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
  t.is(ask(rig, 2, 'READ', 'name|'), 'd2');
});

test('XSA-326: events count against the noisy writer, not the victim, and for 100 ms at most', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  ask(rig, 2, 'SET_PERMS', 'data|n2|r1|');
  ask(rig, 1, 'WATCH', '/local/domain/2/data|t|');
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

test('XSA-326: a victim that goes takes what it held against a writer with it', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  ask(rig, 2, 'SET_PERMS', 'data|n2|r1|');
  ask(rig, 1, 'WATCH', '/local/domain/2/data|t|');
  const noisy = rig.guest(2);
  for (let i = 0; i < 100; i++) {
    noisy.send(XS.WRITE, `data/n${i}\0x`);
    rig.server.poll();
    while (noisy.receive());
  }
  t.true(report(rig, 2).outstanding >= 20);
  rig.server.release(one);
  t.true(report(rig, 2).outstanding <= 1);
  for (let i = 0; i < 50; i++) {
    rig.server.poll();
    while (noisy.receive());
  }
  t.is(ask(rig, 2, 'READ', 'data/n5|'), 'x');
});

test('XSA-326: an event unread for 20 s ends the connection with error word 1, and only that one', (t) => {
  const rig = new WireRig();
  homes(rig, one, two);
  const guest = rig.guest(1);
  ask(rig, 1, 'WATCH', 'data|t|');
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
  t.is(ask(rig, 2, 'READ', 'name|'), 'd2');
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
  const exchange = Reflect.get(store, 'exchange'); // messages are taken, but no handler runs
  const written = () => {
    writes += 1;
  };
  let writes = 0;
  let most = 0;
  for (let i = 0; i < 1_000_000; i++) {
    rig.dom0.write('/local/domain/2/data/state', String(i % 7), written);
    rig.dom0.poll();
    rig.server.poll();
    Reflect.apply(exchange, store, []);
    most = Math.max(most, Reflect.get(store, 'inbox').length);
  }
  t.is(writes, 1_000_000);
  t.is(most, 1);
  rig.pump();
  t.is(calls, 1);
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
