// Real software on a virtual disk: SQLite with transactions, a FAT file system.

import type { Disk } from '@splitring/frontend';
import { createFatDiskIo } from '@splitring/frontend/fat';
import { DiskFiles, installSqliteVfs } from '@splitring/frontend/sqlite';
import sqlite3InitModule from '@sqlite.org/sqlite-wasm';
import test from 'ava';
import * as FatFs from 'js-fatfs';
import { BlockLab, isSame, pattern } from '../../support/block-lab.ts';

test('DiskFiles keeps names, sizes and bytes over a reopening', (t) => {
  const { disk } = new BlockLab().guest();
  const files = DiskFiles.open(disk);
  const file = files.open('a', true);
  if (file === undefined) throw new Error('no room');
  const bytes = pattern(10_000, 1);
  files.write(file, 700, bytes);
  files.sync(file);
  files.open('unsynced', true);
  const again = DiskFiles.open(disk);
  const same = again.open('a', false);
  t.is(same?.sizeBytes, 10_700);
  t.is(again.open('unsynced', false), undefined);
  const into = new Uint8Array(10_800).fill(9);
  t.is(same && again.read(same, 0, into), 10_700);
  t.true(
    into.subarray(0, 700).every((byte) => byte === 0),
    'the gap is zero',
  );
  t.true(isSame(into.subarray(700, 10_700), bytes));
  t.true(into.subarray(10_700).every((byte) => byte === 0));
});

test('DiskFiles refuses a disk that holds something else', (t) => {
  const lab = new BlockLab();
  const { disk } = lab.guest();
  lab.ram.bytes.set(pattern(512, 5));
  t.throws(() => DiskFiles.open(disk), { code: 'DISK_FILES_FOREIGN' });
});

test('SQLite does transactions on a virtual disk and finds them after reopening', async (t) => {
  const lab = new BlockLab({ sectors: 32_768 });
  const { disk } = lab.guest({ bufferBytes: 1 << 20 });
  const sqlite3 = await sqlite3InitModule();
  installSqliteVfs(sqlite3, DiskFiles.open(disk), 'first');
  const db = new sqlite3.oo1.DB({ filename: 'app.db', vfs: 'first' });
  db.exec('pragma synchronous=EXTRA; create table t(k integer primary key, v text);');
  for (let i = 0; i < 20; i += 1) {
    db.exec(`begin; insert into t values(${2 * i}, 'a${i}'), (${2 * i + 1}, '${'x'.repeat(500)}'); commit;`);
  }
  db.exec('begin; delete from t; rollback;');
  t.is(db.selectValue('select count(*) from t'), 40);
  t.is(db.selectValue('pragma integrity_check'), 'ok');
  db.close();
  installSqliteVfs(sqlite3, DiskFiles.open(disk), 'second');
  const again = new sqlite3.oo1.DB({ filename: 'app.db', vfs: 'second' });
  t.is(again.selectValue('select sum(length(v)) from t where k % 2 = 1'), 20 * 500);
  again.close();
  t.true(lab.ram.flushes > 20);
});

test('FAT files written through the disk are found after mounting anew', async (t) => {
  const lab = new BlockLab({ sectors: 32_768 });
  const { disk } = lab.guest({ bufferBytes: 1 << 20 });
  const fatfs = await FatFs.create({ diskio: createFatDiskIo(disk) });
  const work = fatfs.malloc(FatFs.FF_MAX_SS);
  t.is(fatfs.f_mkfs('', { fmt: 0x0f, n_fat: 0, align: 0, n_root: 0, au_size: 0 }, work, FatFs.FF_MAX_SS), 0);
  const volume = fatfs.malloc(FatFs.sizeof_FATFS);
  t.is(fatfs.f_mount(volume, '', 1), 0);
  const file = fatfs.malloc(FatFs.sizeof_FIL);
  const bytes = pattern(100_000, 3);
  const buffer = fatfs.malloc(bytes.length);
  fatfs.HEAPU8.set(bytes, buffer);
  t.is(fatfs.f_open(file, 'hello world.bin', FatFs.FA_WRITE | FatFs.FA_CREATE_NEW), 0);
  t.is(fatfs.f_write(file, buffer, bytes.length, work), 0);
  t.is(fatfs.f_close(file), 0);
  t.is(fatfs.f_unmount(''), 0);
  t.is(fatfs.f_mount(volume, '', 1), 0);
  fatfs.HEAPU8.fill(0, buffer, buffer + bytes.length);
  t.is(fatfs.f_open(file, 'hello world.bin', FatFs.FA_READ), 0);
  t.is(fatfs.f_read(file, buffer, bytes.length, work), 0);
  t.true(isSame(fatfs.HEAPU8.subarray(buffer, buffer + bytes.length), bytes));
  t.true(lab.ram.flushes > 0);
});

test('createFatDiskIo counts sectors without a sign, and aligns to the medium where that makes sense', (t) => {
  const asked: number[] = [];
  const told: number[] = [];
  const blocks = { blockBytes: 512, physicalBlockBytes: 4096, capacityBytes: 2 ** 42, hasDiscard: true };
  const calls = {
    readSync: (offset: number) => asked.push(offset),
    writeSync: (offset: number) => asked.push(offset),
    discardSync: (offset: number, bytes: number) => asked.push(offset, bytes),
  };
  const io = (more: object) => createFatDiskIo({ ...blocks, ...calls, ...more } as unknown as Disk); // all it uses
  const memory = {
    HEAPU8: new Uint8Array(512),
    setValue: (_: number, value: number) => told.push(value),
    getValue: (at: number) => (at === 0 ? -2 : -1),
  };
  io({}).read(memory, 0, 0, -2, 1);
  io({}).write(memory, 0, 0, -1, 1);
  io({}).ioctl(memory, 0, 4, 0);
  t.deepEqual(asked, [(2 ** 32 - 2) * 512, (2 ** 32 - 1) * 512, (2 ** 32 - 2) * 512, 1024]);
  io({}).ioctl(memory, 0, 1, 0);
  for (const physicalBlockBytes of [4096, 1536, 2 ** 30]) io({ physicalBlockBytes }).ioctl(memory, 0, 3, 0);
  t.deepEqual(told, [2 ** 32 - 1, 8, 1, 1]);
});
