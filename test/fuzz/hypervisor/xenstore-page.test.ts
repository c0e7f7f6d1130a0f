// A guest that writes anything anywhere into its xenstore page, between any two steps of the server; and the reverse.
import { type DomId, prepareDomain, RingXenstoreClient } from '@splitring/hypervisor';
import { encodeXsMessage, XENSTORE_PAYLOAD_MAX, XS, XS_PAGE } from '@splitring/hypervisor/io';
import test from 'ava';
import fc from 'fast-check';
import { report, WireRig } from '../../support/store-scenario.ts';

type Mischief =
  | { readonly kind: 'word'; readonly offset: number; readonly value: number }
  | { readonly kind: 'bytes'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'header'; readonly type: number; readonly tx: number; readonly length: number }
  | { readonly kind: 'request'; readonly type: number; readonly tx: number; readonly payload: string }
  | { readonly kind: 'serve' | 'drain' | 'wait'; readonly count: number };

const WORDS = [
  XS_PAGE.reqCons,
  XS_PAGE.reqProd,
  XS_PAGE.rspCons,
  XS_PAGE.rspProd,
  XS_PAGE.serverFeatures,
  XS_PAGE.connection,
  XS_PAGE.error,
];
const u32 = fc.oneof(fc.constantFrom(0, 1, 2, 1023, 1024, 1025, 0x7fffffff, 0x80000000, 0xffffffff), fc.nat());
const type = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...Object.values(XS)) },
  { weight: 1, arbitrary: fc.constantFrom(20, 27, 0xffffffff) },
);
/** Mostly valid requests, so that the deep code is reached. */
const payload = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        fc.constantFrom('data', 'data/a', 'data/a/b', '/local/domain/2/data', '/', '@releaseDomain', 'x', '../x'),
        fc.constantFrom('', 'n1\0', 'n1\0r2\0', 'v', 'token\0', 'token\x000\0', 'T\0', '99\0'),
      )
      .map(([path, rest]) => `${path}\0${rest}`),
  },
  { weight: 1, arbitrary: fc.constantFrom('', '\0', 'T\0', 'F\0', '\0\0\0', 'a'.repeat(XENSTORE_PAYLOAD_MAX)) },
  {
    weight: 1,
    arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => String.fromCharCode(...bytes)),
  },
);
const mischief: fc.Arbitrary<Mischief> = fc.oneof(
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('word' as const), offset: fc.constantFrom(...WORDS), value: u32 }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('bytes' as const),
      at: fc.integer({ min: 0, max: 2047 }),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 64 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('header' as const), type, tx: u32, length: u32 }) },
  {
    weight: 40,
    arbitrary: fc.record({
      kind: fc.constant('request' as const),
      type,
      tx: fc.constantFrom(0, 0, 0, 1, 2, 9),
      payload,
    }),
  },
  {
    weight: 25,
    arbitrary: fc.record({ kind: fc.constantFrom('serve', 'drain', 'wait'), count: fc.integer({ min: 1, max: 5 }) }),
  },
);

/** Write raw bytes at the guest's request index, whatever it is, and move the index: a guest without any library. */
function pushRaw(page: Uint8Array, bytes: Uint8Array): void {
  const words = new DataView(page.buffer);
  let prod = words.getUint32(XS_PAGE.reqProd, true);
  for (const byte of bytes) {
    page[prod & 1023] = byte;
    prod = (prod + 1) >>> 0;
  }
  words.setUint32(XS_PAGE.reqProd, prod, true);
}

test('a hostile guest costs itself its connection; the server bears it, and its neighbour does not notice', (t) => {
  fc.assert(
    fc.property(fc.array(mischief, { minLength: 5, maxLength: 80, size: 'max' }), (actions) => {
      const rig = new WireRig();
      for (const domid of [1, 2]) rig.ask<void>((then) => prepareDomain(rig.dom0, domid as DomId, `d${domid}`, then));
      const { page } = rig.guest(1);
      rig.guest(2);
      const words = new DataView(page.buffer);
      for (const action of actions) {
        if (action.kind === 'word') words.setUint32(action.offset, action.value, true);
        else if (action.kind === 'bytes') page.set(action.bytes.subarray(0, 2048 - action.at), action.at);
        else if (action.kind === 'request') pushRaw(page, encodeXsMessage(action.type, 7, action.tx, action.payload));
        else if (action.kind === 'header') {
          const header = new DataView(new ArrayBuffer(16));
          [action.type, 7, action.tx, action.length].forEach((value, i) => {
            header.setUint32(4 * i, value, true);
          });
          pushRaw(page, new Uint8Array(header.buffer));
        } else if (action.kind === 'drain') {
          words.setUint32(XS_PAGE.rspCons, words.getUint32(XS_PAGE.rspProd, true), true);
        } else if (action.kind === 'wait') {
          rig.clock.advance(action.count * 5000);
        } else {
          for (let i = 0; i < action.count; i++) rig.server.poll();
        }
        if (rig.store.audit().heldBytes > 2_700_000) throw new Error('memory');
      }
      let rounds = 0;
      while (rig.server.poll() && rounds < 1000) rounds += 1;
      if (rounds >= 1000) throw new Error('the server does not come to rest');
      if (report(rig, 1).outstanding > 21) throw new Error(`${report(rig, 1).outstanding} outstanding`);
      rig.clock.advance(100);
      if (rig.request(2, XS.READ, 'name\0').payload !== 'd2') throw new Error('the neighbour');
      rig.server.release(1 as DomId);
      const audit = rig.store.audit();
      if (audit.watches > 0 || audit.transactions > 0 || audit.heldBytes > 0) throw new Error(JSON.stringify(audit));
      if (!audit.isConsistent) throw new Error('accounts');
    }),
    { numRuns: 400, includeErrorInReport: true } as fc.Parameters<unknown>,
  );
  t.pass();
});

test('a client bears whatever lies in its page: no exception, bounded work, every request answered or failed', (t) => {
  const garbage = fc.oneof(
    { weight: 2, arbitrary: fc.record({ offset: fc.constantFrom(...WORDS), value: u32 }) },
    {
      weight: 2,
      arbitrary: fc.record({
        type: fc.constantFrom(...Object.values(XS)),
        id: fc.nat({ max: 40 }),
        text: fc.constantFrom(
          '',
          '\0',
          'OK\0',
          'ENOENT\0',
          'a\0w1\0',
          'no-nul',
          '1\0names\0',
          '5\0',
          '\0\0',
          'x'.repeat(4096),
        ),
      }),
    },
  );
  fc.assert(
    fc.property(fc.array(garbage, { minLength: 1, maxLength: 60, size: 'max' }), (actions) => {
      const page = new Uint8Array(new SharedArrayBuffer(4096));
      const words = new DataView(page.buffer);
      const client = new RingXenstoreClient({ page, notify: () => {}, maxPending: 16 });
      let answers = 0;
      let asked = 0;
      const count = () => {
        answers += 1;
      };
      client.watch('x', () => {});
      for (const action of actions) {
        asked += 3;
        client.read('a', count);
        client.directory('b', count);
        client.transaction(count);
        if ('offset' in action) {
          words.setUint32(action.offset, action.value, true);
        } else {
          let prod = words.getUint32(XS_PAGE.rspProd, true);
          for (const byte of encodeXsMessage(action.type, action.id, 0, action.text).subarray(0, 1024)) {
            page[1024 + (prod & 1023)] = byte;
            prod = (prod + 1) >>> 0;
          }
          words.setUint32(XS_PAGE.rspProd, prod, true);
        }
        for (let i = 0; i < 4; i++) client.poll();
        client.arm();
      }
      // An honest server takes over: whatever was lost fails, what is asked now is answered.
      client.reconnect();
      let rounds = 0;
      while (client.poll() && rounds < 1000) rounds += 1;
      if (rounds >= 1000) throw new Error('the client does not come to rest');
      if (answers > asked) throw new Error(`${answers} answers to ${asked} requests`);
      if (asked - answers > 17 * 2) throw new Error(`${asked - answers} requests without an answer`);
    }),
    { numRuns: 400, includeErrorInReport: true } as fc.Parameters<unknown>,
  );
  t.pass();
});
