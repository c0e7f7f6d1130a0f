// A SQLite VFS on a virtual disk, for @sqlite.org/sqlite-wasm: databases, journals and write-ahead logs as DiskFiles.
import { BlockError } from '../block/block-error.ts';
import type { DiskFile, DiskFiles } from './disk-files.ts';

/** A struct of sqlite-wasm, with the members that we set. */
interface SqliteStruct {
  readonly pointer: unknown;
  dispose(): void;
  [member: string]: unknown;
}

/** What we use of the object that sqlite-wasm's `init()` resolves to. */
export interface SqliteModule {
  readonly capi: {
    readonly sqlite3_vfs: new () => unknown;
    readonly sqlite3_io_methods: new () => unknown;
    readonly sqlite3_file: { new (pointer?: never): unknown; readonly structInfo?: unknown };
    sqlite3_vfs_find(name: null): unknown;
  };
  readonly wasm: {
    heap8u(): Uint8Array;
    poke32(at: never, value: number): unknown;
    poke64(at: never, value: bigint): unknown;
    cstrncpy(to: never, from: never, bytes: number): number;
    cstrToJs(at: never): string | null;
  };
  readonly vfs: { installVfs(definition: never): unknown };
}

// Result codes and flags of sqlite3.h.
const SQLITE_OK = 0;
const SQLITE_CANTOPEN = 14;
const SQLITE_FULL = 13;
const SQLITE_NOTFOUND = 12;
const SQLITE_IOERR = 10;
const SQLITE_IOERR_READ = SQLITE_IOERR | (1 << 8);
const SQLITE_IOERR_SHORT_READ = SQLITE_IOERR | (2 << 8);
const SQLITE_IOERR_WRITE = SQLITE_IOERR | (3 << 8);
const SQLITE_IOERR_FSYNC = SQLITE_IOERR | (4 << 8);
const SQLITE_IOERR_TRUNCATE = SQLITE_IOERR | (6 << 8);
const SQLITE_IOERR_DELETE = SQLITE_IOERR | (10 << 8);
const SQLITE_IOERR_CLOSE = SQLITE_IOERR | (16 << 8);
const SQLITE_OPEN_CREATE = 4;
const SQLITE_OPEN_DELETEONCLOSE = 8;
const SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN = 0x800;

interface OpenFile {
  readonly file: DiskFile;
  readonly isDeletedOnClose: boolean;
}

/** Pointers come as numbers; 64-bit integers as bigint. */
type Pointer = number;

/**
 * Make SQLite see the files of a disk under the VFS `name`. Databases are opened with `new sqlite3.oo1.DB({ filename,
 * vfs: name })` by one connection at a time; use `pragma synchronous=EXTRA` if the last commit must survive a power cut.
 *
 * @example
 * const sqlite3 = await sqlite3InitModule();
 * installSqliteVfs(sqlite3, DiskFiles.open(guest.disk('xvda')));
 * const db = new sqlite3.oo1.DB({ filename: 'app.db', vfs: 'splitring' });
 */
export function installSqliteVfs(module: unknown, files: DiskFiles, name = 'splitring'): void {
  const sqlite = module as SqliteModule; // sqlite-wasm's own types name every constant of SQLite; we need these few
  const { capi } = sqlite;
  const io = new capi.sqlite3_io_methods() as SqliteStruct;
  const vfs = new capi.sqlite3_vfs() as SqliteStruct;
  const base = new (capi.sqlite3_vfs as new (pointer: unknown) => unknown)(capi.sqlite3_vfs_find(null)) as SqliteStruct;
  const fileInfo = capi.sqlite3_file.structInfo as { readonly sizeof: number };
  io['$iVersion'] = 1; // no shared memory: a write-ahead log needs locking_mode=exclusive
  vfs['$iVersion'] = 2;
  vfs['$szOsFile'] = fileInfo.sizeof;
  vfs['$mxPathname'] = 256;
  for (const member of ['$xRandomness', '$xSleep', '$xCurrentTime', '$xCurrentTimeInt64']) vfs[member] = base[member];
  base.dispose();
  const table = new OpenFiles(sqlite, files, io);
  const definition = {
    io: { struct: io, methods: table.ioMethods() },
    vfs: { struct: vfs, name, methods: table.vfsMethods() },
  };
  sqlite.vfs.installVfs(definition as never); // as the types of sqlite-wasm want it, which we do not import
}

/** The open files, by SQLite's file pointer. */
class OpenFiles {
  private readonly sqlite: SqliteModule;
  private readonly files: DiskFiles;
  private readonly io: SqliteStruct;
  private readonly open = new Map<Pointer, OpenFile>();
  private temporaries = 0;

  constructor(sqlite: SqliteModule, files: DiskFiles, io: SqliteStruct) {
    this.sqlite = sqlite;
    this.files = files;
    this.io = io;
  }

  /** sqlite3_io_methods. */
  ioMethods() {
    const { files } = this;
    return {
      xCheckReservedLock: (_file: Pointer, out: Pointer) => this.poke32(out, 0),
      xClose: (file: Pointer) => this.guard(SQLITE_IOERR_CLOSE, () => this.close(file)),
      xDeviceCharacteristics: () => SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN,
      xFileControl: () => SQLITE_NOTFOUND,
      xFileSize: (file: Pointer, out: Pointer) => this.poke64(out, this.file(file).sizeBytes),
      xLock: () => SQLITE_OK,
      xUnlock: () => SQLITE_OK,
      xSectorSize: () => files.sectorBytes, // what a torn write may damage besides what it wrote
      xRead: (file: Pointer, to: Pointer, bytes: number, offset: bigint) =>
        this.guard(SQLITE_IOERR_READ, () => {
          const read = files.read(this.file(file), Number(offset), this.heap(to, bytes));
          return read === bytes ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
        }),
      xWrite: (file: Pointer, from: Pointer, bytes: number, offset: bigint) =>
        this.guard(SQLITE_IOERR_WRITE, () => files.write(this.file(file), Number(offset), this.heap(from, bytes))),
      xTruncate: (file: Pointer, bytes: bigint) =>
        this.guard(SQLITE_IOERR_TRUNCATE, () => files.truncate(this.file(file), Number(bytes))),
      xSync: (file: Pointer) => this.guard(SQLITE_IOERR_FSYNC, () => files.sync(this.file(file))),
    };
  }

  /** sqlite3_vfs. */
  vfsMethods() {
    const { files } = this;
    return {
      xAccess: (_vfs: Pointer, name: Pointer, _flags: number, out: Pointer) =>
        this.poke32(out, files.has(this.text(name)) ? 1 : 0),
      xDelete: (_vfs: Pointer, name: Pointer, isSyncWanted: number) =>
        this.guard(SQLITE_IOERR_DELETE, () => {
          files.remove(this.text(name));
          if (isSyncWanted !== 0) files.syncDirectory();
        }),
      xFullPathname: (_vfs: Pointer, name: Pointer, bytes: number, out: Pointer) => {
        const written = this.sqlite.wasm.cstrncpy(out as never, name as never, bytes);
        return written < bytes ? SQLITE_OK : SQLITE_CANTOPEN;
      },
      xGetLastError: () => SQLITE_OK,
      xOpen: (_vfs: Pointer, name: Pointer, file: Pointer, flags: number, outFlags: Pointer) =>
        this.guard(SQLITE_CANTOPEN, () => this.openFile(name, file, flags, outFlags)),
    };
  }

  private openFile(name: Pointer, pointer: Pointer, flags: number, outFlags: Pointer): number {
    this.temporaries += 1;
    const text = name === 0 ? `temporary-${this.temporaries}` : this.text(name);
    const file = this.files.open(text, (flags & SQLITE_OPEN_CREATE) !== 0);
    if (file === undefined) return SQLITE_CANTOPEN;
    this.open.set(pointer, { file, isDeletedOnClose: (flags & SQLITE_OPEN_DELETEONCLOSE) !== 0 });
    const FileStruct = this.sqlite.capi.sqlite3_file as new (at: never) => unknown;
    const struct = new FileStruct(pointer as never) as SqliteStruct;
    struct['$pMethods'] = this.io.pointer;
    struct.dispose();
    if (outFlags !== 0) this.poke32(outFlags, flags);
    return SQLITE_OK;
  }

  private close(pointer: Pointer): void {
    const open = this.open.get(pointer);
    this.open.delete(pointer); // closed whatever becomes of a file that was to be removed
    if (open?.isDeletedOnClose === true) this.files.remove(open.file.name);
  }

  private file(pointer: Pointer): DiskFile {
    const open = this.open.get(pointer);
    if (open === undefined) throw new TypeError('Cannot use this SQLite file: it is not open');
    return open.file;
  }

  /** SQLite wants a code, never an exception. */
  private guard(code: number, act: () => unknown): number {
    try {
      const result = act();
      return typeof result === 'number' ? result : SQLITE_OK;
    } catch (error) {
      const isFull = error instanceof RangeError || (error instanceof BlockError && error.code === 'BLOCK_NO_SPACE');
      return isFull && code === SQLITE_IOERR_WRITE ? SQLITE_FULL : code;
    }
  }

  private text(pointer: Pointer): string {
    return this.sqlite.wasm.cstrToJs(pointer as never) ?? '';
  }

  private heap(pointer: Pointer, bytes: number): Uint8Array {
    return this.sqlite.wasm.heap8u().subarray(pointer, pointer + bytes);
  }

  private poke32(at: Pointer, value: number): number {
    this.sqlite.wasm.poke32(at as never, value);
    return SQLITE_OK;
  }

  private poke64(at: Pointer, value: number): number {
    this.sqlite.wasm.poke64(at as never, BigInt(value));
    return SQLITE_OK;
  }
}
