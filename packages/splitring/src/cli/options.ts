// What every command of this project shares: options that are checked, and errors in one line.
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Command, CommanderError, InvalidArgumentError } from 'commander';
import { SplitringError } from 'sharedarraybuffer-ring';
import { parseSize } from '../size.ts';

/** Exit code of a command that was used wrongly or cannot work as asked. */
export const EXIT_USAGE = 2;
/** Exit code after Ctrl-C. */
export const EXIT_INTERRUPTED = 130;

/** An option's parser: an integer in a range. */
export function integerIn(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < low || value > high || text.trim() === '') {
      throw new InvalidArgumentError(`use an integer from ${low} to ${high}.`);
    }
    return value;
  };
}

/** An option's parser: seconds, fractions allowed, in a range. */
export function secondsIn(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!(value >= low && value <= high) || text.trim() === '') {
      throw new InvalidArgumentError(`use a number from ${low} to ${high}.`);
    }
    return value;
  };
}

/** An option's parser: the size of a disk in bytes, whole sectors. */
export function size(text: string): number {
  try {
    const bytes = parseSize(text);
    if (bytes % 512 === 0) return bytes;
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? `${error.message}.` : 'not a size.');
  }
  throw new InvalidArgumentError('make it a multiple of 512 bytes.');
}

/** Most bytes of a Unix socket's path: `sun_path` holds 108, with the zero at its end. unix(7) */
const MOST_SOCKET_BYTES = 107;

/** An option's parser: the path of a Unix socket, made absolute. Longer ones are cut off by the system without a word. */
export function socketPath(text: string): string {
  const path = resolve(filled(text));
  if (Buffer.byteLength(path) > MOST_SOCKET_BYTES) {
    throw new InvalidArgumentError(`a socket's path has ${MOST_SOCKET_BYTES} bytes at most.`);
  }
  if (!existsSync(dirname(path))) throw new InvalidArgumentError(`there is no directory ${dirname(path)}.`);
  return path;
}

/** An option's parser: any text but none. */
export function filled(text: string): string {
  if (text === '') throw new InvalidArgumentError('it is empty.');
  return text;
}

/**
 * Parse arguments. Ends the process with code 2 and one line for wrong ones, and with code 0 after `--help`.
 */
export function parseOptions<T>(command: Command, args: readonly string[]): T {
  command.exitOverride().configureOutput({ writeErr: () => {} });
  command.allowExcessArguments(false);
  try {
    return command.parse(args, { from: 'user' }).opts() as T;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) process.exit(0);
    fail(error);
  }
}

/** Say in one line what is wrong, and end with code 2. */
export function fail(error: unknown): never {
  const message = error instanceof Error ? error.message.replace(/^error: /, '').replaceAll('\n', ' ') : String(error);
  const hint = error instanceof CommanderError ? ' (--help lists the options)' : '';
  console.error(`error: ${message}${hint}`);
  process.exit(EXIT_USAGE);
}

/** Whether an error is the caller's to mend (and so deserves one line instead of a stack). */
export const isExplained = (error: unknown): boolean => error instanceof SplitringError;
