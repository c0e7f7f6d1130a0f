// Declared structs: C layout, round trips, 64-bit limits.
import test from 'ava';
import { array, bytes, i16, RingError, struct, u8, u16, u32, u64 } from 'sharedarraybuffer-ring';

const segment = struct({ gref: u32, firstSect: u8, lastSect: u8 });
const request = struct({
  operation: u8,
  nrSegments: u8,
  handle: u16,
  id: u64,
  sectorNumber: u64,
  seg: array(segment, 11),
});

test('struct aligns like C: blkif request 112, header 24, segment 8, response 16 bytes', (t) => {
  t.is(request.sizeof, 112);
  t.deepEqual(request.offsets, { operation: 0, nrSegments: 1, handle: 2, id: 8, sectorNumber: 16, seg: 24 });
  t.is(segment.sizeof, 8);
  t.is(struct({ id: u64, operation: u8, status: i16 }).sizeof, 16);
});

test('struct reads back what it wrote, nested fields too', (t) => {
  const view = new DataView(new ArrayBuffer(240));
  const values = {
    operation: 1,
    nrSegments: 2,
    handle: 0xcafe,
    id: 2 ** 53 - 1,
    sectorNumber: 2 ** 32 + 5,
    seg: Array.from({ length: 11 }, (_, i) => ({ gref: 0xffffffff - i, firstSect: i, lastSect: 7 })),
  };
  request.write(view, 120, values);
  t.deepEqual(request.read(view, 120, request.create()), values);
  t.is(request.low.id(view, 120), 0xffffffff);
  t.is(request.high.id(view, 120), 2 ** 21 - 1);
  t.is(view.getUint32(0), 0);
  request.clear(view, 120);
  t.is(request.get.id(view, 120), 0);
});

test('u64 reads 2^53 and more as NaN and refuses to write what is no safe integer', (t) => {
  const view = new DataView(new ArrayBuffer(8));
  const one = struct({ id: u64 });
  view.setBigUint64(0, 2n ** 53n, true);
  t.is(one.get.id(view, 0), Number.NaN);
  for (const value of [-1, Number.NaN, 2 ** 53, Infinity]) {
    t.is(t.throws(() => one.set.id(view, 0, value), { instanceOf: RingError })?.code, 'STRUCT_RANGE');
  }
  t.is(view.getBigUint64(0, true), 2n ** 53n, 'a refused write changes nothing');
});

test('bytes pads with zeros, cuts what is too long and reads a copy', (t) => {
  const view = new DataView(new SharedArrayBuffer(8));
  const s = struct({ tag: u8, name: bytes(5) });
  s.set.name(view, 0, new Uint8Array([1, 2, 3, 4, 5, 6]));
  const copy = s.get.name(view, 0);
  s.set.name(view, 0, new Uint8Array([9]));
  t.deepEqual([...copy], [1, 2, 3, 4, 5]);
  t.deepEqual([...s.get.name(view, 0)], [9, 0, 0, 0, 0]);
  t.is(view.getUint8(6), 0);
});
