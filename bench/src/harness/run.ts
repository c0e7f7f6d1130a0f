// One run: measure the chosen cases, print them, write JSON and report.
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { dirname } from 'node:path';
import process from 'node:process';
import type { CaseSpec, Suite } from './contract.ts';
import { type CaseResult, measureCase, type Plan } from './measure.ts';
import { LatencyProbe } from './probe.ts';
import { Progress } from './progress.ts';
import { caseRows, coreModes, type DetailedRow } from './rows.ts';
import { quantile } from './statistics.ts';
import { caseTable } from './table.ts';

/** What a run is asked for. */
export interface RunOptions {
  readonly suites: readonly Suite[];
  readonly quick: boolean;
  readonly bars: boolean;
  readonly casePattern: RegExp;
  readonly subjectPattern: RegExp;
  readonly html: string;
  readonly rounds?: number;
  readonly json?: string;
}

const FULL: Plan = { generations: 3, rounds: 7, warmups: 12, trials: 5, tries: 4, idleWaitMs: 40 };
const QUICK: Plan = { generations: 1, rounds: 5, warmups: 10, trials: 3, tries: 2, idleWaitMs: 6 };

interface Measured {
  readonly suite: Suite;
  readonly result: CaseResult;
}

/** Run it; the exit code. */
export async function run(options: RunOptions): Promise<number> {
  const base = options.quick ? QUICK : FULL;
  const plan = options.rounds === undefined ? base : { ...base, rounds: options.rounds };
  const todo = options.suites.flatMap((suite) => suite.cases().flatMap((spec) => chosen(suite, spec, options)));
  if (todo.length === 0) {
    console.error('No case matches; npm run bench -- --list names them');
    return 2;
  }
  const started = Date.now();
  const progress = new Progress();
  const probe = await LatencyProbe.start();
  const measured: Measured[] = [];
  const rowsSoFar: DetailedRow[] = [];
  const isShort = plan.rounds * plan.generations < 5;
  try {
    for (const [at, { suite, spec }] of todo.entries()) {
      const label = `[${at + 1}/${todo.length}] ${suite.name} ${spec.name}`;
      const total = plan.rounds * plan.generations;
      const result = await measureCase(spec, plan, probe, ({ generation, round, subject, coreNs }) => {
        const done = generation * plan.rounds + round + 1;
        const where = coreNs === 0 ? 'warming up' : `cores ${Math.round(coreNs)} ns apart`;
        progress.update(`${label} · round ${done}/${total} · ${subject} · ${where}`);
      });
      progress.line(`${label}: ${result.rounds.length} rounds, ${result.dropped} disturbed samples taken again`);
      measured.push({ suite, result });
    }
  } finally {
    progress.clear();
    await probe.stop();
  }
  const modeOf = coreModes(probe.history);
  for (const { suite, result } of measured) {
    const rows = caseRows(suite.name, result, modeOf);
    rowsSoFar.push(...rows);
    console.log(caseTable(`${suite.name} ${result.spec.name}: ${result.spec.title}`, rows));
  }
  console.log(footer(probe, modeOf, isShort, (Date.now() - started) / 1000));
  if (options.json !== undefined) {
    writeFileSync(
      options.json,
      `${JSON.stringify(
        rowsSoFar.map(({ row }) => row),
        null,
        1,
      )}\n`,
    );
  }
  mkdirSync(dirname(options.html), { recursive: true });
  return 0;
}

/** A case with the subjects that were asked for, and the baselines of those. */
function chosen(suite: Suite, spec: CaseSpec, { casePattern, subjectPattern }: RunOptions) {
  if (!casePattern.test(spec.name)) return [];
  const wanted = spec.subjects.filter(({ name }) => subjectPattern.test(name));
  const needed = new Set(wanted.flatMap(({ name, baselines }) => [name, ...baselines]));
  const subjects = spec.subjects.filter(({ name }) => needed.has(name));
  return wanted.length === 0 ? [] : [{ suite, spec: { ...spec, subjects } }];
}

function footer(
  probe: LatencyProbe,
  modeOf: (ns: number) => 'near' | 'far',
  isShort: boolean,
  seconds: number,
): string {
  const near = probe.history.filter((ns) => modeOf(ns) === 'near').length;
  const share = Math.round((100 * near) / Math.max(1, probe.history.length));
  const at = (fraction: number) => Math.round(quantile(probe.history, fraction) ?? 0);
  return [
    `Node ${process.versions.node}, ${availableParallelism()} × ${cpus()[0]?.model ?? process.arch}, ${seconds.toFixed(0)} s.`,
    `Core to core (${probe.kind} probe): ${at(0.1)} … ${at(0.9)} ns, near in ${share} % of ${probe.history.length} probes.`,
    `×: times better than the baseline (above 1 is better), median of the rounds' own ratios. ~: too few undisturbed samples.`,
    ...(isShort ? ['Fewer than 5 samples a row: a look, not a measurement.'] : []),
  ].join('\n');
}
