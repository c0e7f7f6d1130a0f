// Terminal styles, only where a terminal shows them.
import process from 'node:process';

const CODES = { bold: 1, dim: 2, green: 32, red: 31, yellow: 33 } as const;

/** Style `text` if stdout is a terminal and `NO_COLOR` is not set. */
export function styleText(style: keyof typeof CODES, text: string): string {
  const { NO_COLOR } = process.env;
  if (process.stdout.isTTY !== true || NO_COLOR !== undefined) return text;
  return `\x1b[${CODES[style]}m${text}\x1b[0m`;
}
