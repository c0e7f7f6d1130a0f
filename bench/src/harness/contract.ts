// The words of the harness: suite, case, subject, trial. A new benchmark needs to know this file and nothing else.

/** Plain values handed to a subject's process; they travel as JSON. */
export type Params = Readonly<Record<string, string | number | boolean>>;

/** What one trial measured. */
export interface Trial {
  /** Nanoseconds per operation; a unit that ends in `/s` shows the inverse. */
  readonly value: number;
  /** Further measures of the same trial, by name, in the unit that the case declares. Always "less is better". */
  readonly metrics?: Readonly<Record<string, number>>;
  /** Nanoseconds per operation of baselines measured by the subject itself, next to the trial, by baseline name. */
  readonly bases?: Readonly<Record<string, number>>;
  /** `false` if the subject knows that something disturbed the trial. Involuntary context switches are seen anyway. */
  readonly clean?: boolean;
}

/** A subject set up in its process, ready for trials. */
export interface OpenSubject {
  /** Run `operations` operations and say what they took. Called many times, never concurrently. */
  trial(operations: number): Trial | Promise<Trial>;
  /** Release what would keep the process alive. */
  close?(): void | Promise<void>;
}

/** What a subject's module exports; it is imported in a process of its own. */
export interface SubjectModule {
  /** Set up the subject: threads, buffers, files. Nothing here is timed. */
  open(params: Params): OpenSubject | Promise<OpenSubject>;
}

/** One implementation measured in a case. */
export interface SubjectSpec {
  /** Stable name: `fixed`, `xen`, `native`, `postMessage`. */
  readonly name: string;
  /** A JavaScript module, or a program compiled from `bench/native/<native>/*.cc`. */
  readonly run:
    | { readonly module: string; readonly params: Params }
    | { readonly native: string; readonly args: readonly string[] };
  /** Names of subjects of the same case, or of `bases` that its trials return. One row of results for each. */
  readonly baselines: readonly string[];
  /** `true`: measured for comparison only; drawn in a quiet colour. */
  readonly isPeer?: boolean;
  /** `true`: its own threads outnumber the cores (a collector beside two that work), so being switched out is part of it. */
  readonly isCrowded?: boolean;
  /** Why it cannot run here (a Node version, a missing tool); it then shows as "not measured". */
  readonly unavailable?: string;
}

/** A question with one measure and several answers. */
export interface CaseSpec {
  /** Stable name: `oneway-112`. */
  readonly name: string;
  /** The same for people: "one-way messages of 112 B". */
  readonly title: string;
  /** Unit of `Trial.value` as it is reported: `ns`, or a rate such as `messages/s`. */
  readonly unit: string;
  /** Units of the further metrics, by name. */
  readonly metrics?: Readonly<Record<string, string>>;
  /** Cases of one group share a plot, at position `x`. */
  readonly group: string;
  /** Position in the plot of the group: bytes, depth, guests, or a word. */
  readonly x: number | string;
  /** Length of one trial. The harness finds the number of operations that takes about so long. */
  readonly trialMs: number;
  /** `true`: its subjects have more threads than there are cores, so being switched out disturbs nothing. */
  readonly isCrowded?: boolean;
  /** `true`: left out of quick runs. */
  readonly isFullOnly?: boolean;
  /** Sets of processes in a full run, at least 16 rounds in all; `1`: one set, and the rounds of that. Default: as the plan has it. */
  readonly generations?: 1 | 2;
  /** Subjects in the order of the table. */
  readonly subjects: readonly SubjectSpec[];
}

/** A promise about a ratio (or, where no baseline is named, about the measure itself). */
export interface Bar {
  /** Case name, with `.metric` where the promise is about a metric. */
  readonly case: string;
  /** Subject name. */
  readonly subject: string;
  /** Baseline name; absent for a bar on the measure itself. */
  readonly baseline?: string;
  /** With a baseline: least ratio. Without: greatest value. */
  readonly must: number;
  /** The same, as it is hoped for. */
  readonly aim?: number;
  /** The promise as people say it: "time ≤ 2.2× native". */
  readonly text: string;
}

/** All benchmarks of one part of the project. */
export interface Suite {
  /** Stable name, the argument of `npm run bench -- NAME`. */
  readonly name: string;
  /** The question that the suite answers. */
  readonly title: string;
  /** How the x positions of each group are named in plots, by group. */
  readonly axes: Readonly<Record<string, string>>;
  /** What is measured; asked once per run. */
  cases(): readonly CaseSpec[];
  /** What is promised. */
  readonly bars: readonly Bar[];
}

/** One line of results, the form of `--json`. Every benchmark of this repository writes it. */
export interface Row {
  readonly suite: string;
  readonly case: string;
  readonly subject: string;
  readonly unit: string;
  /** Median of the samples; `null` means not measured. */
  readonly median: number | null;
  readonly min: number | null;
  readonly max: number | null;
  /** Number of samples behind the median. */
  readonly n: number;
  readonly baseline: string | null;
  /** How many times better than the baseline the subject is: above 1 is better, for times and rates alike. */
  readonly ratio: number | null;
}
