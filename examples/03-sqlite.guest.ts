// The guest of 03-sqlite.ts: transactions on a raw virtual disk, durable even if the power is cut. Read next: 04-fat.ts
import { DiskFiles, installSqliteVfs } from '@splitring/frontend/sqlite';
import sqlite3InitModule from '@sqlite.org/sqlite-wasm';
import { defineGuest } from 'splitring/guest';

export default defineGuest(async (guest) => {
  const sqlite3 = await sqlite3InitModule();
  installSqliteVfs(sqlite3, DiskFiles.open(guest.disk('xvda')));
  const db = new sqlite3.oo1.DB({ filename: 'app.db', vfs: 'splitring' });
  // EXTRA also makes the removal of the journal durable: without it a power cut can undo the last commit.
  db.exec('pragma synchronous=EXTRA; create table if not exists visits(id integer primary key, at real)');
  for (let i = 0; i < 20; i += 1) {
    db.exec(`begin; insert into visits(at) values (${i}); commit`);
  }
  const visits = db.selectValue('select count(*) from visits');
  const check = db.selectValue('pragma integrity_check');
  db.close();
  return `${visits} visits, integrity ${check}`;
});
