// Results on a terminal: one table per case, ratios first.
import { stripVTControlCharacters } from 'node:util';
import { styleText } from './colour.ts';
import type { DetailedRow } from './rows.ts';
import { formatRatio, formatValue } from './units.ts';

interface Line {
  readonly subject: string;
  readonly rows: DetailedRow[];
}

/** Draw the table of one case from its rows. */
export function caseTable(title: string, rows: readonly DetailedRow[]): string {
  const { head, body } = caseCells(rows);
  return `${styleText('bold', title)}\n${grid(head, body)}\n`;
}

/** Cells of a case's table: a line for each subject, its ratios, its figures, its further metrics. */
export function caseCells(rows: readonly DetailedRow[]): { head: string[]; body: string[][] } {
  const lines: Line[] = [];
  for (const row of rows) {
    const line = lines.find(({ subject }) => subject === row.row.subject);
    if (line === undefined) lines.push({ subject: row.row.subject, rows: [row] });
    else line.rows.push(row);
  }
  const own = (row: DetailedRow) => row.metric === undefined;
  const baselines = [...new Set(rows.flatMap(({ row }) => (row.baseline === null ? [] : [row.baseline])))];
  const metrics = [...new Set(rows.flatMap(({ metric }) => (metric === undefined ? [] : [metric])))];
  const head = ['', ...baselines.map((name) => `/ ${name}`), 'median', 'min … max', 'n', ...metrics];
  const body = lines.map(({ subject, rows: all }) => {
    const ratios = baselines.map((name) => {
      const found = all.find((row) => own(row) && row.row.baseline === name);
      return found === undefined ? '' : found.row.ratio === null ? '–' : formatRatio(found.row.ratio);
    });
    const values = metrics.map((name) => {
      const found = all.find((row) => row.metric === name)?.row;
      return found?.median === null || found === undefined ? '' : formatValue(found.median, found.unit);
    });
    return [subject, ...ratios, ...measured(all.find(own)), ...values];
  });
  return { head, body };
}

function measured(row: DetailedRow | undefined): string[] {
  if (row === undefined) return ['', '', ''];
  const { median, min, max, n, unit } = row.row;
  if (median === null || min === null || max === null)
    return [`not measured${row.missing === undefined ? '' : `: ${row.missing}`}`, '', ''];
  return [
    formatValue(median, unit),
    `${formatValue(min, unit)} … ${formatValue(max, unit)}`,
    `${n}${row.noisy ? '~' : ''}`,
  ];
}

/** Columns of equal width: figures to the right; the first column and those from `textFrom` on to the left. */
export function grid(head: readonly string[], body: readonly (readonly string[])[], textFrom = head.length): string {
  const shown = (cell: string | undefined) => stripVTControlCharacters(cell ?? '');
  const width = head.map((title, at) =>
    Math.max(title.length, ...body.map((cells) => (isNote(cells[at]) ? 0 : shown(cells[at]).length))),
  );
  const draw = (cells: readonly string[]) =>
    cells
      .map((cell, at) => {
        const missing = ' '.repeat(Math.max(0, (width[at] ?? 0) - shown(cell).length));
        if (isNote(cell)) return cell;
        return at === 0 || at >= textFrom ? cell + missing : missing + cell;
      })
      .join('  ')
      .trimEnd();
  return [styleText('dim', draw(head)), ...body.map(draw)].map((line) => `  ${line}`).join('\n');
}

function isNote(cell: string | undefined): boolean {
  return cell?.startsWith('not measured') === true;
}
