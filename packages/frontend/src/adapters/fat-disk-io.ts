// The disk below a FAT file system, for js-fatfs (ChaN's FatFs compiled to WebAssembly).
import type { Disk } from '../block/disk.ts';

// Results and commands of FatFs diskio.h.
const RES_OK = 0;
const RES_ERROR = 1;
const RES_WRPRT = 2;
const RES_PARERR = 4;
const STA_PROTECT = 4;
const CTRL_SYNC = 0;
const GET_SECTOR_COUNT = 1;
const GET_SECTOR_SIZE = 2;
const GET_BLOCK_SIZE = 3;
const CTRL_TRIM = 4;

/** FatFs counts sectors in 32 bits, which arrive here as if they had a sign. */
const MAX_SECTORS = 2 ** 32 - 1;
/** Largest block that FatFs aligns to, in sectors. diskio.h, GET_BLOCK_SIZE */
const MAX_ALIGN_SECTORS = 32_768;

/** What FatFs hands to every call: its memory. */
interface FatFsMemory {
  readonly HEAPU8: Uint8Array;
  setValue(at: number, value: number, type: 'i16' | 'i32'): void;
  getValue(at: number, type: 'i32'): number;
}

/** The functions that js-fatfs calls; the same shape as its `DiskIO`. */
export interface FatDiskIo {
  initialize(fatfs: FatFsMemory, drive: number): number;
  status(fatfs: FatFsMemory, drive: number): number;
  read(fatfs: FatFsMemory, drive: number, buffer: number, sector: number, count: number): number;
  write(fatfs: FatFsMemory, drive: number, buffer: number, sector: number, count: number): number;
  ioctl(fatfs: FatFsMemory, drive: number, command: number, buffer: number): number;
}

/**
 * Make drive 0 of a FatFs the given disk. `f_sync` and `f_close` flush it.
 *
 * @example
 * const fatfs = await FatFs.create({ diskio: createFatDiskIo(guest.disk('xvda')) });
 */
export function createFatDiskIo(disk: Disk): FatDiskIo {
  const { blockBytes } = disk;
  const protection = disk.isReadOnly ? STA_PROTECT : 0;
  const attempt = (act: () => void): number => {
    try {
      act();
      return RES_OK;
    } catch {
      return RES_ERROR; // FatFs turns it into FR_DISK_ERR
    }
  };
  const part = (fatfs: FatFsMemory, buffer: number, count: number) =>
    fatfs.HEAPU8.subarray(buffer, buffer + count * blockBytes);
  return {
    initialize: () => protection,
    status: () => protection,
    read: (fatfs, _drive, buffer, sector, count) =>
      attempt(() => disk.readSync((sector >>> 0) * blockBytes, part(fatfs, buffer, count))),
    write: (fatfs, _drive, buffer, sector, count) =>
      disk.isReadOnly
        ? RES_WRPRT
        : attempt(() => disk.writeSync((sector >>> 0) * blockBytes, part(fatfs, buffer, count))),
    ioctl: (fatfs, _drive, command, buffer) => control(disk, fatfs, command, buffer, attempt),
  };
}

function control(
  disk: Disk,
  fatfs: FatFsMemory,
  command: number,
  buffer: number,
  attempt: (act: () => void) => number,
): number {
  const { blockBytes } = disk;
  switch (command) {
    case CTRL_SYNC:
      return attempt(() => disk.flushSync());
    case GET_SECTOR_COUNT:
      fatfs.setValue(buffer, Math.min(MAX_SECTORS, disk.capacityBytes / blockBytes), 'i32');
      return RES_OK;
    case GET_SECTOR_SIZE:
      fatfs.setValue(buffer, blockBytes, 'i16');
      return RES_OK;
    case GET_BLOCK_SIZE:
      fatfs.setValue(buffer, alignSectors(disk), 'i32');
      return RES_OK;
    case CTRL_TRIM: {
      const first = fatfs.getValue(buffer, 'i32') >>> 0;
      const last = fatfs.getValue(buffer + 4, 'i32') >>> 0;
      return attempt(() => {
        if (disk.hasDiscard) disk.discardSync(first * blockBytes, (last - first + 1) * blockBytes);
      });
    }
    default:
      return RES_PARERR;
  }
}

/** What a new file system aligns its clusters to: blocks that the medium writes without reading them first. */
function alignSectors(disk: Disk): number {
  const sectors = disk.physicalBlockBytes / disk.blockBytes;
  const isAligned = Number.isInteger(Math.log2(sectors)) && sectors <= MAX_ALIGN_SECTORS;
  return isAligned ? sectors : 1; // the number is the back end's
}
