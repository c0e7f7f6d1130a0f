// Requests of 28 words, written and read one by one at constant places, as a driver writes the fields of its requests: the
// inner loops of both ends, functions of their own over locals.
import type { BackRing, FrontRing } from 'sharedarraybuffer-ring';

function writeRequest(words: Int32Array, id: number): void {
  words[0] = id;
  words[1] = id + 1;
  words[2] = id + 2;
  words[3] = id + 3;
  words[4] = id + 4;
  words[5] = id + 5;
  words[6] = id + 6;
  words[7] = id + 7;
  words[8] = id + 8;
  words[9] = id + 9;
  words[10] = id + 10;
  words[11] = id + 11;
  words[12] = id + 12;
  words[13] = id + 13;
  words[14] = id + 14;
  words[15] = id + 15;
  words[16] = id + 16;
  words[17] = id + 17;
  words[18] = id + 18;
  words[19] = id + 19;
  words[20] = id + 20;
  words[21] = id + 21;
  words[22] = id + 22;
  words[23] = id + 23;
  words[24] = id + 24;
  words[25] = id + 25;
  words[26] = id + 26;
  words[27] = id + 27;
}

/** Stage `count` requests from ring index `index` on, the first of them with id `firstId`. */
export function stageBatch(
  ring: FrontRing,
  views: readonly Int32Array[],
  index: number,
  firstId: number,
  count: number,
): void {
  const mask = views.length - 1;
  for (let i = 0; i < count; i++) {
    ring.stageRequest();
    writeRequest(views[(index + i) & mask] as Int32Array, firstId + i); // the mask keeps it in range
  }
}

/** Take every response that was counted and add up what they say. */
export function takeBatch(ring: FrontRing): number {
  const response = ring.response;
  let sum = 0;
  while (ring.takeResponse()) sum = (sum + response.getInt32(0, true) + response.getInt32(4, true)) | 0;
  return sum;
}

/**
 * Answer `count` requests from ring index `index` on: each with its first word and the sum of its words.
 *
 * `words` are those of the request taken last. The sum is written out here, in four chains so that no addition waits for
 * the one before, and not in a function: V8 inlines a short `serveBatch` into its caller and then has no budget left for
 * the ring's methods; a long one it compiles by itself, with all of them inside (112 B, depth 8: 67 -> 60 ns).
 */
export function serveBatch(
  ring: BackRing,
  words: Int32Array,
  views: readonly Int32Array[],
  index: number,
  count: number,
): void {
  const mask = views.length - 1;
  for (let i = 0; i < count; i++) {
    ring.takeRequest();
    ring.stageResponse();
    // The casts: a request has 28 words, and the mask keeps the index in range.
    let a = words[0] as number;
    let b = words[1] as number;
    let c = words[2] as number;
    let d = words[3] as number;
    a = (a + (words[4] as number)) | 0;
    b = (b + (words[5] as number)) | 0;
    c = (c + (words[6] as number)) | 0;
    d = (d + (words[7] as number)) | 0;
    a = (a + (words[8] as number)) | 0;
    b = (b + (words[9] as number)) | 0;
    c = (c + (words[10] as number)) | 0;
    d = (d + (words[11] as number)) | 0;
    a = (a + (words[12] as number)) | 0;
    b = (b + (words[13] as number)) | 0;
    c = (c + (words[14] as number)) | 0;
    d = (d + (words[15] as number)) | 0;
    a = (a + (words[16] as number)) | 0;
    b = (b + (words[17] as number)) | 0;
    c = (c + (words[18] as number)) | 0;
    d = (d + (words[19] as number)) | 0;
    a = (a + (words[20] as number)) | 0;
    b = (b + (words[21] as number)) | 0;
    c = (c + (words[22] as number)) | 0;
    d = (d + (words[23] as number)) | 0;
    a = (a + (words[24] as number)) | 0;
    b = (b + (words[25] as number)) | 0;
    c = (c + (words[26] as number)) | 0;
    d = (d + (words[27] as number)) | 0;
    const response = views[(index + i) & mask] as Int32Array;
    response[0] = words[0] as number;
    response[1] = (a + b + c + d) | 0;
    response[2] = 0;
    response[3] = 0;
  }
}

/** Views of `slots` slots of a ring as words, each made once: constant places in a short view are the fastest way in. */
export function slotWords(
  region: SharedArrayBuffer,
  slots: number,
  slotBytes: number,
  headerBytes: number,
): Int32Array[] {
  return Array.from({ length: slots }, (_, i) => new Int32Array(region, headerBytes + i * slotBytes, slotBytes >> 2));
}
