// Try every interleaving of two or more ends at every access to shared memory, on the shipped code.
//
// There are no coroutines here. An end is a deterministic program: its private state is a function of what it read. So
// an end is advanced by running it from its start with the results of its past accesses replayed, letting one more access
// happen on the real memory, and stopping it by an exception at the next one. States met before (same memory, same pasts)
// are not explored again, which makes small configurations exhaustive. Between any two accesses an end may be killed.
import { type Monitor, setMonitor } from './access.ts';
import { type EndProgram, EndRun, type EndState, type Move, type Probe, startState } from './end-run.ts';
import { observe } from './monitor.ts';
import { SharedImage } from './shared-image.ts';

export type { EndProgram, Probe };

/** What to explore. */
export interface Scenario<W> {
  /** Make the shared memory in its first state; called once, not observed. */
  readonly setup: () => { readonly buffers: readonly SharedArrayBuffer[]; readonly world: W };
  /** The ends; each builds its objects anew from `world`. */
  readonly ends: readonly EndProgram<W>[];
  /** Judge a run that came to rest (every end done, dead, or asleep): what is wrong, or undefined. */
  readonly check: (outcome: Outcome<W>) => string | undefined;
  /** Judge every single state, if wanted. */
  readonly invariant?: (world: W) => string | undefined;
  /** Context switches away from an end that could go on; unbounded (exhaustive) by default. */
  readonly preemptions?: number;
  /** Ends that may be killed in one run; 0 by default. */
  readonly kills?: number;
  /** Whether a finite `Atomics.wait` may time out; by default it may not, so that a lost wake-up shows. */
  readonly timeouts?: boolean;
  /** Let plain stores wait in a store buffer, as x86 does, until an atomic store, an atomic update, or chance. */
  readonly weakStores?: boolean;
  /** Give up (incomplete) after this many states; 400 000 by default. */
  readonly maxStates?: number;
}

/** How a run ended. */
export interface Outcome<W> {
  readonly world: W;
  /** By name of the end. */
  readonly ends: Readonly<Record<string, EndOutcome>>;
}

/** How one end came to rest. */
export interface EndOutcome {
  readonly status: 'done' | 'asleep' | 'dead' | 'waiting to start';
  /** What it reported through `probe.report`, in order. */
  readonly reports: readonly unknown[];
}

/** What was found. */
export interface Exploration {
  /** Different states met. */
  readonly states: number;
  /** Runs that came to rest in different states. */
  readonly rests: number;
  /** `false` if `maxStates` cut it short. */
  readonly isComplete: boolean;
  /** The first violation found, and the schedule that leads there, a line per step. */
  readonly violation: { readonly message: string; readonly schedule: readonly string[] } | undefined;
}

interface Node {
  readonly ends: readonly EndState[];
  readonly last: number;
  readonly preemptionsLeft: number;
  readonly killsLeft: number;
}

class Violation extends Error {}

/** Explore `scenario` and report. Throws only if an end is not deterministic. */
export function explore<W>(scenario: Scenario<W>): Exploration {
  const { buffers, world } = scenario.setup();
  const explorer = new Explorer(scenario, world, new SharedImage(buffers));
  return observe(judge, buffers, () => explorer.run());
}

/** The judges look at memory as it is; nobody waits for them. */
const judge: Monitor = { access: ({ perform }) => perform(), wait: () => 'timed-out', notify: () => 0 };

class Explorer<W> {
  private readonly scenario: Scenario<W>;
  private readonly world: W;
  private readonly image: SharedImage;
  private readonly runs: readonly EndRun<W>[];
  private readonly seen = new Map<string, number>();
  private readonly schedule: string[] = [];
  private readonly maxStates: number;
  private rests = 0;

  constructor(scenario: Scenario<W>, world: W, image: SharedImage) {
    this.scenario = scenario;
    this.world = world;
    this.image = image;
    this.maxStates = scenario.maxStates ?? 400_000;
    this.runs = scenario.ends.map((end, i) => new EndRun(end, i, world, image, scenario.weakStores === true));
  }

  run(): Exploration {
    let message: string | undefined;
    try {
      this.visit({
        ends: this.runs.map(() => startState()),
        last: -1,
        preemptionsLeft: this.scenario.preemptions ?? Number.POSITIVE_INFINITY,
        killsLeft: this.scenario.kills ?? 0,
      });
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      message = error.message;
    }
    return {
      states: this.seen.size,
      rests: this.rests,
      isComplete: this.seen.size < this.maxStates,
      violation: message === undefined ? undefined : { message, schedule: [...this.schedule] },
    };
  }

  private visit(node: Node): void {
    if (this.seen.size >= this.maxStates || !this.isNew(node)) return;
    setMonitor(judge);
    const broken = this.scenario.invariant?.(this.world);
    if (broken !== undefined) throw new Violation(broken);
    const here = this.image.save();
    const lastCanGo = node.last >= 0 && this.canStep(node, node.last);
    let moves = 0;
    for (const [i] of this.runs.entries()) {
      const cost = lastCanGo && i !== node.last ? 1 : 0;
      if (cost > node.preemptionsLeft) {
        moves += 1; // it could go on, only the bound forbids it
        continue;
      }
      moves += this.tryEnd(node, i, node.preemptionsLeft - cost, here);
    }
    if (moves === 0) this.rest(node);
  }

  /** Everything end `i` can do from here, each followed to its end; returns how many ways there were. */
  private tryEnd(node: Node, i: number, preemptionsLeft: number, here: Uint8Array): number {
    const state = node.ends[i] as EndState; // one state per run
    const run = this.runs[i] as EndRun<W>;
    const next = { ...node, last: i, preemptionsLeft };
    let moves = 0;
    if (this.canStep(node, i)) {
      moves += 1;
      for (let choice = 0; choice < Math.max(1, state.choices); choice += 1) {
        this.follow(next, run, here, () => run.step(node.ends, choice));
      }
    }
    if (state.stores.length > 0) {
      moves += 1;
      this.follow(next, run, here, () => run.drainOne(node.ends));
    }
    if (state.status === 'asleep' && this.scenario.timeouts === true && state.sleep?.isFinite === true) {
      moves += 1;
      this.follow(next, run, here, () => run.timeOut(node.ends));
    }
    if (node.killsLeft > 0 && run.canBeKilled(state, node.last === i || node.last < 0)) {
      this.follow({ ...next, killsLeft: node.killsLeft - 1 }, run, here, () => run.kill(node.ends));
    }
    return moves;
  }

  /** Do one thing, visit what comes of it, and undo it. */
  private follow(next: Node, self: EndRun<W>, here: Uint8Array, act: () => Move): void {
    const { line, ends } = act();
    this.schedule.push(`${self.name.padEnd(10)} ${line}`);
    const failure = ends[self.index]?.failure;
    if (failure !== undefined) throw new Violation(`${self.name} threw: ${failure}`);
    this.visit({ ...next, ends });
    this.schedule.pop();
    this.image.restore(here);
  }

  private canStep(node: Node, i: number): boolean {
    const state = node.ends[i] as EndState;
    if (state.status !== 'running') return false;
    const { startsAfter } = this.runs[i] as EndRun<W>;
    if (state.log.length > 0 || startsAfter === undefined) return true;
    const other = this.runs.findIndex((run) => run.name === startsAfter);
    const status = node.ends[other]?.status;
    return status === 'dead' || status === 'done';
  }

  private rest(node: Node): void {
    this.rests += 1;
    const ends = Object.fromEntries(
      this.runs.map((run, i) => {
        const { status, reports } = node.ends[i] as EndState;
        return [run.name, { status: status === 'running' ? 'waiting to start' : status, reports } as const];
      }),
    );
    setMonitor(judge);
    const wrong = this.scenario.check({ world: this.world, ends });
    if (wrong !== undefined) throw new Violation(wrong);
  }

  /** Remember this state; `false` if it was met before with at least as much freedom left. */
  private isNew(node: Node): boolean {
    const pasts = node.ends.map(
      (state) =>
        `${state.status}${state.hash}${state.wake ?? ''}/${state.stores.length}/${state.choices}/${state.isStale}`,
    );
    const key = `${this.image.hash()}|${pasts.join('|')}|${node.killsLeft}`;
    const bounded = Number.isFinite(node.preemptionsLeft) ? `${key}|${node.last}` : key;
    const before = this.seen.get(bounded) ?? -1;
    if (before >= node.preemptionsLeft) return false;
    this.seen.set(bounded, node.preemptionsLeft);
    return true;
  }
}
