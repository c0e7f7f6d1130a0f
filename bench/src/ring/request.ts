// A request of 28 words, written and read one by one at constant places, as a driver writes the fields of its requests.

/** Write the request `id` into the words of a slot. */
export function writeRequest(words: Int32Array, id: number): void {
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

/** Add up the words of a request, in four chains, so that no addition waits for the one before. */
export function sumRequest(words: Int32Array): number {
  let a = word(words, 0);
  let b = word(words, 1);
  let c = word(words, 2);
  let d = word(words, 3);
  a = (a + word(words, 4)) | 0;
  b = (b + word(words, 5)) | 0;
  c = (c + word(words, 6)) | 0;
  d = (d + word(words, 7)) | 0;
  a = (a + word(words, 8)) | 0;
  b = (b + word(words, 9)) | 0;
  c = (c + word(words, 10)) | 0;
  d = (d + word(words, 11)) | 0;
  a = (a + word(words, 12)) | 0;
  b = (b + word(words, 13)) | 0;
  c = (c + word(words, 14)) | 0;
  d = (d + word(words, 15)) | 0;
  a = (a + word(words, 16)) | 0;
  b = (b + word(words, 17)) | 0;
  c = (c + word(words, 18)) | 0;
  d = (d + word(words, 19)) | 0;
  a = (a + word(words, 20)) | 0;
  b = (b + word(words, 21)) | 0;
  c = (c + word(words, 22)) | 0;
  d = (d + word(words, 23)) | 0;
  a = (a + word(words, 24)) | 0;
  b = (b + word(words, 25)) | 0;
  c = (c + word(words, 26)) | 0;
  d = (d + word(words, 27)) | 0;
  return (a + b + c + d) | 0;
}

function word(words: Int32Array, at: number): number {
  return words[at] as number; // a request has 28 words
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
