// A guest that knows the xenstore wire and keeps to it, but for one breach at a time: whatever the breach, the server does
// exactly what the protocol says, and after a reconnection the guest finds a connection as good as new.
//
// Every valid request is checked against a small model of the guest's own nodes, watches and transactions; requests are
// split and pipelined at random, answers read in pieces. xenstore-page.test.ts is the other half: garbage of any kind.
import { type DomId, prepareDomain } from '@splitring/hypervisor';
import { latin1, XENSTORE_PAYLOAD_MAX, XS, XS_HEADER_BYTES, XS_PAGE, XS_PAGE_ERROR } from '@splitring/hypervisor/io';
import test from 'ava';
import fc from 'fast-check';
import { report, WireRig } from '../../support/store-scenario.ts';

const PATHS = ['data/a', 'data/b', 'data/b/c'];
const TOKENS = ['t1', 't2'];
const FIRST_VALUE = 'x'.repeat(1500); // several ring loads

type Ask =
  | { readonly kind: 'read'; readonly path: string }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'look'; readonly path: string; readonly type: number }
  | { readonly kind: 'write'; readonly path: string; readonly bytes: number }
  | { readonly kind: 'big' }
  | { readonly kind: 'unknown'; readonly type: number }
  | StatefulAsk;
/** What is remembered for the guest until its connection ends. */
type StatefulAsk =
  | { readonly kind: 'watch' | 'unwatch'; readonly path: string; readonly token: string }
  | { readonly kind: 'start' | 'reset' }
  | { readonly kind: 'end'; readonly index: number };

const path = fc.constantFrom(...PATHS);
const token = fc.constantFrom(...TOKENS);
const ask: fc.Arbitrary<Ask> = fc.oneof(
  fc.record({ kind: fc.constantFrom('read' as const, 'remove' as const), path }),
  fc.record({ kind: fc.constant('look' as const), path, type: fc.constantFrom(XS.DIRECTORY, XS.GET_PERMS) }),
  fc.record({ kind: fc.constant('write' as const), path, bytes: fc.constantFrom(0, 1, 30, 1500, 2100) }),
  fc.record({ kind: fc.constantFrom('watch' as const, 'unwatch' as const), path, token }),
  fc.record({ kind: fc.constantFrom('start' as const, 'start' as const, 'reset' as const) }),
  fc.constant({ kind: 'big' as const }),
  fc.record({ kind: fc.constant('end' as const), index: fc.nat({ max: 3 }) }),
  fc.record({ kind: fc.constant('unknown' as const), type: fc.constantFrom(15, 16, 20, 27, 0xffffffff) }),
);

type Breach =
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'index'; readonly offset: number; readonly by: number }
  | { readonly kind: 'cut'; readonly bytes: number }
  | { readonly kind: 'word'; readonly offset: number }
  | { readonly kind: 'mute' | 'none' };

const breach: fc.Arbitrary<Breach> = fc.oneof(
  fc.record({
    kind: fc.constant('length' as const),
    bytes: fc.constantFrom(4097, 4100, 4112, 65_536, 0x7fffffff, 0x80000000, 0x80000010, 0xffffffff),
  }),
  fc.record({
    kind: fc.constant('index' as const),
    offset: fc.constantFrom(XS_PAGE.reqCons, XS_PAGE.reqProd, XS_PAGE.rspCons, XS_PAGE.rspProd),
    by: fc.constantFrom(1025, 2048, 0x7fffffff, 0x80000000, -1025),
  }),
  fc.record({ kind: fc.constant('cut' as const), bytes: fc.integer({ min: 1, max: 40 }) }),
  fc.record({
    kind: fc.constant('word' as const),
    offset: fc.constantFrom(XS_PAGE.serverFeatures, XS_PAGE.sizeBytes),
  }),
  fc.record({ kind: fc.constantFrom('mute' as const, 'none' as const) }),
);

interface Life {
  readonly asks: readonly Ask[];
  readonly breach: Breach;
  /** Bytes pushed and read at a time. */
  readonly chunk: number;
  /** Requests sent before an answer is read. */
  readonly depth: number;
}

const life: fc.Arbitrary<Life> = fc.record({
  asks: fc.array(ask, { minLength: 1, maxLength: 25, size: 'max' }),
  breach,
  chunk: fc.constantFrom(7, 100, 1024),
  depth: fc.integer({ min: 1, max: 6 }),
});

/** What must come back: the payload, or a pattern of it. */
interface Expected {
  readonly type: number;
  readonly reqId: number;
  readonly payload: string | RegExp | undefined;
  readonly isError: boolean | undefined;
}

class Guest {
  readonly events: string[] = [];
  private readonly rig: WireRig;
  private readonly page: Uint8Array;
  private readonly view: DataView;
  private input: number[] = [];
  private lastReqId = 100;
  private expected: Expected[] = [];
  /** Own nodes: a value, null for not there; not in the map: unknown. */
  private nodes = new Map<string, string | null>();
  private watches = new Set<string>();
  /** Tokens of this life: events of another one must not come. */
  private knownTokens = new Set<string>();
  private transactions: number[] = [];
  private life = 0;

  constructor(rig: WireRig, page: Uint8Array) {
    this.rig = rig;
    this.page = page;
    this.view = new DataView(page.buffer);
  }

  word(offset: number): number {
    return this.view.getUint32(offset, true);
  }

  set(offset: number, value: number): void {
    this.view.setUint32(offset, value >>> 0, true);
  }

  live({ asks, breach: wrong, chunk, depth }: Life): void {
    for (const [at, one] of asks.entries()) {
      this.ask(one, chunk);
      if (at % depth === 0) this.drain(chunk);
    }
    this.drain(chunk);
    this.hearOwnWrite(chunk);
    const error = this.commit(wrong);
    for (let i = 0; i < 10; i++) this.rig.server.poll();
    must('error word', this.word(XS_PAGE.error), error);
    this.reconnect();
  }

  /** Push bytes as a guest does that has all the time in the world. */
  push(bytes: Uint8Array, chunk: number): void {
    let sent = 0;
    for (let round = 0; sent < bytes.length; round++) {
      if (round > 4000) throw new Error('the server does not read');
      const prod = this.word(XS_PAGE.reqProd);
      const free = 1024 - ((prod - this.word(XS_PAGE.reqCons)) >>> 0);
      const count = Math.min(free, chunk, bytes.length - sent);
      for (let i = 0; i < count; i++) this.page[(prod + i) & 1023] = bytes[sent + i] as number;
      sent += count;
      this.set(XS_PAGE.reqProd, prod + count);
      this.rig.server.poll();
      if (count === 0) this.receive(chunk);
    }
  }

  private message(type: number, txId: number, payload: string, lengthBytes = payload.length): Uint8Array {
    this.lastReqId += 1;
    const bytes = new Uint8Array(XS_HEADER_BYTES + payload.length);
    const view = new DataView(bytes.buffer);
    [type, this.lastReqId, txId, lengthBytes].forEach((word, i) => {
      view.setUint32(4 * i, word, true);
    });
    for (let i = 0; i < payload.length; i++) bytes[XS_HEADER_BYTES + i] = payload.charCodeAt(i);
    return bytes;
  }

  private send(type: number, text: string, outcome: Partial<Expected>, chunk: number): void {
    const bytes = this.message(type, 0, text.replaceAll('|', '\0'));
    const { payload, isError } = outcome;
    this.expected.push({ type, reqId: this.lastReqId, payload, isError });
    this.push(bytes, chunk);
  }

  /** A request, and what the model says of it. */
  private ask(one: Ask, chunk: number): void {
    const okay = { payload: 'OK\0', isError: false };
    const fails = (name: string) => ({ payload: `${name}\0`, isError: true });
    if (one.kind === 'write') {
      const value = FIRST_VALUE.repeat(2).slice(0, one.bytes);
      if (one.bytes > 2000) {
        this.send(XS.WRITE, `${one.path}|${value}`, fails('ENOSPC'), chunk); // more than a node may hold
        this.nodes.delete(one.path);
        return;
      }
      this.nodes.set(one.path, value);
      if (one.path === 'data/b/c' && this.nodes.get('data/b') === null) this.nodes.set('data/b', '');
      this.send(XS.WRITE, `${one.path}|${value}`, okay, chunk);
    } else if (one.kind === 'read') {
      const value = this.nodes.get(one.path);
      const expected = value === undefined ? {} : value === null ? fails('ENOENT') : { payload: value, isError: false };
      this.send(XS.READ, `${one.path}|`, expected, chunk);
    } else if (one.kind === 'remove') {
      this.send(XS.RM, `${one.path}|`, {}, chunk);
      this.nodes.delete('data/b/c');
      if (one.path !== 'data/b/c') this.nodes.delete(one.path);
    } else if (one.kind === 'look') this.send(one.type, `${one.path}|`, {}, chunk);
    else if (one.kind === 'big') this.send(XS.DIRECTORY, '/many|', fails('E2BIG'), chunk);
    else if (one.kind === 'unknown') this.send(one.type, 'data|', fails('ENOSYS'), chunk);
    else this.askWithState(one, chunk);
  }

  private askWithState(one: StatefulAsk, chunk: number): void {
    const okay = { payload: 'OK\0', isError: false };
    const fails = (name: string) => ({ payload: `${name}\0`, isError: true });
    if (one.kind === 'watch' || one.kind === 'unwatch') {
      const key = `${one.path} ${one.token}-${this.life}`;
      const isThere = this.watches.has(key);
      const text = `${one.path}|${one.token}-${this.life}|`;
      if (one.kind === 'watch') {
        this.watches.add(key);
        this.knownTokens.add(`${one.token}-${this.life}`);
        this.send(XS.WATCH, text, isThere ? fails('EEXIST') : okay, chunk);
      } else {
        this.watches.delete(key);
        this.send(XS.UNWATCH, text, isThere ? okay : fails('ENOENT'), chunk);
      }
    } else if (one.kind === 'start') {
      this.drain(chunk);
      const isRefused = this.transactions.length >= 10;
      this.send(
        XS.TRANSACTION_START,
        '|',
        isRefused ? fails('ENOSPC') : { payload: /^[1-9][0-9]*\0$/, isError: false },
        chunk,
      );
      const id = Number(this.drain(chunk).slice(0, -1));
      if (!isRefused) this.transactions.push(id);
    } else if (one.kind === 'end') {
      const id = this.transactions[one.index % Math.max(1, this.transactions.length)] ?? 77_777;
      const isThere = this.transactions.includes(id);
      this.transactions = this.transactions.filter((other) => other !== id);
      const bytes = this.message(XS.TRANSACTION_END, id, 'F\0');
      this.expected.push({ type: XS.TRANSACTION_END, reqId: this.lastReqId, ...(isThere ? okay : fails('ENOENT')) });
      this.push(bytes, chunk);
    } else {
      this.watches.clear();
      this.transactions = [];
      this.send(XS.RESET_WATCHES, '|', okay, chunk);
    }
  }

  /** Read until everything asked is answered. @returns the last answer */
  drain(chunk: number): string {
    let last = '';
    for (let round = 0; this.expected.length > 0; round++) {
      if (round > 20_000) throw new Error(`no answer to ${this.expected[0]?.type}`);
      this.rig.server.poll();
      last = this.receive(chunk) ?? last;
    }
    return last;
  }

  private receive(chunk: number): string | undefined {
    const cons = this.word(XS_PAGE.rspCons);
    const count = Math.min(chunk, (this.word(XS_PAGE.rspProd) - cons) >>> 0);
    for (let i = 0; i < count; i++) this.input.push(this.page[1024 + ((cons + i) & 1023)] as number);
    this.set(XS_PAGE.rspCons, cons + count);
    let last: string | undefined;
    while (this.input.length >= XS_HEADER_BYTES) {
      const view = new DataView(Uint8Array.from(this.input.slice(0, XS_HEADER_BYTES)).buffer);
      const [type, reqId, txId, length] = [0, 4, 8, 12].map((at) => view.getUint32(at, true)) as [
        number,
        number,
        number,
        number,
      ];
      if (length > XENSTORE_PAYLOAD_MAX) throw new Error(`a message of ${length} bytes`);
      if (this.input.length < XS_HEADER_BYTES + length) break;
      const payload = latin1(Uint8Array.from(this.input.splice(0, XS_HEADER_BYTES + length).slice(XS_HEADER_BYTES)));
      if (type === XS.WATCH_EVENT) this.hear(payload, reqId, txId);
      else last = this.judge(type, reqId, payload);
    }
    return last;
  }

  private hear(payload: string, reqId: number, txId: number): void {
    const [where, token] = payload.split('\0');
    must('numbers of an event', `${reqId} ${txId}`, '0 0');
    if (!this.knownTokens.has(token ?? '')) throw new Error(`an event of another life: ${payload}`);
    this.events.push(`${where} ${token}`);
  }

  private judge(type: number, reqId: number, payload: string): string {
    const expected = this.expected.shift();
    if (expected === undefined) throw new Error(`an answer to nothing: ${type} ${payload}`);
    must('number of the answer', reqId, expected.reqId);
    if (expected.isError !== undefined) must(`kind of answer to ${expected.type}`, type === XS.ERROR, expected.isError);
    if (type !== XS.ERROR) must('type of the answer', type, expected.type);
    else if (!/^E[A-Z0-9]+\0$/.test(payload)) throw new Error(`an error "${payload}"`);
    if (expected.payload instanceof RegExp) must(payload, expected.payload.test(payload), true);
    else if (expected.payload !== undefined) must(`answer to ${expected.type}`, payload, expected.payload);
    return payload;
  }

  /** A change is told to every watch that covers it, once. */
  private hearOwnWrite(chunk: number): void {
    for (const where of PATHS) {
      for (let i = 0; i < 4; i++) {
        this.rig.server.poll();
        this.receive(1024);
      }
      this.events.length = 0;
      this.ask({ kind: 'write', path: where, bytes: 1 }, chunk);
      this.drain(chunk);
      for (let i = 0; i < 4; i++) {
        this.rig.server.poll();
        this.receive(1024);
      }
      for (const watch of this.watches) {
        const [watched, token] = watch.split(' ') as [string, string];
        if (where !== watched && !where.startsWith(`${watched}/`)) continue;
        const heard = this.events.filter((event) => event === `${where} ${token}`).length;
        must(`events of ${watch} about ${where}`, heard, 1);
      }
    }
  }

  /** Break one rule. @returns the error word that must follow */
  private commit(wrong: Breach): number {
    if (wrong.kind === 'length') {
      this.push(this.message(XS.READ, 0, 'name\0', wrong.bytes), 1024);
      return XS_PAGE_ERROR.message;
    }
    if (wrong.kind === 'index') {
      const isAnswer = wrong.offset === XS_PAGE.rspCons || wrong.offset === XS_PAGE.rspProd;
      this.set(wrong.offset, this.word(wrong.offset) + wrong.by);
      // The server looks at a ring when it has business there.
      if (isAnswer) this.rig.store.announce('@introduceDomain');
      if (wrong.offset !== XS_PAGE.reqProd) this.pushBlindly(this.message(XS.READ, 0, 'name\0'));
      return XS_PAGE_ERROR.indices;
    }
    if (wrong.kind === 'cut') {
      const bytes = this.message(XS.WRITE, 0, `data/a\0${'cut'.repeat(10)}`);
      this.push(bytes.subarray(0, Math.min(wrong.bytes, bytes.length - 1)), 1024); // the rest never comes
    }
    if (wrong.kind === 'word') this.set(wrong.offset, 0xffffffff);
    if (wrong.kind === 'mute') {
      this.ask({ kind: 'watch', path: 'data/mute', token: 'mute' }, 1024);
      for (let i = 0; i < 40; i++) this.rig.dom0.write(`/local/domain/1/data/mute/${i}-${'y'.repeat(60)}`, '');
      while (this.rig.dom0.poll());
      this.rig.server.poll();
      this.rig.clock.advance(20_001);
      return XS_PAGE_ERROR.event;
    }
    return XS_PAGE_ERROR.none;
  }

  private pushBlindly(bytes: Uint8Array): void {
    const prod = this.word(XS_PAGE.reqProd);
    for (let i = 0; i < bytes.length; i++) this.page[(prod + i) & 1023] = bytes[i] as number;
    this.set(XS_PAGE.reqProd, prod + bytes.length);
  }

  private reconnect(): void {
    this.set(XS_PAGE.connection, 1);
    for (let i = 0; i < 3; i++) this.rig.server.poll();
    const offsets = ['connection', 'error', 'reqCons', 'reqProd', 'rspCons', 'rspProd'] as const;
    for (const name of offsets) must(`${name} of the new connection`, this.word(XS_PAGE[name]), 0);
    must('outstanding', report(this.rig, 1).outstanding, 0);
    const { watches, transactions, heldBytes } = this.rig.store.audit();
    must('watches, transactions and bytes held', `${watches} ${transactions} ${heldBytes}`, '0 0 0');
    const former = this.transactions[0];
    this.life += 1;
    this.input = [];
    this.expected = [];
    this.transactions = [];
    this.watches.clear();
    this.knownTokens.clear();
    this.nodes.clear();
    this.ask({ kind: 'watch', path: 'data/a', token: 't1' }, 1024);
    this.drain(1024);
    if (former === undefined) return;
    this.transactions = [];
    this.expected.push({ type: XS.TRANSACTION_END, reqId: this.lastReqId + 1, payload: 'ENOENT\0', isError: true });
    this.push(this.message(XS.TRANSACTION_END, former, 'T\0'), 1024);
    this.drain(1024);
  }
}

function must<T>(what: string, got: T, expected: T): void {
  if (got !== expected) throw new Error(`${what}: ${String(got)}, not ${String(expected)}`);
}

test('the server answers a guest that breaks one rule at a time as the protocol says, and reconnects it as good as new', (t) => {
  fc.assert(
    fc.property(fc.array(life, { minLength: 1, maxLength: 5 }), (lives) => {
      const rig = new WireRig();
      for (const domid of [1, 2]) rig.ask<void>((then) => prepareDomain(rig.dom0, domid as DomId, `d${domid}`, then));
      rig.plant(['/many', '', 'r0'], ...Array.from({ length: 600 }, (_, i) => [`/many/child-${i}`, ''] as const));
      const { page } = rig.domain(1);
      rig.domains.delete(1); // no client of ours on this page
      rig.guest(2);
      const guest = new Guest(rig, page);
      for (const one of lives) guest.live(one);
      must('neighbour', rig.request(2, XS.READ, 'name\0').payload, 'd2');
      rig.server.release(1 as DomId);
      const { isConsistent, watches, transactions, heldBytes } = rig.store.audit();
      must('after the end', `${isConsistent} ${watches} ${transactions} ${heldBytes}`, 'true 0 0 0');
    }),
    { numRuns: 150, includeErrorInReport: true } as fc.Parameters<unknown>,
  );
  t.pass();
});
