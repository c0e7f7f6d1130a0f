import test from 'ava';
import { SplitringError } from 'sharedarraybuffer-ring';
import { formatSize, parseSize } from '../../../packages/splitring/src/size.ts';

const good: readonly [string | number, number][] = [
  [4096, 4096],
  ['4096', 4096],
  ['512B', 512],
  ['1K', 1024],
  ['64MiB', 64 * 2 ** 20],
  ['1.5 GiB', 1.5 * 2 ** 30],
  ['2T', 2 ** 41],
];
for (const [text, bytes] of good) test(`parseSize reads ${JSON.stringify(text)}`, (t) => t.is(parseSize(text), bytes));

for (const text of ['', '0', '-1', '1.5', '1e9', 'MiB', '64 mib', '64MB', '9999999TiB', Number.NaN, 0]) {
  test(`parseSize refuses ${JSON.stringify(text)}`, (t) => {
    t.throws(() => parseSize(text), { instanceOf: SplitringError, code: 'BAD_SIZE' });
  });
}

const shown: readonly [number, string][] = [
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [2 ** 30, '1.0 GiB'],
  [2 ** 41, '2.0 TiB'],
];
for (const [bytes, text] of shown) test(`formatSize shows ${bytes} as ${text}`, (t) => t.is(formatSize(bytes), text));
