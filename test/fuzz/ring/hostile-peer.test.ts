// A hostile peer writes any shared word before any single access of its victim: nothing is thrown, work is bounded, no
// byte outside what the victim may write is touched, counts stay in range, a broken ring stays broken.
import test from 'ava';
import fc from 'fast-check';
import {
  BackRing,
  ByteRingConsumer,
  ByteRingProducer,
  FixedConsumer,
  FixedProducer,
  FrontRing,
  SlotBuffer,
} from 'sharedarraybuffer-ring';
import type { SharedAccess } from '../../checker/access.ts';
import { observe } from '../../checker/monitor.ts';

/** Deterministic numbers from a seed (mulberry32): fast-check draws the seed, so that failures shrink and replay. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let z = Math.imul(state ^ (state >>> 15), 1 | state);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return (z ^ (z >>> 14)) >>> 0;
  };
}

/** The victim's world: its memory between canaries, words it may write, and how often the peer strikes. */
interface Arena {
  readonly buffer: SharedArrayBuffer;
  readonly region: Uint8Array;
  readonly words: Int32Array;
  readonly next: () => number;
  readonly isMine: (access: SharedAccess) => boolean;
  readonly at: number;
  /** Messages moved since the victim last looked at the peer's index. */
  sinceLook: number;
}

const CANARY_BYTES = 64;

/** Values a clever peer tries: near the victim's indices mostly, anything sometimes. Most strikes leave it alone. */
function strike({ words, next, at }: Arena): void {
  const dice = next() % 16;
  if (dice > 3) return;
  const word = dice === 0 ? next() % words.length : next() % Math.min(4, words.length);
  const value = dice === 1 ? next() : at + (next() % 9) - 2;
  words[word] = value | 0;
}

/** Run `victim` under fire; throw what it breaks. Returns the accesses it made. */
function underFire(arena: Arena, victim: () => void): number {
  let accesses = 0;
  observe(
    {
      access(access) {
        accesses += 1;
        strike(arena);
        if (access.kind === 'load' && access.isAtomic) arena.sinceLook = 0;
        if (access.kind !== 'load' && !arena.isMine(access)) throw new Error(`wrote byte ${access.at}`);
        return access.perform();
      },
      wait: () => 'timed-out',
      notify: () => 0,
    },
    [arena.buffer],
    victim,
  );
  const bytes = new Uint8Array(arena.buffer);
  const inside = arena.region.byteLength;
  for (let i = 0; i < CANARY_BYTES; i += 1) {
    if (bytes[i] !== 0xee || bytes[CANARY_BYTES + inside + i] !== 0xee) throw new Error(`canary ${i} is dead`);
  }
  return accesses;
}

function arenaOf(
  seed: number,
  at: number,
  regionBytes: number,
  myBytes: readonly (readonly [number, number])[],
): Arena {
  const buffer = new SharedArrayBuffer(regionBytes + 2 * CANARY_BYTES);
  new Uint8Array(buffer).fill(0xee);
  const region = new Uint8Array(buffer, CANARY_BYTES, regionBytes).fill(0);
  const words = new Int32Array(buffer, CANARY_BYTES, regionBytes >> 2);
  const isMine = (access: SharedAccess) => {
    const from = access.at - CANARY_BYTES;
    return myBytes.some(([first, end]) => from >= first && from + access.bytes <= end);
  };
  return { buffer, region, words, next: numbers(seed), isMine, at, sinceLook: 0 };
}

function must(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

const seeds = fc.integer();
const starts = fc.constantFrom(0, 2 ** 31 - 2, 2 ** 31, 2 ** 32 - 2, 2 ** 32 - 1);
const SLOTS = 4;
const SLOT_BYTES = 12;
const RING_BYTES = 64 + SLOTS * SLOT_BYTES;
const ROUNDS = 40;
const runs = { numRuns: 400, includeErrorInReport: true };

test('FrontRing under fire never throws, writes only its words and slots, answers only what it asked', (t) => {
  const attack = fc.property(seeds, starts, (seed, at) => {
    const arena = arenaOf(seed, at, RING_BYTES, [
      [0, 4],
      [12, 16],
      [64, RING_BYTES],
    ]);
    arena.words.set([at, at + 1, at, at + 1]);
    let outstanding = 0;
    const accesses = underFire(arena, () => {
      const ring = new FrontRing(arena.region, SLOT_BYTES, { at });
      for (let i = 0; i < ROUNDS; i += 1) {
        while (ring.stageRequest() >= 0) outstanding += 1;
        must(outstanding === SLOTS || ring.broken !== undefined, 'own requests were lost or invented');
        ring.pushRequests();
        const count = ring.availableResponses();
        must(count <= outstanding && (count >= 0 || ring.broken !== undefined), `${count} of ${outstanding} answered`);
        let taken = 0;
        while (ring.takeResponse()) taken += 1;
        must(taken === Math.max(count, 0), `took ${taken} of ${count}`);
        outstanding -= taken;
        const { broken } = ring;
        if (broken !== undefined)
          must(ring.finalCheck() && ring.availableResponses() === -1 && ring.broken === broken, 'healed');
        else ring.finalCheck();
      }
    });
    must(accesses < ROUNDS * (SLOTS * SLOT_BYTES + 12), `${accesses} accesses`);
  });
  fc.assert(attack, runs);
  t.pass();
});

test('BackRing under fire never throws, writes only its words and slots, takes a ring of requests at most', (t) => {
  const attack = fc.property(seeds, starts, (seed, at) => {
    const arena = arenaOf(seed, at, RING_BYTES, [
      [4, 12],
      [64, RING_BYTES],
    ]);
    arena.words.set([at, at + 1, at, at + 1]);
    const accesses = underFire(arena, () => {
      const ring = new BackRing(arena.region, SLOT_BYTES, { at });
      for (let i = 0; i < ROUNDS; i += 1) {
        const count = ring.availableRequests();
        must(count >= 0 ? count <= SLOTS : ring.broken !== undefined, `${count} requests`);
        let taken = 0;
        while (ring.takeRequest()) taken += 1;
        must(taken === Math.max(count, 0) && ring.unanswered <= SLOTS, `took ${taken} of ${count}`);
        for (let n = arena.next() % (SLOTS + 1); n > 0; n -= 1) {
          const slot = ring.stageResponse();
          if (slot >= 0) ring.view.setUint32(slot, n, true);
        }
        ring.pushResponses();
        ring.armAt(1 + (i % 3));
        ring.inspect();
      }
    });
    must(accesses < ROUNDS * (SLOTS * SLOT_BYTES + 16), `${accesses} accesses`);
  });
  fc.assert(attack, runs);
  t.pass();
});

test('ByteRingProducer and ByteRingConsumer under fire never throw, and move a ring of bytes at most', (t) => {
  const attack = fc.property(seeds, starts, fc.boolean(), (seed, at, isProducer) => {
    const arena = arenaOf(
      seed,
      at,
      24,
      isProducer
        ? [
            [4, 8],
            [8, 24],
          ]
        : [[0, 4]],
    );
    arena.words.set([at, at]);
    const layout = { buf: 8, sizeBytes: 16, cons: 0, prod: 4 };
    const bytes = new Uint8Array(40);
    underFire(arena, () => {
      const ring = isProducer ? new ByteRingProducer(arena.region, layout) : new ByteRingConsumer(arena.region, layout);
      for (let i = 0; i < ROUNDS; i += 1) {
        const some = bytes.subarray(0, arena.next() % 40);
        const moved = ring instanceof ByteRingProducer ? ring.write(some) : ring.read(some);
        must(moved <= Math.min(16, some.length) && (moved >= 0 || ring.broken !== undefined), `moved ${moved}`);
      }
    });
  });
  fc.assert(attack, runs);
  t.pass();
});

test('FixedProducer and FixedConsumer under fire never throw, and stay inside the ring', (t) => {
  const regionBytes = 256 + SLOTS * 16;
  const attack = fc.property(seeds, starts, fc.boolean(), (seed, at, isProducer) => {
    const arena = arenaOf(
      seed,
      at,
      regionBytes,
      isProducer
        ? [
            [0, 4],
            [256, regionBytes],
          ]
        : [[128, 132]],
    );
    arena.words[0] = at;
    arena.words[32] = at;
    // The consumer's index lies in word 32: let the peer's near misses hit it, too.
    const words = new Int32Array(arena.buffer, CANARY_BYTES + (isProducer ? 128 : 0), 1);
    const box = new SlotBuffer(1, 12);
    const field: Arena = { ...arena, words: arena.next() % 2 === 0 ? arena.words : words };
    underFire(field, () => {
      const handle = {
        kind: 'fixed-ring',
        version: 1,
        memory: { buffer: arena.buffer },
        at: CANARY_BYTES,
        slots: SLOTS,
        slotBytes: 12,
      } as const;
      const producer = isProducer ? new FixedProducer(handle, { defer: () => {} }) : undefined;
      const consumer = isProducer ? undefined : new FixedConsumer(handle);
      for (let i = 0; i < ROUNDS; i += 1) {
        let moved = 0;
        while (moved <= 5 * SLOTS && (producer?.trySend(box, 0) ?? consumer?.tryReceive(box, 0))) {
          moved += 1;
          field.sinceLook += 1;
          must(field.sinceLook <= SLOTS, `moved ${field.sinceLook} messages at one look`);
        }
        producer?.flush();
        const { broken } = producer ?? consumer ?? { broken: undefined };
        if (broken !== undefined) must(producer?.claim() !== 0 && consumer?.peek() !== 0, 'healed');
      }
    });
  });
  fc.assert(attack, runs);
  t.pass();
});
