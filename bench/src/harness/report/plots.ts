// The plots of the report: server-side SVG by Observable Plot.
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import type { JudgedBar } from '../bars.ts';
import type { SubjectSpec } from '../contract.ts';
import type { Circumstances, SuiteOutcome } from '../outcome.ts';
import { digits, formatRatio, formatValue, isRate } from '../units.ts';

const { document } = parseHTML('<html><body></body></html>');
const WIDTH = 860;
const OURS = ['#d6336c', '#7048e8', '#1c7ed6', '#0ca678', '#f08c00', '#ae3ec9', '#5c940d'];
const OTHERS = ['#343a40', '#868e96', '#adb5bd', '#748ffc', '#a9826b', '#8d99ae', '#c0a16b', '#9c89b8'];

/** One point of a plot. */
interface Point {
  readonly subject: string;
  readonly x: number | string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly label: string;
}

function draw(options: Plot.PlotOptions): string {
  const plot = Plot.plot({ document, width: WIDTH, ...options });
  return plot.outerHTML;
}

/** Colours of a suite's subjects, the same in all its plots: strong for ours, quiet for what they are compared with. */
function colours(subjects: readonly SubjectSpec[]) {
  const pick = (from: readonly string[], at: number) => from[at % from.length] ?? 'currentColor';
  const peers = unique(subjects.flatMap(({ name, isPeer }) => (isPeer === true ? [name] : [])));
  const ours = unique(subjects.flatMap(({ name, isPeer }) => (isPeer === true ? [] : [name])));
  const range = [...ours.map((_, at) => pick(OURS, at)), ...peers.map((_, at) => pick(OTHERS, at))];
  return { domain: [...ours, ...peers], range };
}

function unique<T>(items: readonly T[]): T[] {
  return [...new Set(items)];
}

/** All groups of a suite, one plot each. */
export function groupPlots({ suite, cases }: SuiteOutcome): { title: string; svg: string }[] {
  const scheme = colours(cases.flatMap(({ spec }) => spec.subjects));
  return unique(cases.map(({ spec }) => spec.group)).map((group) => {
    const members = cases.filter(({ spec }) => spec.group === group);
    const unit = members[0]?.spec.unit ?? '';
    const seen = new Set<string>();
    const points = members.flatMap(({ spec, rows: own }) =>
      own.flatMap(({ row, metric }): Point[] => {
        const { median, min, max } = row;
        const key = `${spec.name} ${row.subject}`;
        if (metric !== undefined || median === null || min === null || max === null || seen.has(key)) return [];
        seen.add(key);
        const ratio = row.ratio === null ? '' : `, ${formatRatio(row.ratio)} of ${row.baseline}`;
        return [
          {
            subject: row.subject,
            x: spec.x,
            value: median,
            min,
            max,
            label: `${spec.name} ${row.subject}: ${formatValue(median, unit)}${ratio}`,
          },
        ];
      }),
    );
    const axis = suite.axes[group] ?? group;
    const isNumeric = points.every(({ x }) => typeof x === 'number') && unique(points.map(({ x }) => x)).length > 1;
    const title = `${isRate(unit) ? unit : `Time per operation (${unit})`} by ${axis}`;
    return { title, svg: isNumeric ? linePlot(points, axis, unit, scheme) : dotPlot(points, unit, scheme) };
  });
}

type Scheme = ReturnType<typeof colours>;

function linePlot(points: readonly Point[], axis: string, unit: string, scheme: Scheme): string {
  const xs = unique(points.map(({ x }) => x as number)).sort((a, b) => a - b);
  return draw({
    height: 440,
    marginLeft: 64,
    marginRight: 170,
    x: { type: 'log', base: 2, label: `${axis} →`, ticks: xs, tickFormat: (x: number) => String(x) },
    y: { type: 'log', grid: true, ticks: decades(points), label: `↑ ${unit}`, tickFormat: short },
    color: scheme,
    marks: [
      Plot.areaY(points, { x: 'x', y1: 'min', y2: 'max', fill: 'subject', fillOpacity: 0.08 }),
      Plot.lineY(points, { x: 'x', y: 'value', stroke: 'subject', strokeWidth: 2 }),
      Plot.dot(points, { x: 'x', y: 'value', fill: 'subject', r: 3.5, title: 'label' }),
      Plot.text(spreadLabels(points), {
        x: 'x',
        y: 'y',
        text: 'subject',
        fill: 'subject',
        textAnchor: 'start',
        dx: 9,
        fontSize: 11,
        fontWeight: 600,
      }),
    ],
  });
}

/** Round figures for a logarithmic axis: 1, 2 and 5 of each power of ten, or the powers alone where there are many. */
function decades(points: readonly Point[]): number[] {
  const low = Math.floor(Math.log10(Math.min(...points.map(({ min }) => min))));
  const high = Math.ceil(Math.log10(Math.max(...points.map(({ max }) => max))));
  const steps = high - low > 3 ? [1] : [1, 2, 5];
  const all = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)).flatMap((power) =>
    steps.map((k) => k * power),
  );
  // A tick outside the data would be drawn into the margin, over the axis' label.
  return all.filter((tick) => points.some(({ min }) => min <= tick) && points.some(({ max }) => tick <= max));
}

function short(value: number): string {
  if (value >= 1e9) return `${value / 1e9} G`;
  if (value >= 1e6) return `${value / 1e6} M`;
  return value >= 1e3 ? `${value / 1e3} k` : String(value);
}

/** Names at the right end of their lines, moved apart where they would lie on each other. */
function spreadLabels(points: readonly Point[]): { subject: string; x: number; y: number }[] {
  const logs = points.flatMap(({ min, max }) => [Math.log10(min), Math.log10(max)]);
  const gap = (Math.max(...logs) - Math.min(...logs)) * 0.036;
  const end = Math.max(...points.map(({ x }) => x as number));
  const last = unique(points.map(({ subject }) => subject)).flatMap((subject) => {
    const own = points.filter((point) => point.subject === subject);
    const at = own.reduce((a, b) => ((a.x as number) > (b.x as number) ? a : b));
    return [{ subject, x: end, log: Math.log10(at.value) }];
  });
  last.sort((a, b) => a.log - b.log);
  for (let pass = 0; pass < 60; pass++) {
    for (let i = 1; i < last.length; i++) {
      const [low, high] = [last[i - 1], last[i]];
      if (low === undefined || high === undefined) continue;
      const overlap = gap - (high.log - low.log);
      if (overlap <= 0) continue;
      low.log -= overlap / 2;
      high.log += overlap / 2;
    }
  }
  return last.map(({ subject, x, log }) => ({ subject, x, y: 10 ** log }));
}

function dotPlot(points: readonly Point[], unit: string, scheme: Scheme): string {
  const rows = points.map((point) => ({ ...point, row: `${point.x} · ${point.subject}` }));
  return draw({
    height: 40 + 24 * rows.length,
    marginLeft: 190,
    marginRight: 90,
    x: {
      type: 'log',
      grid: true,
      ticks: decades(points),
      label: `${unit} →`,
      tickFormat: short,
      insetLeft: 20, // room for the first dot and for the figure behind the last one
      insetRight: 40,
    },
    y: { label: null, domain: rows.map(({ row }) => row) },
    color: scheme,
    marks: [
      Plot.ruleY(rows, { y: 'row', x1: 'min', x2: 'max', stroke: 'subject', strokeWidth: 5, strokeOpacity: 0.3 }),
      Plot.dot(rows, { y: 'row', x: 'value', fill: 'subject', r: 5, title: 'label' }),
      Plot.text(rows, {
        y: 'row',
        x: 'max',
        text: (d: Point) => formatValue(d.value, unit),
        textAnchor: 'start',
        dx: 9,
        fontSize: 11,
      }),
    ],
  });
}

/** Promises as head room: right of 1 is kept, left of it is missed. */
export function barsPlot(bars: readonly JudgedBar[]): string {
  const rows = bars.flatMap(({ bar, measured, verdict }) => {
    if (measured === undefined || measured === 0) return [];
    const kept = bar.baseline === undefined ? bar.must / measured : measured / bar.must;
    const room = Math.min(10, Math.max(0.1, kept)); // what is far off is far off
    const shown = bar.baseline === undefined ? digits(measured) : formatRatio(measured);
    return [{ name: `${bar.case}: ${bar.text}`, room, shown, verdict: verdict === 'missed' ? 'missed' : 'met' }];
  });
  if (rows.length === 0) return '';
  const least = Math.min(1, ...rows.map(({ room }) => room));
  const greatest = Math.max(1, ...rows.map(({ room }) => room));
  return draw({
    height: 50 + 21 * rows.length,
    marginLeft: 430,
    marginRight: 70,
    x: {
      type: 'log',
      grid: true,
      label: 'measured / promised →',
      tickFormat: (x: number) => `×${x}`,
      ticks: [0.1, 0.2, 0.5, 1, 2, 5, 10].filter((tick) => tick >= least && tick <= greatest),
      insetLeft: 12,
    },
    y: { label: null, domain: rows.map(({ name }) => name) },
    color: { domain: ['met', 'missed'], range: ['#2b8a3e', '#e03131'] },
    marks: [
      Plot.ruleX([1], { stroke: 'currentColor', strokeWidth: 1.5 }),
      Plot.ruleY(rows, { y: 'name', x1: 1, x2: 'room', stroke: 'verdict', strokeWidth: 6, strokeOpacity: 0.55 }),
      Plot.dot(rows, { y: 'name', x: 'room', fill: 'verdict', r: 5 }),
      Plot.text(rows, {
        y: 'name',
        x: (d: { room: number }) => Math.max(1, d.room),
        text: 'shown',
        textAnchor: 'start',
        dx: 10,
        fontSize: 11,
      }),
    ],
  });
}

/** Where the cores sat during the run. */
export function probesPlot({ probes, modeOf }: Circumstances): string {
  const points = probes.map((ns, at) => ({ at, ns, mode: modeOf(ns) }));
  return draw({
    height: 180,
    marginLeft: 64,
    x: { label: 'probe, in order of time →' },
    y: {
      type: 'log',
      grid: true,
      label: '↑ ns per round trip',
      ticks: [100, 200, 500, 1000, 2000],
      tickFormat: (y: number) => String(y),
      domain: [Math.min(100, ...probes), Math.max(1000, ...probes)],
    },
    color: { domain: ['near', 'far'], range: ['#1c7ed6', '#f08c00'], legend: true },
    marks: [Plot.dot(points, { x: 'at', y: 'ns', fill: 'mode', r: 1.5 })],
  });
}
