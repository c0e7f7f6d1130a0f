// The other thread of a hostile guest: rewrites the words of every request as fast as it can, until told to stop.
import { workerData } from 'node:worker_threads';

const { ring, byteOffset, stop } = workerData as {
  ring: SharedArrayBuffer;
  byteOffset: number;
  stop: SharedArrayBuffer;
};
const bytes = new Uint8Array(ring, byteOffset, 4096);
const words = new Uint32Array(ring, byteOffset, 1024);
const flag = new Int32Array(stop);
const segmentCounts = [0, 1, 2, 11, 12, 255];
const edges = [0x0700, 0x0000, 0xff00, 0x0003, 0x0807]; // first and last sector of a segment
let turn = 0;

Atomics.store(flag, 1, 1); // running
while (Atomics.load(flag, 0) === 0) {
  for (let slot = 0; slot < 32; slot += 1) {
    const at = 64 + slot * 112;
    turn = (turn + 1) | 0;
    bytes[at] = turn % 10; // operation
    bytes[at + 1] = segmentCounts[turn % segmentCounts.length] as number; // in range
    words[(at + 16) >> 2] = turn % 3 === 0 ? turn : 0; // sector number, low half
    words[(at + 20) >> 2] = turn % 97 === 0 ? 0xffff_ffff : 0;
    for (let segment = 0; segment < 11; segment += 1) {
      words[(at + 24 + segment * 8) >> 2] = 8 + ((turn + segment) % 60); // grant reference
      words[(at + 28 + segment * 8) >> 2] = edges[(turn + segment) % edges.length] as number; // in range
    }
  }
}
