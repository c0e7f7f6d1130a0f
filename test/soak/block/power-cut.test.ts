// 500 power cuts under each load; npm run soak.
import sqlite3InitModule from '@sqlite.org/sqlite-wasm';
import test from 'ava';
import { sqliteLoad, verifyingLoad } from '../../support/power-cut.ts';

const SEEDS = 500;

test('a verifying load loses nothing that was flushed, over 500 power cuts', (t) => {
  t.timeout(1_200_000);
  for (let seed = 1000; seed < 1000 + SEEDS; seed += 1) t.deepEqual(verifyingLoad(seed).losses, [], `seed ${seed}`);
});

test('SQLite loses no committed transaction, over 500 power cuts', async (t) => {
  t.timeout(1_200_000);
  const sqlite = await sqlite3InitModule();
  for (let seed = 1000; seed < 1000 + SEEDS; seed += 1) {
    t.deepEqual(sqliteLoad(sqlite as never, seed).losses, [], `seed ${seed}`);
  }
});
