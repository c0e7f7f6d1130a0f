// The guest of 04-fat.ts: makes a FAT file system on its disk and writes a file. Read next: 05-verify.ts
import { createFatDiskIo } from '@splitring/frontend/fat';
import * as FatFs from 'js-fatfs';
import { defineGuest } from 'splitring/guest';

export default defineGuest(async (guest) => {
  const fatfs = await FatFs.create({ diskio: createFatDiskIo(guest.disk('xvda')) });
  const must = (result: number, what: string) => {
    if (result !== FatFs.FR_OK) throw new Error(`${what}: FatFs says ${result}`);
  };
  const scratch = fatfs.malloc(FatFs.FF_MAX_SS);
  const volume = fatfs.malloc(FatFs.sizeof_FATFS);
  const file = fatfs.malloc(FatFs.sizeof_FIL);
  // 0x0f: any kind of FAT, as a bare volume without partitions.
  const format = { fmt: 0x0f, n_fat: 0, align: 0, n_root: 0, au_size: 0 };
  must(fatfs.f_mkfs('', format, scratch, FatFs.FF_MAX_SS), 'make the file system');
  must(fatfs.f_mount(volume, '', 1), 'mount it');
  const text = new TextEncoder().encode('hello from a guest\n'.repeat(1000));
  const bytes = fatfs.malloc(text.length);
  fatfs.HEAPU8.set(text, bytes);
  must(fatfs.f_open(file, 'hello.txt', FatFs.FA_WRITE | FatFs.FA_CREATE_NEW), 'create a file');
  must(fatfs.f_write(file, bytes, text.length, scratch), 'write it');
  must(fatfs.f_close(file), 'close it'); // which also flushes the disk
  must(fatfs.f_unmount(''), 'unmount');
  return `hello.txt has ${text.length} bytes`;
});
