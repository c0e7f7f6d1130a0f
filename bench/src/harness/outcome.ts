// Everything that a run found out: what tables, JSON and report are made from.
import type { JudgedBar } from './bars.ts';
import type { CaseSpec, Suite } from './contract.ts';
import type { CoreMode, DetailedRow } from './rows.ts';

/** Results of a case. */
export interface CaseOutcome {
  readonly spec: CaseSpec;
  readonly rows: readonly DetailedRow[];
  /** Samples that were disturbed and taken again. */
  readonly dropped: number;
}

/** Results of a suite. */
export interface SuiteOutcome {
  readonly suite: Suite;
  readonly cases: readonly CaseOutcome[];
  readonly bars: readonly JudgedBar[];
}

/** Where and how it was measured. */
export interface Circumstances {
  readonly node: string;
  readonly machine: string;
  readonly cores: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly generations: number;
  readonly probeKind: 'native' | 'JavaScript';
  /** All core-to-core probes in order, in ns. */
  readonly probes: readonly number[];
  readonly modeOf: (coreNs: number) => CoreMode;
}

/** Results of a run. */
export interface Outcome {
  readonly suites: readonly SuiteOutcome[];
  readonly circumstances: Circumstances;
}
