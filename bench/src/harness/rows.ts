// From rounds of samples to rows of results.
import type { CaseSpec, Row } from './contract.ts';
import type { CaseResult, Sample } from './measure.ts';
import { quantile, type Spread, spread } from './statistics.ts';
import { fromNanoseconds, isRate } from './units.ts';

/** A row, and what the fixed form of a row leaves out. */
export interface DetailedRow {
  readonly row: Row;
  /** Case without the metric. */
  readonly caseName: string;
  /** Metric name; absent for the case's own measure. */
  readonly metric?: string;
  /** All ratios, one per round. */
  readonly ratios: Spread | undefined;
  /** Why nothing was measured. */
  readonly missing?: string;
  /** True where too few undisturbed samples were had, so that disturbed ones had to count. */
  readonly noisy: boolean;
}

/** Near: the cores share a cache. Far: they do not. See probe.ts. */
export type CoreMode = 'near' | 'far';

/** A sample whose probes took more than this many times the fastest ones was taken on far cores. */
const FAR = 1.8;

/** Sort samples into near and far, given all probes of a run. */
export function coreModes(probes: readonly number[]): (coreNs: number) => CoreMode {
  const floor = quantile(probes, 0.02) ?? 0;
  return (coreNs) => (coreNs > FAR * floor ? 'far' : 'near');
}

/** Results of one case in rows: one for each subject, metric and baseline. */
export function caseRows(suite: string, result: CaseResult, modeOf: (coreNs: number) => CoreMode): DetailedRow[] {
  const { spec } = result;
  const names = [undefined, ...Object.keys(spec.metrics ?? {})];
  return spec.subjects.flatMap((subject) => {
    const { samples, noisy } = choose(result, subject.name, modeOf);
    const baselines = subject.baselines.length === 0 ? [null] : subject.baselines;
    return names.flatMap((metric) => {
      const values = samples.flatMap(({ sample }) => present(measure(spec, sample, metric)));
      if (metric !== undefined && values.length === 0) return []; // this subject has no such metric
      const all = spread(values);
      return baselines.flatMap((baseline) => {
        const ratios = baseline === null ? undefined : ratiosTo(spec, samples, baseline, metric);
        if (metric !== undefined && baseline !== null && ratios === undefined && baseline !== subject.baselines[0])
          return [];
        const row: Row = {
          suite,
          case: metric === undefined ? spec.name : `${spec.name}.${metric}`,
          subject: subject.name,
          unit: metric === undefined ? spec.unit : (spec.metrics?.[metric] ?? ''),
          median: all?.median ?? null,
          min: all?.min ?? null,
          max: all?.max ?? null,
          n: all?.n ?? 0,
          baseline,
          ratio: ratios?.median ?? null,
        };
        const missing = result.missing.get(subject.name);
        return [
          {
            row,
            caseName: spec.name,
            ratios,
            noisy,
            ...(metric === undefined ? {} : { metric }),
            ...(missing === undefined ? {} : { missing }),
          },
        ];
      });
    });
  });
}

interface Chosen {
  readonly sample: Sample;
  readonly round: ReadonlyMap<string, Sample>;
}

/** The least number of undisturbed samples that a row needs before disturbed ones are left out. */
const ENOUGH = 5;

/** Samples of one subject: undisturbed, and of the one core mode of which there are most (near, if in doubt). */
function choose(result: CaseResult, subject: string, modeOf: (coreNs: number) => CoreMode) {
  const all = result.rounds.flatMap((round): Chosen[] => {
    const sample = round.get(subject);
    return sample === undefined ? [] : [{ sample, round }];
  });
  const everything = result.rounds.flatMap((round) => [...round.values()]);
  const near = everything.filter((sample) => modeOf(sample.coreNs) === 'near').length;
  const mode: CoreMode = near * 2 >= everything.length ? 'near' : 'far';
  const ofMode = all.filter(({ sample }) => modeOf(sample.coreNs) === mode);
  const clean = ofMode.filter(({ sample }) => sample.clean);
  if (clean.length >= Math.min(ENOUGH, all.length)) return { samples: clean, noisy: false };
  return { samples: ofMode.length >= ENOUGH ? ofMode : all, noisy: true };
}

function measure(spec: CaseSpec, sample: Sample, metric: string | undefined): number | undefined {
  return metric === undefined ? fromNanoseconds(spec.unit, sample.value) : sample.metrics[metric];
}

/** Ratio of each round: subject against baseline, measured moments apart, on cores in the same place. */
function ratiosTo(spec: CaseSpec, samples: readonly Chosen[], baseline: string, metric: string | undefined) {
  return spread(
    samples.flatMap(({ sample, round }) => {
      const own = measure(spec, sample, metric);
      const base = metric === undefined ? sample.bases[baseline] : undefined;
      if (own !== undefined && base !== undefined) return [base / sample.value];
      const other = round.get(baseline);
      if (other === undefined || own === undefined) return [];
      const theirs = measure(spec, other, metric);
      if (theirs === undefined || own === 0 || theirs === 0) return [];
      if (Math.max(sample.coreNs, other.coreNs) > FAR * Math.min(sample.coreNs, other.coreNs)) return [];
      return [metric === undefined && isRate(spec.unit) ? own / theirs : theirs / own];
    }),
  );
}

function present(value: number | undefined): number[] {
  return value === undefined || Number.isNaN(value) ? [] : [value];
}
