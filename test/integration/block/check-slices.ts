// Reads a sliced image as a stranger would, in a process of its own. Arguments: image, slices. Prints the numbers of the
// slices that do not hold exactly what their guest wrote, as JSON.
import { readFileSync } from 'node:fs';
import { sliceBytes } from './slice-bytes.ts';

const [image = '', slices = '1'] = process.argv.slice(2);
const bytes = readFileSync(image);
const each = bytes.byteLength / Number(slices);
const wrong = Array.from({ length: Number(slices) }, (_, number) => number).filter(
  (number) => Buffer.compare(bytes.subarray(number * each, (number + 1) * each), sliceBytes(number, each)) !== 0,
);
console.log(JSON.stringify(wrong));
