// Measuring one case: its subjects side by side, in rounds, sample by sample.
import { readFileSync } from 'node:fs';
import type { CaseSpec, SubjectSpec } from './contract.ts';
import { isMixed, type LatencyProbe } from './probe.ts';
import { median } from './statistics.ts';
import { SubjectError, SubjectProcess, type TimedTrial } from './subject-process.ts';

/** How long and how often to measure. */
export interface Plan {
  /** Sets of processes for each case: code is compiled anew in each, and not always alike. */
  readonly generations: number;
  /** Rounds per generation; each gives one sample of every subject. */
  readonly rounds: number;
  /** Trials before the first sample. */
  readonly warmups: number;
  /** Trials in a sample; their median is the sample. */
  readonly trials: number;
  /** Tries to get a sample that nothing disturbed. */
  readonly tries: number;
  /** Longest wait for an idle core before a sample, in ms. */
  readonly idleWaitMs: number;
}

/** One sample: the median trial of a subject in a round. */
export interface Sample {
  readonly value: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly bases: Readonly<Record<string, number>>;
  /** Nothing else ran on the cores, and they did not move. */
  readonly clean: boolean;
  /** Core-to-core round trip around the sample, in ns. */
  readonly coreNs: number;
}

/** What a case gave: rounds of samples by subject, and why subjects are missing. */
export interface CaseResult {
  readonly spec: CaseSpec;
  readonly rounds: readonly ReadonlyMap<string, Sample>[];
  readonly missing: ReadonlyMap<string, string>;
  /** Samples thrown away because something disturbed them. */
  readonly dropped: number;
}

/** Told while measuring: which subject of which round. */
export type OnStep = (step: { generation: number; round: number; subject: string; coreNs: number }) => void;

interface Runner {
  readonly spec: SubjectSpec;
  readonly process: SubjectProcess;
  operations: number;
  /** Samples in a row that no try has got undisturbed. */
  spoiled: number;
}

/** After so many of those a machine is as it is: samples are taken as they come, until one is undisturbed. */
const GIVEN_UP = 2;

/** Measure a case. Subjects that fail are left out and named in `missing`. */
export async function measureCase(
  spec: CaseSpec,
  plan: Plan,
  probe: LatencyProbe,
  onStep: OnStep,
): Promise<CaseResult> {
  const rounds: Map<string, Sample>[] = [];
  const missing = new Map<string, string>();
  const counters = { dropped: 0 };
  for (let generation = 0; generation < plan.generations; generation++) {
    const runners = await startAll(spec, missing);
    try {
      for (const runner of runners) {
        onStep({ generation, round: -1, subject: runner.spec.name, coreNs: 0 });
        await guarded(runner, missing, () => warmUp(runner, spec.trialMs, plan.warmups));
      }
      for (let round = 0; round < plan.rounds; round++) {
        const samples = new Map<string, Sample>();
        for (const runner of rotated(runners, round)) {
          if (missing.has(runner.spec.name)) continue;
          const sample = await guarded(runner, missing, () =>
            takeSample(runner, plan, probe, counters, (spec.isCrowded ?? runner.spec.isCrowded) === true),
          );
          if (sample === undefined) continue;
          samples.set(runner.spec.name, sample);
          onStep({ generation, round, subject: runner.spec.name, coreNs: sample.coreNs });
        }
        rounds.push(samples);
      }
    } finally {
      await Promise.all(runners.map((runner) => runner.process.stop()));
    }
  }
  return { spec, rounds, missing, dropped: counters.dropped };
}

async function startAll(spec: CaseSpec, missing: Map<string, string>): Promise<Runner[]> {
  const runners: Runner[] = [];
  const start = async (subject: SubjectSpec) => {
    try {
      runners.push({ spec: subject, process: await SubjectProcess.start(subject), operations: 4, spoiled: 0 });
    } catch (error) {
      if (!(error instanceof SubjectError)) throw error;
      missing.set(subject.name, error.message);
    }
  };
  await Promise.all(spec.subjects.filter((subject) => !missing.has(subject.name)).map(start));
  const order = spec.subjects.map((subject) => subject.name);
  return runners.sort((a, b) => order.indexOf(a.spec.name) - order.indexOf(b.spec.name));
}

/** Run `work`; a subject that fails in it is out of the case from now on. */
async function guarded<T>(
  runner: Runner,
  missing: Map<string, string>,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SubjectError)) throw error;
    missing.set(runner.spec.name, error.message);
    return undefined;
  }
}

/** Compile what the engine wants to compile, and find the number of operations that takes about `trialMs`. */
async function warmUp(runner: Runner, trialMs: number, warmups: number): Promise<void> {
  let spentMs = 0;
  for (let i = 0; i < warmups || (i < 4 * warmups && spentMs < (warmups * trialMs) / 2); i++) {
    const { value, elapsedMs } = await runner.process.trial(runner.operations);
    spentMs += elapsedMs;
    const timedMs = (value * runner.operations) / 1e6;
    const scale = Math.min(8, Math.max(1 / 8, trialMs / Math.max(timedMs, 0.001)));
    runner.operations = Math.max(1, Math.round(runner.operations * scale));
  }
}

async function takeSample(
  runner: Runner,
  plan: Plan,
  probe: LatencyProbe,
  counters: { dropped: number },
  isCrowded: boolean,
): Promise<Sample> {
  let best: { trials: TimedTrial[]; coreNs: number; clean: boolean } | undefined;
  const most = runner.spoiled < GIVEN_UP ? plan.tries : 1;
  for (let tries = 0; tries < most && best?.clean !== true; tries++) {
    if (best !== undefined) counters.dropped += 1;
    await idleCore(plan.idleWaitMs);
    const before = await probe.measure();
    const trials: TimedTrial[] = [];
    for (let i = 0; i < plan.trials; i++) trials.push(await runner.process.trial(runner.operations));
    const after = await probe.measure();
    const undisturbed = trials.filter((trial) => trial.clean || isCrowded);
    const clean = undisturbed.length * 2 > plan.trials && !isMixed(before, after);
    const candidate = { trials: undisturbed.length > 0 ? undisturbed : trials, coreNs: (before + after) / 2, clean };
    if (best === undefined || clean) best = candidate;
  }
  if (best === undefined) throw new RangeError('A plan needs at least one try');
  const { trials, coreNs, clean } = best;
  runner.spoiled = clean ? 0 : runner.spoiled + 1;
  return {
    value: median(trials.map((trial) => trial.value)) ?? Number.NaN,
    metrics: medians(trials.map((trial) => trial.metrics ?? {})),
    bases: medians(trials.map((trial) => trial.bases ?? {})),
    clean,
    coreNs,
  };
}

function medians(records: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const result: Record<string, number> = {};
  for (const name of new Set(records.flatMap((record) => Object.keys(record)))) {
    const values = records.flatMap((record) => (record[name] === undefined ? [] : [record[name]]));
    result[name] = median(values) ?? Number.NaN;
  }
  return result;
}

/** Another order in each round, so that no subject always follows the same one. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const at = items.length === 0 ? 0 : by % items.length;
  const turned = [...items.slice(at), ...items.slice(0, at)];
  return by % 2 === 0 ? turned : turned.reverse();
}

/** Wait, at most `limitMs`, until nothing else wants a core (Linux; elsewhere at once). */
async function idleCore(limitMs: number): Promise<void> {
  for (let waited = 0; waited < limitMs; waited += 2) {
    try {
      const running = Number(/ (\d+)\/\d+ /.exec(readFileSync('/proc/loadavg', 'latin1'))?.[1]);
      if (running <= 1) return;
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
