// The guest of 05-verify.ts: writes blocks that say what they are, and reads all of them back. Run it again on the same
// image and it first checks what the run before has left. Read next: bench/README.md
import { defineGuest, type GuestContext } from 'splitring/guest';

const BLOCK_BYTES = 4096;

/** FNV-1a over the generation and the fill: a block that moved, mixed or tore does not have it. */
function checksum(words: Uint32Array): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < words.length; i += 1) if (i !== 2) hash = Math.imul(hash ^ (words[i] ?? 0), 0x01000193);
  return hash >>> 0;
}

/** Make the block with number `block` in its `generation`-th version. */
function fill(words: Uint32Array, block: number, generation: number): void {
  words[0] = block;
  words[1] = generation;
  for (let i = 3; i < words.length; i += 1) words[i] = Math.imul(block ^ (generation << 16), i) ^ i;
  words[2] = checksum(words);
}

class Verifier {
  readonly blocks: number;
  private readonly disk;
  /** Last generation written to each block; 0: never, it must be zero or what an earlier run has left whole. */
  private readonly generations: Uint32Array;

  constructor(guest: GuestContext) {
    this.disk = guest.disk('xvda');
    this.blocks = Math.floor(this.disk.capacityBytes / BLOCK_BYTES);
    this.generations = new Uint32Array(this.blocks);
  }

  /** Write random blocks and read random ones in between, `writes` in all, from `depth` loops side by side. */
  async load(writes: number, depth: number): Promise<void> {
    let left = writes;
    const loop = async (_: unknown, lane: number) => {
      const words = new Uint32Array(BLOCK_BYTES / 4);
      for (let seed = lane + 1; left > 0; ) {
        left -= 1;
        seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
        // Each loop has blocks of its own: what it reads is what it has written last.
        const block = (((seed >>> 8) % Math.floor(this.blocks / depth)) * depth + lane) % this.blocks;
        await this.check(block, words);
        this.generations[block] = (this.generations[block] ?? 0) + 1;
        fill(words, block, this.generations[block] ?? 0);
        await this.disk.write(block * BLOCK_BYTES, new Uint8Array(words.buffer));
      }
    };
    await Promise.all(Array.from({ length: depth }, loop));
    await this.disk.flush();
  }

  /** Read a block and compare it with what it must be. */
  async check(block: number, words: Uint32Array): Promise<void> {
    await this.disk.read(block * BLOCK_BYTES, new Uint8Array(words.buffer));
    const generation = this.generations[block] ?? 0;
    const isNew = generation === 0 && words.every((word) => word === 0);
    const isRight = words[0] === block && words[2] === checksum(words) && (generation === 0 || words[1] === generation);
    if (!isNew && !isRight) throw new Error(`Block ${block} is not what was written in generation ${generation}`);
  }
}

export default defineGuest<{ readonly writes: number; readonly depth: number }, string>(async (guest) => {
  const verifier = new Verifier(guest);
  const words = new Uint32Array(BLOCK_BYTES / 4);
  for (let block = 0; block < verifier.blocks; block += 1) await verifier.check(block, words);
  await verifier.load(guest.args.writes, guest.args.depth);
  for (let block = 0; block < verifier.blocks; block += 1) await verifier.check(block, words);
  return `${guest.args.writes} writes, ${verifier.blocks} blocks verified`;
});
