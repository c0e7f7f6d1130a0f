export { createFatDiskIo, type FatDiskIo } from './fat-disk-io.ts';
