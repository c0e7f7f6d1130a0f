// The Xen ring with no thread: staging, publishing, consuming, refusing, at every interesting start index.
import test from 'ava';
import { BackRing, FrontRing, i16, initRing, RingError, struct, u8, u64 } from 'sharedarraybuffer-ring';

const SLOT_BYTES = 112;
const response = struct({ id: u64, operation: u8, status: i16 });

function pair(at = 0) {
  const region = new Uint8Array(new SharedArrayBuffer(4096));
  initRing(region);
  const indexes = new Int32Array(region.buffer, 0, 4);
  indexes.set([at | 0, (at + 1) | 0, at | 0, (at + 1) | 0]);
  return { indexes, front: new FrontRing(region, SLOT_BYTES, { at }), back: new BackRing(region, SLOT_BYTES, { at }) };
}

for (const at of [0, 2 ** 31 - 4, 2 ** 32 - 4]) {
  test(`FrontRing and BackRing carry requests and responses from index ${at}`, (t) => {
    const { front, back } = pair(at);
    t.is(front.slots, 32);
    for (let round = 0; round < 5; round += 1) {
      let staged = 0;
      for (let slot = front.stageRequest(); slot >= 0; slot = front.stageRequest()) {
        front.view.setUint32(slot, round * 100 + staged, true);
        front.view.setUint32(slot + 108, staged, true);
        staged += 1;
      }
      t.is(staged, 32);
      t.true(front.isFull);
      t.is(front.pushRequests(), true);
      t.is(front.pushRequests(), false, 'nothing staged never notifies');
      t.is(back.availableRequests(), 32);
      for (let i = 0; i < 32; i += 1) {
        t.true(back.takeRequest());
        t.is(back.request.getUint32(0, true), round * 100 + i);
        t.is(back.request.getUint32(108, true), i);
        const slot = back.stageResponse();
        response.write(back.view, slot, { id: i, operation: 1, status: i });
      }
      t.false(back.takeRequest());
      t.is(back.stageResponse(), -1);
      t.true(back.pushResponses());
      t.false(back.finalCheck());
      t.is(front.availableResponses(), 32);
      for (let i = 0; i < 32; i += 1) {
        t.true(front.takeResponse());
        t.is(response.get.status(front.response, 0), i);
      }
      t.false(front.takeResponse());
      t.false(front.finalCheck());
      t.is(front.freeSlots, 32);
    }
    t.is(front.broken, undefined);
    t.is(back.broken, undefined);
  });
}

test('FrontRing.takeResponseInPlace and BackRing.takeRequestInPlace answer where each slot lies, once', (t) => {
  const { front, back } = pair(2 ** 32 - 4);
  const staged = Array.from({ length: 6 }, () => front.stageRequest());
  front.pushRequests();
  t.is(back.takeRequestInPlace(), -1, 'not before a look');
  t.is(back.availableRequests(), 6);
  for (const at of staged) t.is(back.takeRequestInPlace(), at);
  t.is(back.takeRequestInPlace(), -1);
  for (const at of staged) t.is(back.stageResponse(), at);
  back.pushResponses();
  t.is(front.takeResponseInPlace(), -1, 'not before a look');
  t.is(front.availableResponses(), 6);
  for (const at of staged) t.is(front.takeResponseInPlace(), at);
  t.is(front.takeResponseInPlace(), -1);
  t.is(front.freeSlots, 32);
});

test('FrontRing and BackRing copy out every byte of a slot and nothing beyond, whatever its size', (t) => {
  for (let slotBytes = 1; slotBytes <= 280; slotBytes += 1) {
    const slots = 4;
    const region = new Uint8Array(new SharedArrayBuffer(64 + slots * slotBytes)); // ends with the last slot
    initRing(region);
    const front = new FrontRing(region, slotBytes);
    const back = new BackRing(region, slotBytes);
    const message = (i: number) => Array.from({ length: slotBytes }, (_, at) => (i * 97 + at * 31 + 1) & 0xff);
    for (let i = 0; i < slots; i += 1) region.set(message(i), front.stageRequest());
    front.pushRequests();
    t.is(back.availableRequests(), slots);
    for (let i = 0; i < slots; i += 1) {
      t.true(back.takeRequest());
      t.is(back.request.byteLength, slotBytes);
      const { buffer, byteOffset } = back.request;
      t.deepEqual([...new Uint8Array(buffer, byteOffset, slotBytes)], message(i), `slot ${i} of ${slotBytes} bytes`);
    }
  }
});

test('FrontRing refuses a response index 33 ahead of 32 slots', (t) => {
  const { indexes, front } = pair();
  Atomics.store(indexes, 2, 33);
  t.is(front.availableResponses(), -1);
  t.is(front.broken?.code, 'RING_RESPONSE_OVERFLOW');
  t.false(front.takeResponse());
  t.is(front.availableResponses(), -1);
  t.true(front.finalCheck(), 'a broken ring never lets its user sleep');
});

test('FrontRing refuses a response to a request that was never published', (t) => {
  const { indexes, front } = pair();
  front.stageRequest();
  Atomics.store(indexes, 2, 1);
  t.is(front.availableResponses(), -1);
  t.is(front.broken?.code, 'RING_RESPONSE_UNASKED');
});

test('BackRing refuses a request index 33 ahead of its answers', (t) => {
  const { indexes, back } = pair();
  Atomics.store(indexes, 0, 33);
  t.is(back.availableRequests(), -1);
  t.is(back.broken?.code, 'RING_REQUEST_OVERFLOW');
  t.like(back.broken?.data, { value: 33, limit: 32 });
});

test('FrontRing refuses unusable regions, slots and indices with a code', (t) => {
  const shared = new Uint8Array(new SharedArrayBuffer(8192));
  const cases: [string, () => unknown][] = [
    ['RING_NOT_SHARED', () => new FrontRing(new Uint8Array(4096), 112)],
    ['RING_MISALIGNED', () => new FrontRing(shared.subarray(2), 112)],
    ['RING_TOO_SMALL', () => new FrontRing(shared.subarray(0, 128), 112)],
    ['RING_SLOT_BYTES', () => new FrontRing(shared, 0)],
    ['RING_INDEX', () => new FrontRing(shared, 112, { at: -1 })],
  ];
  for (const [code, attach] of cases) t.is(t.throws(attach, { instanceOf: RingError })?.code, code);
});

test('BackRing.takeRequest copies requestBytes, takeRest what a longer request has, each byte once', (t) => {
  const region = new Uint8Array(new SharedArrayBuffer(4096));
  initRing(region);
  const front = new FrontRing(region, SLOT_BYTES);
  const back = new BackRing(region, SLOT_BYTES, { requestBytes: 32 });
  const slot = front.stageRequest();
  for (let word = 0; word < 28; word += 1) front.words[(slot >> 2) + word] = 1000 + word;
  front.pushRequests();
  t.is(back.availableRequests(), 1);
  t.true(back.takeRequest());
  t.deepEqual([...back.requestWords.subarray(6, 10)], [1006, 1007, 0, 0]);
  front.words[(slot >> 2) + 7] = -1; // a front end that changes its mind
  back.takeRest(48);
  t.deepEqual([...back.requestWords.subarray(6, 14)], [1006, 1007, 1008, 1009, 1010, 1011, 0, 0]);
  t.is(back.request.getUint32(44, true), 1011);
});

for (const requestBytes of [0, 4, 12, 120, 8.5]) {
  test(`BackRing refuses requests of ${requestBytes} bytes`, (t) => {
    const region = new Uint8Array(new SharedArrayBuffer(4096));
    initRing(region);
    t.throws(() => new BackRing(region, SLOT_BYTES, { requestBytes }), {
      instanceOf: RingError,
      code: 'RING_SLOT_BYTES',
    });
  });
}
