// Numbers that a C program printed from the public Xen headers (interface version 0x41300), against ours.
import test from 'ava';
import {
  array,
  bytes,
  CONSOLE_PAGE,
  FrontRing,
  flexRingLayout,
  i16,
  i32,
  initRing,
  PAGE_BYTES,
  RING_HEADER_BYTES,
  ringSlots,
  struct,
  u8,
  u16,
  u32,
  u64,
  XENSTORE_PAGE,
} from 'sharedarraybuffer-ring';

// Slots in 1, 2, 4, 8 and 16 pages; __RING_SIZE of io/ring.h applied to each ring's slot.
const SLOTS: readonly [ring: string, slotBytes: number, slots: readonly number[]][] = [
  ['blkif, 64-bit ABI', 112, [32, 64, 128, 256, 512]],
  ['blkif, 32-bit ABI', 108, [32, 64, 128, 256, 512]],
  ['netif tx', 12, [256, 512, 1024, 2048, 4096]],
  ['netif rx', 8, [256, 512, 1024, 2048, 4096]],
  ['netif ctrl', 16, [128, 256, 512, 1024, 2048]],
  ['pvcalls', 64, [32, 64, 128, 256, 512]],
  ['usbif urb', 148, [16, 32, 64, 128, 256]],
  ['usbif conn', 4, [512, 1024, 2048, 4096, 8192]],
  ['vscsiif', 252, [16, 32, 64, 128, 256]],
];

for (const [ring, slotBytes, expected] of SLOTS) {
  test(`ringSlots of ${ring} equals the header's for 1 to 16 pages`, (t) => {
    t.deepEqual(
      [1, 2, 4, 8, 16].map((pages) => ringSlots(pages * PAGE_BYTES, slotBytes)),
      expected,
    );
  });
}

test('ringSlots rounds the quotient down first, then to a power of two, and refuses what is too small', (t) => {
  t.is(ringSlots(64 + 3 * 10, 10), 2);
  t.is(ringSlots(64 + 4 * 10 - 1, 10), 2);
  t.is(ringSlots(64 + 9, 10), 0);
  t.is(ringSlots(64, 1), 0);
  t.is(ringSlots(0, 112), 0);
});

test('initRing writes the bytes of SHARED_RING_INIT, and a fresh push those of RING_PUSH_REQUESTS', (t) => {
  const region = new Uint8Array(new SharedArrayBuffer(PAGE_BYTES)).fill(0xaa);
  initRing(region);
  const golden = new Uint8Array(PAGE_BYTES);
  golden[4] = 1; // req_event
  golden[12] = 1; // rsp_event
  t.deepEqual(Uint8Array.from(region), golden);
  const ring = new FrontRing(region, 12);
  t.is(ring.stageRequest(), RING_HEADER_BYTES);
  t.is(ring.stageRequest(), RING_HEADER_BYTES + 12);
  ring.view.setUint32(RING_HEADER_BYTES + 12, 0x01020304, true);
  t.true(ring.pushRequests());
  golden[0] = 2; // req_prod, little-endian
  golden.set([4, 3, 2, 1], 76);
  t.deepEqual(Uint8Array.from(region), golden);
});

test('CONSOLE_PAGE, XENSTORE_PAGE and flexRingLayout lie where the headers put them', (t) => {
  t.deepEqual(CONSOLE_PAGE, {
    in: { buf: 0, sizeBytes: 1024, cons: 3072, prod: 3076 },
    out: { buf: 1024, sizeBytes: 2048, cons: 3080, prod: 3084 },
  });
  t.deepEqual(XENSTORE_PAGE, {
    req: { buf: 0, sizeBytes: 1024, cons: 2048, prod: 2052 },
    rsp: { buf: 1024, sizeBytes: 1024, cons: 2056, prod: 2060 },
  });
  for (const [order, sizeBytes] of [
    [0, 2048],
    [1, 4096],
    [9, 1 << 20],
  ] as const) {
    t.deepEqual(flexRingLayout(order), {
      in: { buf: 0, sizeBytes, cons: 0, prod: 4 },
      out: { buf: sizeBytes, sizeBytes, cons: 64, prod: 68 },
    });
  }
});

test('struct lays out blkif, netif and pvcalls as a C compiler does on x86-64', (t) => {
  const segment = struct({ gref: u32, firstSect: u8, lastSect: u8 });
  const request = struct({
    operation: u8,
    nrSegments: u8,
    handle: u16,
    id: u64,
    sectorNumber: u64,
    seg: array(segment, 11),
  });
  const tx = struct({ gref: u32, offset: u16, flags: u16, id: u16, size: u16 });
  const rx = struct({ id: u16, offset: u16, flags: u16, status: i16 });
  const connect = struct({ id: u64, addr: bytes(28), len: u32, flags: u32, ref: u32, evtchn: u32 });
  const call = struct({ reqId: u32, cmd: u32, connect });
  const answer = struct({ reqId: u32, cmd: u32, ret: i32, pad: u32, id: u64 });
  const sizes = [segment, request, tx, rx, call, answer].map(({ sizeof }) => sizeof);
  t.deepEqual(sizes, [8, 112, 12, 8, 64, 24]);
  t.is(request.offsets.seg, 24);
  t.deepEqual(connect.offsets, { id: 0, addr: 8, len: 36, flags: 40, ref: 44, evtchn: 48 });
  t.is(call.offsets.connect, 8);
});
