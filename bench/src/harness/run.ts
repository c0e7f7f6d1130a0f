// One run: measure the chosen cases, print them, write JSON and report.
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import process from 'node:process';
import { barTable, judge } from './bars.ts';
import type { CaseSpec, Suite } from './contract.ts';
import { type CaseResult, measureCase, type Plan } from './measure.ts';
import type { Circumstances, Outcome } from './outcome.ts';
import { LatencyProbe } from './probe.ts';
import { Progress } from './progress.ts';
import { writeReport } from './report/report.ts';
import { caseRows, coreModes } from './rows.ts';
import { quantile } from './statistics.ts';
import { killAllSubjects } from './subject-process.ts';
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
const QUICK: Plan = { generations: 1, rounds: 5, warmups: 10, trials: 3, tries: 3, idleWaitMs: 6 };
/** A quick run behind this schedule takes samples as they come, so that it ends in time on a busy machine too. */
const QUICK_MS = 22_000;

interface Todo {
  readonly suite: Suite;
  readonly spec: CaseSpec;
}

/** Run it; the exit code. */
export async function run(options: RunOptions): Promise<number> {
  const todo = options.suites.flatMap((suite) => suite.cases().flatMap((spec) => chosen(suite, spec, options)));
  if (todo.length === 0) {
    console.error('No case matches; npm run bench -- --list names them');
    return 2;
  }
  stopSubjectsAtExit();
  const base = options.quick ? QUICK : FULL;
  const plan = options.rounds === undefined ? base : { ...base, rounds: options.rounds };
  const started = Date.now();
  const probe = await LatencyProbe.start();
  const results = new Map<Todo, CaseResult>();
  try {
    await measureAll(todo, plan, options.quick, probe, results);
  } finally {
    await probe.stop();
  }
  const outcome = conclude(options.suites, results, {
    node: process.versions.node,
    machine: cpus()[0]?.model.trim() ?? process.arch,
    cores: availableParallelism(),
    seconds: (Date.now() - started) / 1000,
    rounds: plan.rounds,
    generations: plan.generations,
    probeKind: probe.kind,
    probes: probe.history,
    modeOf: coreModes(probe.history),
  });
  await publish(outcome, options);
  return 0;
}

async function measureAll(
  todo: readonly Todo[],
  plan: Plan,
  isQuick: boolean,
  probe: LatencyProbe,
  results: Map<Todo, CaseResult>,
): Promise<void> {
  const progress = new Progress();
  const total = plan.rounds * plan.generations;
  const started = Date.now();
  for (const [at, item] of todo.entries()) {
    const { suite, spec } = item;
    const label = `[${at + 1}/${todo.length}] ${suite.name} ${spec.name}`;
    const pace = isQuick ? hurried(plan, Date.now() - started - (QUICK_MS * at) / todo.length) : fitted(plan, spec);
    const result = await measureCase(spec, pace, probe, ({ generation, round, subject, coreNs }) => {
      const done = generation * plan.rounds + round + 1;
      const where = coreNs === 0 ? 'warming up' : `cores ${Math.round(coreNs)} ns apart`;
      progress.update(`${label} · round ${done}/${total} · ${subject} · ${where}`);
    });
    progress.line(`${label}: ${result.rounds.length} rounds, ${result.dropped} disturbed samples taken again`);
    results.set(item, result);
  }
  progress.clear();
}

/** What is left out of a plan that is `lateMs` behind: other tries first, then length. Samples stay five. */
function hurried(plan: Plan, lateMs: number): Plan {
  if (lateMs < 1500) return plan;
  const quicker = { ...plan, tries: 1, idleWaitMs: 0 };
  return lateMs < 4000 ? quicker : { ...quicker, trials: 1, warmups: 5 };
}

/** Costly cases, and those behind which no bar stands, start fewer sets of processes. */
function fitted(plan: Plan, { generations }: CaseSpec): Plan {
  if (generations === undefined || generations >= plan.generations) return plan;
  return { ...plan, generations, rounds: generations === 1 ? plan.rounds : plan.rounds + 1 };
}

function conclude(suites: readonly Suite[], results: Map<Todo, CaseResult>, circumstances: Circumstances): Outcome {
  return {
    circumstances,
    suites: suites.flatMap((suite) => {
      const cases = [...results].flatMap(([item, result]) => {
        if (item.suite !== suite) return [];
        return [
          { spec: result.spec, rows: caseRows(suite.name, result, circumstances.modeOf), dropped: result.dropped },
        ];
      });
      if (cases.length === 0) return [];
      const rows = cases.flatMap((one) => one.rows);
      return [{ suite, cases, bars: judge(suite.bars, rows) }];
    }),
  };
}

/** Tables to stdout, rows to the JSON file, the report to its file. */
async function publish(outcome: Outcome, options: RunOptions): Promise<void> {
  for (const { suite, cases, bars } of outcome.suites) {
    for (const { spec, rows } of cases) console.log(caseTable(`${suite.name} ${spec.name}: ${spec.title}`, rows));
    if (options.bars) console.log(`${barTable(bars)}\n`);
  }
  console.log(footer(outcome.circumstances));
  if (options.json !== undefined) {
    const rows = outcome.suites.flatMap(({ cases }) => cases.flatMap((one) => one.rows.map(({ row }) => row)));
    writeFileSync(options.json, `${JSON.stringify(rows, null, 1)}\n`);
  }
  await writeReport(options.html, outcome);
  console.log(`Report: ${options.html}`);
}

/** A case with the subjects that were asked for, and the baselines of those. */
function chosen(suite: Suite, spec: CaseSpec, { casePattern, subjectPattern, quick }: RunOptions): Todo[] {
  if (!casePattern.test(spec.name) || (quick && spec.isFullOnly === true)) return [];
  const wanted = spec.subjects.filter(({ name }) => subjectPattern.test(name));
  const needed = new Set(wanted.flatMap(({ name, baselines }) => [name, ...baselines]));
  const subjects = spec.subjects.filter(({ name }) => needed.has(name));
  return wanted.length === 0 ? [] : [{ suite, spec: { ...spec, subjects } }];
}

function footer({
  node,
  machine,
  cores,
  seconds,
  probes,
  probeKind,
  modeOf,
  rounds,
  generations,
}: Circumstances): string {
  const near = probes.filter((ns) => modeOf(ns) === 'near').length;
  const share = Math.round((100 * near) / Math.max(1, probes.length));
  const at = (fraction: number) => Math.round(quantile(probes, fraction) ?? 0);
  return [
    `Node ${node}, ${cores} × ${machine}, ${seconds.toFixed(0)} s.`,
    `Core to core (${probeKind} probe): ${at(0.1)} … ${at(0.9)} ns, near in ${share} % of ${probes.length} probes.`,
    `×: times better than the baseline (above 1 is better), median of the rounds' own ratios. ~: too few undisturbed samples.`,
    ...(rounds * generations < 5 ? ['Fewer than 5 samples a row: a look, not a measurement.'] : []),
  ].join('\n');
}

/** A subject that spins does not see its driver go: take it along. */
function stopSubjectsAtExit(): void {
  process.on('exit', killAllSubjects);
  process.once('SIGINT', () => process.exit(130));
  process.once('SIGTERM', () => process.exit(143));
}
