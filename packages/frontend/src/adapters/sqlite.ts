// The door for SQLite on a guest’s disk: @splitring/frontend/sqlite.
export { type DiskFile, DiskFiles } from './disk-files.ts';
export { installSqliteVfs, type SqliteModule } from './sqlite-vfs.ts';
