// The blocks that the guests of these tests write: each tells its place.

/** 4 KiB that only this block has. */
export function blockOf(block: number): Uint8Array {
  const words = new Uint32Array(1024);
  for (let i = 0; i < words.length; i += 1) words[i] = Math.imul(block + 1, 2_654_435_761) ^ i;
  return new Uint8Array(words.buffer);
}
