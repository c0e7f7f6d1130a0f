// The report: one HTML file with plots and tables, nothing to load from anywhere.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { JudgedBar } from '../bars.ts';
import type { CaseOutcome, Outcome, SuiteOutcome } from '../outcome.ts';
import { quantile } from '../statistics.ts';
import { caseCells } from '../table.ts';
import { digits, formatRatio } from '../units.ts';
import { STYLE } from './style.ts';

/** Write the report to `path`. The plotting library is loaded only now. */
export async function writeReport(path: string, outcome: Outcome): Promise<void> {
  const plots = await import('./plots.ts');
  const suites = outcome.suites.map((one) => suiteSection(one, plots)).join('\n');
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(
    path,
    `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Splitring benchmarks</title><style>${STYLE}</style></head><body><main>
<h1>Splitring benchmarks</h1>
${circumstances(outcome)}
${suites}
<h2>Where the cores sat</h2>
<p>Before and after every sample a word is bounced between two threads (the ${outcome.circumstances.probeKind} probe). Samples whose probes differ are taken again, and only
samples of one mode are compared.</p>
${plots.probesPlot(outcome.circumstances)}
</main></body></html>
`,
  );
}

function circumstances({ circumstances: c }: Outcome): string {
  const near = c.probes.filter((ns) => c.modeOf(ns) === 'near').length;
  const facts: readonly (readonly [string, string])[] = [
    ['Node', c.node],
    ['Machine', `${c.cores} × ${c.machine}`],
    ['Rounds', `${c.rounds} in each of ${c.generations} sets of processes`],
    [
      'Core to core',
      `median ${Math.round(quantile(c.probes, 0.5) ?? 0)} ns, near in ${Math.round((100 * near) / Math.max(1, c.probes.length))} %`,
    ],
    ['Took', `${c.seconds.toFixed(0)} s`],
  ];
  return `<dl class="facts">${facts.map(([name, value]) => `<div><dt>${name}</dt><dd>${escapeHtml(value)}</dd></div>`).join('')}</dl>
<p>Ratios are medians of each round's own ratio: subject and baseline measured moments apart. <b>×</b> above 1 is better, for times and
rates alike. Bands and bars in the plots go from the least to the greatest sample. Point at a dot for its figures.</p>`;
}

function suiteSection(outcome: SuiteOutcome, plots: typeof import('./plots.ts')): string {
  const { suite, cases, bars } = outcome;
  const groups = plots
    .groupPlots(outcome)
    .map(({ title, svg }) => `<figure><h3>${escapeHtml(title)}</h3>${svg}</figure>`);
  const promises =
    bars.length === 0 ? '' : `<figure><h3>Promises</h3>${plots.barsPlot(bars)}</figure>${barsTable(bars)}`;
  const tables = cases.map(caseSection).join('\n');
  return `<h2>${escapeHtml(suite.title)}</h2>\n${groups.join('\n')}\n${promises}\n<details><summary>All figures</summary>\n${tables}\n</details>`;
}

function barsTable(bars: readonly JudgedBar[]): string {
  const rows = bars.map(({ bar, verdict, measured }) => {
    const write = (value: number | undefined) =>
      value === undefined ? '–' : bar.baseline === undefined ? digits(value) : formatRatio(value);
    const state = verdict === 'aim' ? 'met' : verdict;
    return `<tr class="${state.replace(' ', '-')}"><td>${state}</td><td>${write(measured)}</td><td>${bar.baseline === undefined ? '≤' : '≥'} ${write(bar.must)}</td><td class="text">${escapeHtml(`${bar.case}: ${bar.text}`)}</td></tr>`;
  });
  return `<details><summary>Promises in figures</summary><table><thead><tr><th></th><th>measured</th><th>must</th><th class="text"></th></tr></thead><tbody>${rows.join('')}</tbody></table></details>`;
}

function caseSection({ spec, rows, dropped }: CaseOutcome): string {
  const { head, body } = caseCells(rows);
  const header = head.map((cell) => `<th>${escapeHtml(cell)}</th>`).join('');
  const lines = body
    .map((cells) => `<tr>${cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join('')}</tr>`)
    .join('');
  return `<h3><code>${spec.name}</code> ${escapeHtml(spec.title)}</h3><div class="scroll"><table><thead><tr>${header}</tr></thead><tbody>${lines}</tbody></table></div><p class="small">${dropped} disturbed samples taken again</p>`;
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
