// The door for stores on a guest's disk: @splitring/frontend/block-store.
export { DiskBytes, type DiskRange } from './disk-bytes.ts';
export { type ChunkPart, DiskChunkStore, type DiskChunkStoreOptions } from './disk-chunk-store.ts';
export { RandomAccessDisk, type StorageCallback } from './random-access-disk.ts';
