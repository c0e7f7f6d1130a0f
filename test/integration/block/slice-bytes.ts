// What guest `number` writes to its slice; no two slices agree in any sector.

/** The bytes of a whole slice. */
export function sliceBytes(number: number, lengthBytes: number): Uint8Array {
  const words = new Uint32Array(lengthBytes / 4);
  for (let i = 0; i < words.length; i += 1) words[i] = Math.imul(i + 1, 2_654_435_761) ^ (number << 24) ^ (number + 1);
  return new Uint8Array(words.buffer);
}
