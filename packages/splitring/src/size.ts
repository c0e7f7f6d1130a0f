// Sizes as people write them.
import { SplitringError } from 'sharedarraybuffer-ring';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  K: 2 ** 10,
  KiB: 2 ** 10,
  M: 2 ** 20,
  MiB: 2 ** 20,
  G: 2 ** 30,
  GiB: 2 ** 30,
  T: 2 ** 40,
  TiB: 2 ** 40,
};

/**
 * Read a size in bytes: a number, or text such as `64MiB`, `1G`, `4096`.
 * @throws SplitringError BAD_SIZE if it is no size, not positive, or not a safe integer
 */
export function parseSize(size: string | number): number {
  const match = /^(\d+(?:\.\d+)?) ?([KMGT](?:iB)?|B)?$/.exec(String(size).trim());
  const bytes = match === null ? Number.NaN : Number(match[1]) * (UNITS[match[2] ?? ''] ?? Number.NaN);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new SplitringError(
      'BAD_SIZE',
      `Cannot read the size "${size}": write bytes, or a number with KiB, MiB, GiB`,
      {
        size,
      },
    );
  }
  return bytes;
}

/** Write a number of bytes for people, with one decimal and a binary unit. */
export function formatSize(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1024) return unit === 'B' ? `${value} B` : `${value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}
