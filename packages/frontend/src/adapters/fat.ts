// The door for FAT on a guest’s disk: @splitring/frontend/fat.
export { createFatDiskIo, type FatDiskIo } from './fat-disk-io.ts';
