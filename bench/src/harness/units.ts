// Units: which way is better, and how numbers are written for people.

/** True for rates, where more is better; all other units are times and counts, where less is. */
export function isRate(unit: string): boolean {
  return unit.endsWith('/s');
}

/** Turn nanoseconds per operation into the unit of a case. */
export function fromNanoseconds(unit: string, nanoseconds: number): number {
  return isRate(unit) ? 1e9 / nanoseconds : nanoseconds;
}

const PREFIXES: readonly (readonly [number, string])[] = [
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** Write a number with three significant digits: 12.3, 0.0104, 812. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return '0';
  const magnitude = Math.abs(value);
  if (magnitude >= 1000) return Math.round(value).toLocaleString('en-US').replaceAll(',', ' ');
  return magnitude < 1e-4 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

/** Write a measure with its unit: "121 M messages/s", "67.3 µs". */
export function formatValue(value: number, unit: string): string {
  if (unit === 'ns') {
    if (value >= 1e6) return `${digits(value / 1e6)} ms`;
    return value >= 1e4 ? `${digits(value / 1e3)} µs` : `${digits(value)} ns`;
  }
  if (isRate(unit)) {
    const prefix = PREFIXES.find(([size]) => value >= size);
    return prefix === undefined ? `${digits(value)} ${unit}` : `${digits(value / prefix[0])} ${prefix[1]} ${unit}`;
  }
  return unit === '' ? digits(value) : `${digits(value)} ${unit}`;
}

/** Write a ratio: "×0.46", "×128". */
export function formatRatio(ratio: number): string {
  return `×${ratio >= 99.5 ? Math.round(ratio).toLocaleString('en-US').replaceAll(',', ' ') : String(Number(ratio.toPrecision(ratio < 1 ? 2 : 3)))}`;
}
