export { type DiskFile, DiskFiles } from './disk-files.ts';
export { installSqliteVfs, type SqliteModule } from './sqlite-vfs.ts';
