// Small worlds in which the fixed ring and the byte ring are explored: two slots, four bytes, a seam, a death.
import type { EndProgram, Outcome, Probe, Scenario } from './explore.ts';
import type { RingLibrary } from './plants.ts';

const SLOTS = 2;
const SLOT_BYTES = 16;
const HEADER_BYTES = 256;
const COUNT = 3;
const MESSAGES = '1/11 2/12 3/13';

/** The shared memory of one stream. */
export interface StreamWorld {
  readonly buffer: SharedArrayBuffer;
}

function sayings({ ends }: Outcome<StreamWorld>, name: string): string {
  return ends[name]?.reports.join(' ') ?? '';
}

function unfinished({ ends }: Outcome<StreamWorld>): string | undefined {
  const stuck = Object.entries(ends).find(([, { status }]) => status === 'asleep');
  return stuck === undefined ? undefined : `${stuck[0]} waits for ever`;
}

function fixedSetup(at: number) {
  const buffer = new SharedArrayBuffer(HEADER_BYTES + SLOTS * SLOT_BYTES);
  const words = new Int32Array(buffer);
  words[0] = at;
  words[32] = at;
  return () => ({ buffers: [buffer], world: { buffer } });
}

function handleOf({ buffer }: StreamWorld) {
  return { kind: 'fixed-ring', version: 1, memory: { buffer }, at: 0, slots: SLOTS, slotBytes: SLOT_BYTES } as const;
}

function send(lib: RingLibrary, world: StreamWorld, probe: Probe, first: number, batch = 1): void {
  const producer = new lib.FixedProducer(handleOf(world), { batch, defer: () => {} });
  const box = new lib.SlotBuffer(1, SLOT_BYTES);
  for (let i = first; i <= COUNT; i += 1) {
    box.view.setUint32(0, i, true);
    box.view.setUint32(8, 10 + i, true);
    while (!producer.trySend(box, 0)) {
      if (producer.broken !== undefined) {
        probe.report(producer.broken.code);
        return;
      }
      probe.pause();
    }
    probe.report(i);
  }
  producer.flush();
}

function receive(lib: RingLibrary, world: StreamWorld, probe: Probe, batch = 1): void {
  const consumer = new lib.FixedConsumer(handleOf(world), { batch });
  const box = new lib.SlotBuffer(1, SLOT_BYTES);
  for (;;) {
    while (!consumer.tryReceive(box, 0)) {
      if (consumer.broken !== undefined) {
        probe.report(consumer.broken.code);
        return;
      }
      probe.pause();
    }
    const id = box.view.getUint32(0, true);
    probe.report(`${id}/${box.view.getUint32(8, true)}`);
    if (id === COUNT) return;
  }
}

/** One producer, one consumer, both poll: every message once, whole, in order; both come to their end. */
export function fixedStream(lib: RingLibrary, at: number, batch = 1): Scenario<StreamWorld> {
  return {
    setup: fixedSetup(at),
    ends: [
      { name: 'producer', run: (world, probe) => send(lib, world, probe, 1, batch) },
      { name: 'consumer', run: (world, probe) => receive(lib, world, probe, batch) },
    ],
    check: (outcome) => {
      const got = sayings(outcome, 'consumer');
      return unfinished(outcome) ?? (got === MESSAGES ? undefined : `consumer saw ${got}`);
    },
  };
}

/** The same with batches as large as the ring: what is staged or consumed must be told before waiting. */
export function fixedBatched(lib: RingLibrary, at: number): Scenario<StreamWorld> {
  return fixedStream(lib, at, SLOTS);
}

/** Several messages in one call at either end: what fits goes, across the seam too, and the rest the next time. */
export function fixedMany(lib: RingLibrary, at: number): Scenario<StreamWorld> {
  return {
    ...fixedStream(lib, at),
    ends: [
      {
        name: 'producer',
        run: (world, probe) => {
          const producer = new lib.FixedProducer(handleOf(world), { batch: SLOTS, defer: () => {} });
          const box = new lib.SlotBuffer(COUNT, SLOT_BYTES);
          for (let i = 0; i < COUNT; i += 1) {
            box.view.setUint32(box.offset(i), i + 1, true);
            box.view.setUint32(box.offset(i) + 8, i + 11, true);
          }
          for (let sent = 0; sent < COUNT; ) {
            const count = producer.trySendMany(box, sent, COUNT - sent);
            if (count === 0) probe.pause();
            sent += count;
          }
          producer.flush();
        },
      },
      {
        name: 'consumer',
        run: (world, probe) => {
          const consumer = new lib.FixedConsumer(handleOf(world), { batch: SLOTS });
          const box = new lib.SlotBuffer(COUNT + SLOTS, SLOT_BYTES);
          let got = 0;
          while (got < COUNT) {
            const count = consumer.tryReceiveMany(box, got, SLOTS); // room for more than may have come
            if (count === 0) probe.pause();
            got += count;
          }
          for (let i = 0; i < got; i += 1) {
            const offset = box.offset(i);
            probe.report(`${box.view.getUint32(offset, true)}/${box.view.getUint32(offset + 8, true)}`);
          }
        },
      },
    ],
  };
}

/** The producer dies anywhere; a successor sends on from the message after the last published one: none lost or torn. */
export function fixedProducerKilled(lib: RingLibrary, at: number): Scenario<StreamWorld> {
  return {
    setup: fixedSetup(at),
    kills: 1,
    preemptions: 3,
    ends: [
      { name: 'producer', isMortal: true, run: (world, probe) => send(lib, world, probe, 1) },
      {
        name: 'heir',
        startsAfter: 'producer',
        run: (world, probe) => {
          const published = lib.distance(Atomics.load(new Int32Array(world.buffer, 0, 1), 0), at);
          send(lib, world, probe, 1 + published);
        },
      },
      { name: 'consumer', run: (world, probe) => receive(lib, world, probe) },
    ],
    check: (outcome) => {
      const got = sayings(outcome, 'consumer');
      return unfinished(outcome) ?? (got === MESSAGES ? undefined : `consumer saw ${got}`);
    },
  };
}

const RING_BYTES = 4;
const TEXT = [1, 2, 3, 4, 5, 6, 7];
const LAYOUT = { buf: 8, sizeBytes: RING_BYTES, cons: 0, prod: 4 };

function byteSetup(at: number) {
  const buffer = new SharedArrayBuffer(8 + RING_BYTES);
  new Int32Array(buffer, 0, 2).fill(at);
  return () => ({ buffers: [buffer], world: { buffer } });
}

/** Seven bytes through a ring of four, from an index that crosses the seam: each once, in order; both come to their end. */
export function byteStream(lib: RingLibrary, at: number): Scenario<StreamWorld> {
  const producer: EndProgram<StreamWorld> = {
    name: 'producer',
    run: ({ buffer }, probe) => {
      const ring = new lib.ByteRingProducer(new Uint8Array(buffer), LAYOUT);
      for (let sent = 0; sent < TEXT.length; ) {
        const accepted = ring.write(Uint8Array.from(TEXT.slice(sent)));
        if (accepted < 0) {
          probe.report(ring.broken?.code);
          return;
        }
        if (accepted === 0) probe.pause();
        sent += accepted;
      }
    },
  };
  const consumer: EndProgram<StreamWorld> = {
    name: 'consumer',
    run: ({ buffer }, probe) => {
      const ring = new lib.ByteRingConsumer(new Uint8Array(buffer), LAYOUT);
      const into = new Uint8Array(3);
      for (let got = 0; got < TEXT.length; ) {
        const count = ring.read(into);
        if (count < 0) {
          probe.report(ring.broken?.code);
          return;
        }
        if (count === 0) probe.pause();
        for (let i = 0; i < count; i += 1) probe.report(into[i]);
        got += count;
      }
    },
  };
  return {
    setup: byteSetup(at),
    ends: [producer, consumer],
    check: (outcome) => {
      const got = sayings(outcome, 'consumer');
      return unfinished(outcome) ?? (got === TEXT.join(' ') ? undefined : `consumer saw ${got}`);
    },
  };
}
