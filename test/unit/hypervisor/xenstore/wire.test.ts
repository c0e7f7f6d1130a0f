// The xenstore wire has the sizes and offsets of xen/include/public/io/xs_wire.h.
import {
  encodeXsMessage,
  latin1,
  readXsHeader,
  XENSTORE_ABS_PATH_MAX,
  XENSTORE_PAYLOAD_MAX,
  XENSTORE_REL_PATH_MAX,
  XENSTORE_RING_SIZE,
  XenbusState,
  XS,
  XS_CONNECTION,
  XS_ERRORS,
  XS_FEATURE,
  XS_HEADER_BYTES,
  XS_PAGE,
  XS_PAGE_ERROR,
} from '@splitring/hypervisor/io';
import test from 'ava';
import { XENSTORE_PAGE } from 'sharedarraybuffer-ring';

test('XS_PAGE has the offsets of struct xenstore_domain_interface', (t) => {
  t.deepEqual(
    { ...XS_PAGE },
    {
      req: 0,
      rsp: 1024,
      reqCons: 2048,
      reqProd: 2052,
      rspCons: 2056,
      rspProd: 2060,
      serverFeatures: 2064,
      connection: 2068,
      error: 2072,
      evtchnPort: 2076,
      sizeBytes: 2080,
    },
  );
  t.is(XENSTORE_RING_SIZE, 1024);
  t.deepEqual(XENSTORE_PAGE, {
    req: { buf: XS_PAGE.req, sizeBytes: 1024, cons: XS_PAGE.reqCons, prod: XS_PAGE.reqProd },
    rsp: { buf: XS_PAGE.rsp, sizeBytes: 1024, cons: XS_PAGE.rspCons, prod: XS_PAGE.rspProd },
  });
});

test('XS has the operation numbers of enum xsd_sockmsg_type', (t) => {
  const numbers = Object.values(XS);
  t.deepEqual(
    numbers,
    numbers.map((_, index) => (index < 20 ? index : index + 1)),
    'consecutive but for the unused 20',
  );
  t.is(XS.WATCH_EVENT, 15);
  t.is(XS.ERROR, 16);
  t.is(XS.RESET_WATCHES, 21);
  t.is(XS.SET_QUOTA, 26);
});

test('xenstore limits and words have their public values', (t) => {
  t.is(XENSTORE_PAYLOAD_MAX, 4096);
  t.is(XENSTORE_ABS_PATH_MAX, 3072);
  t.is(XENSTORE_REL_PATH_MAX, 2048);
  t.is(XS_ERRORS.length, 16);
  t.deepEqual({ ...XS_FEATURE }, { reconnection: 1, error: 2, watchDepth: 4 });
  t.deepEqual({ ...XS_CONNECTION }, { connected: 0, reconnect: 1 });
  t.deepEqual({ ...XS_PAGE_ERROR }, { none: 0, event: 1, indices: 2, message: 3 });
  t.deepEqual(Object.values(XenbusState), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

test('encodeXsMessage writes the header little-endian and one byte per character', (t) => {
  const bytes = encodeXsMessage(XS.WRITE, 0x01020304, 0x80000001, 'a\0\u00ff');
  t.deepEqual([...bytes], [11, 0, 0, 0, 4, 3, 2, 1, 1, 0, 0, 0x80, 3, 0, 0, 0, 0x61, 0, 0xff]);
  const header = { type: 0, reqId: 0, txId: 0, lengthBytes: 0 };
  readXsHeader(bytes, header);
  t.deepEqual(header, { type: 11, reqId: 0x01020304, txId: 0x80000001, lengthBytes: 3 });
  t.is(latin1(bytes.subarray(XS_HEADER_BYTES)), 'a\0\u00ff');
  t.throws(() => encodeXsMessage(XS.WRITE, 1, 0, 'x'.repeat(4097)), { instanceOf: RangeError });
  t.throws(() => encodeXsMessage(XS.WRITE, 1, 0, '\u0100'), { instanceOf: RangeError });
});

test('latin1 keeps every byte, also those that windows-1252 changes', (t) => {
  const bytes = Uint8Array.from({ length: 4096 }, (_, i) => i);
  t.deepEqual(
    [...latin1(bytes)].map((c) => c.charCodeAt(0)),
    [...bytes],
  );
});
