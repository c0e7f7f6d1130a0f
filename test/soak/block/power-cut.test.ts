// 500 power cuts under each load; npm run soak. SOAK_FIRST and SOAK_SEEDS choose other seeds, or fewer.
import sqlite3InitModule from '@sqlite.org/sqlite-wasm';
import test, { type ExecutionContext } from 'ava';
import { type PowerCutOutcome, sqliteLoad, verifyingLoad } from '../../support/power-cut.ts';
import { filesLoad } from '../../support/power-cut-files.ts';

const FIRST = Number(process.env['SOAK_FIRST'] ?? 1000);
const SEEDS = Number(process.env['SOAK_SEEDS'] ?? 500);

/** Run every seed, and tell how much went through the path: a harness that wrote nothing would lose nothing. */
function soak(t: ExecutionContext, load: (seed: number) => PowerCutOutcome): void {
  t.timeout(1_200_000);
  let flushes = 0;
  let acknowledged = 0;
  for (let seed = FIRST; seed < FIRST + SEEDS; seed += 1) {
    const outcome = load(seed);
    t.deepEqual(outcome.losses, [], `seed ${seed}`);
    flushes += outcome.flushes;
    acknowledged += outcome.acknowledged;
  }
  t.log(`seeds ${FIRST} to ${FIRST + SEEDS - 1}: ${acknowledged} acknowledged, ${flushes} flushes at the back end`);
  t.true(flushes > SEEDS && acknowledged > SEEDS);
}

test('a verifying load loses nothing that was flushed, over 500 power cuts', (t) => {
  soak(t, (seed) => verifyingLoad(seed));
});

test('SQLite loses no committed transaction, over 500 power cuts', async (t) => {
  const sqlite = await sqlite3InitModule();
  soak(t, (seed) => sqliteLoad(sqlite as never, seed));
});

test('named files keep what was synced and show no bytes of others, over 500 power cuts', (t) => {
  soak(t, (seed) => filesLoad(seed));
});
