// The demo's disk load: write a chunk of patterns, flush, read it back, verify every word, go on.
import type { Disk, GuestContext } from '@splitring/frontend';
import { BLOCK_BYTES, fillBlock, readBlock } from './pattern.ts';

/** Bytes of one request. */
const REQUEST_BYTES = 64 * 1024;
/** Requests in flight at once. */
const DEPTH = 8;
const CHUNK_BYTES = REQUEST_BYTES * DEPTH;

interface Load {
  readonly guest: GuestContext<unknown>;
  readonly disk: Disk;
  readonly seed: number;
  readonly isOver: () => boolean;
}

function blocksOf(buffer: Uint8Array): Uint32Array[] {
  return Array.from(
    { length: buffer.byteLength / BLOCK_BYTES },
    (_, at) => new Uint32Array(buffer.buffer, buffer.byteOffset + at * BLOCK_BYTES, BLOCK_BYTES / 4),
  );
}

/** The pieces of one chunk, each a request with the blocks that it carries. */
function requestsOf(offset: number, bytes: Uint8Array): { offset: number; bytes: Uint8Array }[] {
  const requests: { offset: number; bytes: Uint8Array }[] = [];
  for (let at = 0; at < bytes.byteLength; at += REQUEST_BYTES) {
    requests.push({ offset: offset + at, bytes: bytes.subarray(at, Math.min(at + REQUEST_BYTES, bytes.byteLength)) });
  }
  return requests;
}

async function writeAndVerify(load: Load, offset: number, buffer: Uint8Array, round: number): Promise<void> {
  const { disk, guest, seed } = load;
  const { counters } = guest;
  const blocks = blocksOf(buffer);
  const firstBlock = offset / BLOCK_BYTES;
  for (const [at, words] of blocks.entries()) fillBlock(words, { seed, block: firstBlock + at, round });
  const count = (bytes: Uint8Array) => {
    counters.add('operations', 1);
    counters.add('bytes', bytes.byteLength);
  };
  await Promise.all(
    requestsOf(offset, buffer).map((one) => disk.write(one.offset, one.bytes).then(() => count(one.bytes))),
  );
  await disk.flush();
  counters.add('operations', 1);
  buffer.fill(0);
  await Promise.all(
    requestsOf(offset, buffer).map((one) => disk.read(one.offset, one.bytes).then(() => count(one.bytes))),
  );
  for (const [at, words] of blocks.entries()) {
    const label = readBlock(words);
    const isRight = label?.seed === seed && label.block === firstBlock + at && label.round === round;
    if (!isRight) counters.add('errors', 1);
  }
}

/**
 * Run until `isOver`. Counters: `operations` (reads, writes, flushes), `bytes`, `errors` (blocks that came back wrong;
 * a failed request ends the load with its error).
 */
export async function runDiskLoad(load: Load): Promise<void> {
  const { disk, isOver } = load;
  const buffer = new Uint8Array(CHUNK_BYTES);
  const usableBytes = disk.capacityBytes - (disk.capacityBytes % BLOCK_BYTES);
  for (let round = 1; ; round += 1) {
    for (let offset = 0; offset < usableBytes; offset += CHUNK_BYTES) {
      const bytes = Math.min(CHUNK_BYTES, usableBytes - offset);
      await writeAndVerify(load, offset, buffer.subarray(0, bytes), round);
      if (isOver()) return;
    }
  }
}
