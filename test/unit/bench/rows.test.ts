// The arithmetic of the benchmarks: medians of ratios, near and far, bars.
import test from 'ava';
import { judge } from '../../../bench/src/harness/bars.ts';
import type { CaseSpec } from '../../../bench/src/harness/contract.ts';
import type { CaseResult, Sample } from '../../../bench/src/harness/measure.ts';
import { isMixed } from '../../../bench/src/harness/probe.ts';
import { caseRows, coreModes } from '../../../bench/src/harness/rows.ts';
import { median, quantile } from '../../../bench/src/harness/statistics.ts';
import { formatRatio, formatValue } from '../../../bench/src/harness/units.ts';

const subject = (name: string, baselines: string[]) => ({ name, run: { native: 'x', args: [] }, baselines });
const spec: CaseSpec = {
  name: 'c',
  title: 'c',
  unit: 'messages/s',
  metrics: { p99: 'ns' },
  group: 'g',
  x: 1,
  trialMs: 1,
  subjects: [subject('ours', ['theirs', 'own']), subject('theirs', []), subject('absent', ['theirs'])],
};
const sample = (value: number, more: Partial<Sample> = {}): Sample => ({
  value,
  metrics: {},
  bases: {},
  clean: true,
  coreNs: 130,
  ...more,
});
const result = (rounds: [ours: Sample, theirs: Sample][]): CaseResult => ({
  spec,
  rounds: rounds.map(
    ([ours, theirs]) =>
      new Map([
        ['ours', ours],
        ['theirs', theirs],
      ]),
  ),
  missing: new Map([['absent', 'no compiler']]),
  dropped: 0,
});
const near = coreModes([130, 135, 560]);

test('median and quantile pick the middle of what there is', (t) => {
  t.is(median([3, 1, 2]), 2);
  t.is(median([4, 1, 2, 3]), 2.5);
  t.is(median([]), undefined);
  t.is(quantile([5, 1, 9], 0), 1);
});

test('caseRows takes the median of the rounds own ratios, not the ratio of medians', (t) => {
  const rows = caseRows(
    's',
    result([
      [sample(10), sample(20)],
      [sample(20), sample(80)],
      [sample(40), sample(40)],
    ]),
    near,
  );
  const row = rows.find(({ row: { subject: name, baseline } }) => name === 'ours' && baseline === 'theirs')?.row;
  t.is(row?.ratio, 2);
  t.is(row?.median, 1e9 / 20);
  t.is(row?.n, 3);
});

test('caseRows compares with a base that the subject measured itself', (t) => {
  const rows = caseRows('s', result([[sample(10, { bases: { own: 30 } }), sample(20)]]), near);
  t.is(rows.find(({ row }) => row.baseline === 'own')?.row.ratio, 3);
});

test('caseRows leaves disturbed and far samples out while enough others are there', (t) => {
  const good = Array.from({ length: 5 }, (): [Sample, Sample] => [sample(10), sample(20)]);
  const disturbed: [Sample, Sample] = [sample(1000, { clean: false }), sample(20)];
  const far: [Sample, Sample] = [sample(30, { coreNs: 560 }), sample(60, { coreNs: 560 })];
  const rows = caseRows('s', result([...good, disturbed, far]), near);
  const row = rows.find(({ row: { subject: name } }) => name === 'ours');
  t.is(row?.row.n, 5);
  t.is(row?.row.max, 1e8);
  t.false(row?.noisy);
});

test('caseRows says why a subject was not measured', (t) => {
  const rows = caseRows('s', result([[sample(10), sample(20)]]), near);
  const row = rows.find(({ row: { subject: name } }) => name === 'absent');
  t.is(row?.missing, 'no compiler');
  t.deepEqual([row?.row.median, row?.row.n, row?.row.ratio], [null, 0, null]);
});

test('caseRows gives metrics rows of their own, less being better', (t) => {
  const rows = caseRows(
    's',
    result([[sample(10, { metrics: { p99: 50 } }), sample(20, { metrics: { p99: 200 } })]]),
    near,
  );
  const row = rows.find(({ row: one }) => one.case === 'c.p99' && one.subject === 'ours')?.row;
  t.deepEqual([row?.unit, row?.median, row?.ratio], ['ns', 50, 4]);
});

test('judge meets a bar on a ratio from above and a bar on a count from below', (t) => {
  const rows = caseRows(
    's',
    result([[sample(10, { metrics: { p99: 50 } }), sample(20, { metrics: { p99: 200 } })]]),
    near,
  );
  const ratio = (must: number, aim?: number) => ({
    case: 'c',
    subject: 'ours',
    baseline: 'theirs',
    must,
    text: '',
    ...(aim === undefined ? {} : { aim }),
  });
  const verdicts = judge(
    [
      ratio(1.5),
      ratio(2.5),
      ratio(1.5, 1.9),
      { case: 'c.p99', subject: 'ours', must: 60, text: '' },
      { case: 'c.p99', subject: 'ours', must: 40, text: '' },
      { case: 'c', subject: 'absent', baseline: 'theirs', must: 1, text: '' },
      { case: 'other', subject: 'ours', must: 1, text: '' },
    ],
    rows,
  );
  t.deepEqual(
    verdicts.map(({ verdict }) => verdict),
    ['met', 'missed', 'aim', 'met', 'missed', 'not measured'],
  );
});

test('isMixed notices cores that moved between two probes', (t) => {
  t.false(isMixed(130, 145));
  t.true(isMixed(130, 560));
});

test('figures are written for people', (t) => {
  t.is(formatValue(67_300, 'ns'), '67.3 µs');
  t.is(formatValue(121_000_000, 'messages/s'), '121 M messages/s');
  t.is(formatRatio(0.456), '×0.46');
  t.is(formatRatio(1234), '×1 234');
});
