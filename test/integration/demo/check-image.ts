// Reads a demo image as a stranger would, in a process of its own: which blocks of which guest are whole.
// Arguments: image, guests, first seed. Prints one line of JSON: an array of { whole, wrong, empty } per guest.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { BLOCK_BYTES, readBlock } from '../../../packages/splitring/src/demo/pattern.ts';

const [image = '', guestCount = '1', firstSeed = '1'] = process.argv.slice(2);
const guests = Number(guestCount);
const fd = openSync(image, 'r');
const sliceBlocks = Math.floor(fstatSync(fd).size / guests / BLOCK_BYTES);
const words = new Uint32Array(BLOCK_BYTES / 4);
const results = Array.from({ length: guests }, (_, guest) => {
  const count = { whole: 0, wrong: 0, empty: 0 };
  for (let block = 0; block < sliceBlocks; block += 1) {
    readSync(fd, words, 0, BLOCK_BYTES, (guest * sliceBlocks + block) * BLOCK_BYTES);
    const label = readBlock(words);
    if (label?.seed === Number(firstSeed) + guest && label.block === block && label.round > 0) count.whole += 1;
    else if (words.every((word) => word === 0)) count.empty += 1;
    else count.wrong += 1;
  }
  return count;
});
closeSync(fd);
console.log(JSON.stringify(results));
