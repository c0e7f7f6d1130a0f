// What the demo shows: one live table on a terminal, plain lines elsewhere, a summary at the end.
import picocolors from 'picocolors';
import { formatSize } from '../size.ts';

/** Colours for a terminal only; the library alone would colour plain files too wherever CI is set. */
const pc = picocolors.createColors(process.stdout.isTTY === true && picocolors.isColorSupported);

/** What the demo knows of one guest at one moment. */
export interface GuestRow {
  /** The guest's name. */
  readonly name: string;
  /** What it is doing, for people. */
  readonly state: string;
  /** Disk requests completed. */
  readonly operations: number;
  /** Bytes read and written. */
  readonly bytes: number;
  /** Ethernet frames received and verified. */
  readonly frames: number;
  /** Blocks or frames that were not what they should be, and failed requests. */
  readonly errors: number;
}

/** The demo's outcome: the last line of `--json`. */
export interface Summary {
  /** Whether every guest ended by itself and everything was verified. */
  readonly ok: boolean;
  /** Seconds from the first guest's start to the last one's end. */
  readonly seconds: number;
  /** Number of guests. */
  readonly guests: number;
  /** Disk requests completed, all guests. */
  readonly operations: number;
  /** Bytes read and written, all guests. */
  readonly bytes: number;
  /** Frames received and verified, all guests. */
  readonly frames: number;
  /** Failures, all guests. */
  readonly errors: number;
}

const COLUMNS = ['guest', 'state', 'operations', 'bytes', 'frames', 'errors'] as const;

function cells(row: GuestRow): string[] {
  return [
    row.name,
    row.state,
    row.operations.toLocaleString('en'),
    formatSize(row.bytes),
    row.frames.toLocaleString('en'),
    String(row.errors),
  ];
}

/** The table as lines, columns aligned: names to the left, numbers to the right. */
export function tableLines(rows: readonly GuestRow[]): string[] {
  const body = rows.map(cells);
  const widths = COLUMNS.map((title, at) => Math.max(title.length, ...body.map((row) => row[at]?.length ?? 0)));
  const align = (text: string, at: number) => (at < 2 ? text.padEnd(widths[at] ?? 0) : text.padStart(widths[at] ?? 0));
  return [
    pc.dim(COLUMNS.map(align).join('  ')),
    ...body.map((row, at) => {
      const line = row.map(align).join('  ');
      return (rows[at]?.errors ?? 0) > 0 ? pc.red(line) : line;
    }),
  ];
}

/** Draws the same table over and over on a terminal, or one plain line a second elsewhere. */
export class LiveReport {
  private readonly stream: NodeJS.WriteStream;
  private drawn = 0;
  private lastLineAt = Number.NEGATIVE_INFINITY;

  /** Report to `stream`. */
  constructor(stream: NodeJS.WriteStream) {
    this.stream = stream;
  }

  /** Show the present state; `elapsedSeconds` since the guests started. */
  show(rows: readonly GuestRow[], elapsedSeconds: number, isLast = false): void {
    if (this.stream.isTTY) {
      const lines = tableLines(rows);
      const up = this.drawn === 0 ? '' : `\u001b[${this.drawn}A`;
      this.stream.write(`${up}${lines.map((line) => `\u001b[2K${line}\n`).join('')}`);
      this.drawn = lines.length;
    } else if (isLast || elapsedSeconds - this.lastLineAt >= 1) {
      this.lastLineAt = elapsedSeconds;
      const sum = (pick: (row: GuestRow) => number) => rows.reduce((total, row) => total + pick(row), 0);
      this.stream.write(
        `${elapsedSeconds.toFixed(1)} s  ${sum((row) => row.operations)} operations  ` +
          `${formatSize(sum((row) => row.bytes))}  ${sum((row) => row.frames)} frames  ` +
          `${sum((row) => row.errors)} errors\n`,
      );
    }
  }
}

/** The summary for people. */
export function summaryLine(summary: Summary): string {
  const verdict = summary.ok ? pc.green('verified') : pc.red('NOT verified');
  return (
    `${verdict}: ${summary.operations.toLocaleString('en')} operations, ${formatSize(summary.bytes)}, ` +
    `${summary.frames.toLocaleString('en')} frames, ${summary.errors} errors in ${summary.seconds.toFixed(1)} s`
  );
}
