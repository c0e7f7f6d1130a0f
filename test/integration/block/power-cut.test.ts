// Power cut at a random moment: what was acknowledged and flushed is there, whatever was under way.
import sqlite3InitModule from '@sqlite.org/sqlite-wasm';
import test from 'ava';
import { sqliteLoad, verifyingLoad } from '../../support/power-cut.ts';
import { filesLoad } from '../../support/power-cut-files.ts';

const SEEDS = 25;
const seeds = Array.from({ length: SEEDS }, (_, seed) => seed);

test('a verifying load loses nothing that was flushed, over 25 power cuts', (t) => {
  t.timeout(55_000);
  let flushes = 0;
  for (const seed of seeds) {
    const outcome = verifyingLoad(seed);
    t.deepEqual(outcome.losses, [], `seed ${seed}`);
    flushes += outcome.flushes;
  }
  t.true(flushes > SEEDS, `${flushes} flushes reached the back end`);
});

test('SQLite loses no committed transaction, over 25 power cuts', async (t) => {
  t.timeout(55_000);
  const sqlite = await sqlite3InitModule();
  let flushes = 0;
  for (const seed of seeds) {
    const outcome = sqliteLoad(sqlite as never, seed);
    t.deepEqual(outcome.losses, [], `seed ${seed}`);
    flushes += outcome.flushes;
  }
  t.true(flushes > SEEDS, `${flushes} flushes reached the back end`);
});

test('named files keep what was synced and show no bytes of others, over 25 power cuts', (t) => {
  t.timeout(55_000);
  for (const seed of seeds) t.deepEqual(filesLoad(seed).losses, [], `seed ${seed}`);
});

test('the same loads report losses when flush is ignored', async (t) => {
  t.timeout(55_000);
  const sqlite = await sqlite3InitModule();
  t.true(seeds.slice(0, 8).some((seed) => verifyingLoad(seed, true).losses.length > 0));
  t.true(seeds.slice(0, 8).some((seed) => filesLoad(seed, true).losses.length > 0));
  t.true(seeds.slice(0, 8).some((seed) => sqliteLoad(sqlite as never, seed, true).losses.length > 0));
});
