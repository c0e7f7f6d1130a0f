// Promises against measurements: met, missed, or not measured.

import { styleText } from './colour.ts';
import type { Bar } from './contract.ts';
import type { DetailedRow } from './rows.ts';
import { grid } from './table.ts';
import { digits, formatRatio } from './units.ts';

/** How a bar fared. `aim`: the hoped-for figure is reached too. */
export type Verdict = 'aim' | 'met' | 'missed' | 'not measured';

/** A bar with what was measured. */
export interface JudgedBar {
  readonly bar: Bar;
  readonly verdict: Verdict;
  /** The ratio, or the measure itself where the bar names no baseline. */
  readonly measured: number | undefined;
}

/** Judge bars by the rows of one run; bars whose case was not asked for are left out. */
export function judge(bars: readonly Bar[], rows: readonly DetailedRow[]): JudgedBar[] {
  return bars.flatMap((bar): JudgedBar[] => {
    const ofCase = rows.filter(({ row }) => row.case === bar.case);
    const found = ofCase.find(
      ({ row }) => row.subject === bar.subject && (bar.baseline ?? row.baseline) === row.baseline,
    );
    if (ofCase.length === 0) return [];
    const measured = (bar.baseline === undefined ? found?.row.median : found?.row.ratio) ?? undefined;
    if (measured === undefined) return [{ bar, verdict: 'not measured', measured }];
    const reaches = (limit: number) => (bar.baseline === undefined ? measured <= limit : measured >= limit);
    if (!reaches(bar.must)) return [{ bar, verdict: 'missed', measured }];
    return [{ bar, verdict: bar.aim === undefined || !reaches(bar.aim) ? 'met' : 'aim', measured }];
  });
}

const STYLES = { aim: 'green', met: 'green', missed: 'red', 'not measured': 'dim' } as const;

/** Draw judged bars as a table with a closing count. */
export function barTable(judged: readonly JudgedBar[]): string {
  const write = (bar: Bar, value: number | undefined) => {
    if (value === undefined) return '–';
    return bar.baseline === undefined ? digits(value) : formatRatio(value);
  };
  const body = judged.map(({ bar, verdict, measured }) => [
    styleText(STYLES[verdict], verdict.padEnd(12)),
    write(bar, measured),
    `${bar.baseline === undefined ? '≤' : '≥'} ${write(bar, bar.must)}`,
    bar.aim === undefined ? '' : write(bar, bar.aim),
    `${bar.case}: ${bar.text}`,
  ]);
  const count = (...verdicts: readonly Verdict[]) => judged.filter(({ verdict }) => verdicts.includes(verdict)).length;
  const table = grid(['bar', 'measured', 'must', 'aim', ''], body, 4);
  return `${table}\n  ${count('met', 'aim')} met, ${count('missed')} missed, ${count('not measured')} not measured`;
}
