// The search through all schedules: depth first, with undo, past states met before. It says what to try next; it runs nothing.
import { type Monitor, setMonitor } from './access.ts';
import { type EndProgram, EndRun, type LoopProgram } from './end-run.ts';
import { type EndState, type LoopEvent, type Move, startState } from './end-state.ts';
import { MESSAGE } from './loop-replay.ts';
import { SharedImage } from './shared-image.ts';

/** What to explore. */
export interface Scenario<W, P = EndProgram<W>> {
  /** Make the shared memory in its first state; called once, not observed. */
  readonly setup: () => { readonly buffers: readonly SharedArrayBuffer[]; readonly world: W };
  /** The ends; each builds its objects anew from `world`. */
  readonly ends: readonly P[];
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
  /** Timers of event loops that may fire in one run; 0 by default, for the same reason. */
  readonly ticks?: number;
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
  /**
   * `asleep` in `Atomics.wait` or awaiting what never comes; `exited`: it awaited, and nothing kept it alive; `held`: its
   * program came to an end, and something keeps it alive.
   */
  readonly status: 'done' | 'asleep' | 'dead' | 'exited' | 'held' | 'waiting to start';
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

/** Every way to schedule the ends of any kind. */
export type AnyProgram<W> = EndProgram<W> | LoopProgram<W>;

/** A thing to try: do it, then tell `took`. */
export interface Trial {
  readonly act: () => Move | Promise<Move>;
  readonly next: Omit<Node, 'ends'>;
  readonly name: string;
  readonly index: number;
}

interface Node {
  readonly ends: readonly EndState[];
  readonly last: number;
  readonly preemptionsLeft: number;
  readonly killsLeft: number;
  readonly ticksLeft: number;
}

interface Frame {
  readonly here: Uint8Array;
  readonly trials: readonly Trial[];
  at: number;
}

class Violation extends Error {}

/** A run of more steps than this never ends: the worlds explored are small. */
const MAX_STEPS = 3000;

/** The judges look at memory as it is; nobody waits for them. */
export const judge: Monitor = { access: ({ perform }) => perform(), wait: () => 'timed-out', notify: () => 0 };

/** One exploration under way: `next` and `took` in turn, until there is nothing to try. */
export class Search<W> {
  private readonly scenario: Scenario<W, AnyProgram<W>>;
  private readonly world: W;
  private readonly image: SharedImage;
  private readonly runs: readonly EndRun<W>[];
  private readonly seen = new Map<string, number>();
  private readonly schedule: string[] = [];
  private readonly frames: Frame[] = [];
  private readonly maxStates: number;
  private rests = 0;
  private message: string | undefined;

  constructor(scenario: Scenario<W, AnyProgram<W>>, world: W, buffers: readonly SharedArrayBuffer[]) {
    this.scenario = scenario;
    this.world = world;
    this.image = new SharedImage(buffers);
    this.maxStates = scenario.maxStates ?? 400_000;
    const { ends, weakStores, preemptions, kills, ticks } = scenario;
    this.runs = ends.map((_, i) => new EndRun(ends, i, world, this.image, weakStores === true));
    this.judged(() =>
      this.enter({
        ends: this.runs.map(() => startState()),
        last: -1,
        preemptionsLeft: preemptions ?? Number.POSITIVE_INFINITY,
        killsLeft: kills ?? 0,
        ticksLeft: ticks ?? 0,
      }),
    );
  }

  /** What to try next; undefined when everything was tried, or something is wrong. Undoes what was tried before. */
  next(): Trial | undefined {
    while (this.message === undefined) {
      const frame = this.frames.at(-1);
      if (frame === undefined) return undefined;
      const trial = frame.trials[frame.at];
      frame.at += 1;
      if (trial !== undefined) return trial;
      this.frames.pop();
      this.undo();
    }
    return undefined;
  }

  /** What came of the trial. */
  took({ next, name, index }: Trial, { line, ends }: Move): void {
    this.schedule.push(`${name.padEnd(10)} ${line}`);
    this.judged(() => {
      const failure = ends[index]?.failure;
      if (failure !== undefined) throw new Violation(`${name} threw: ${failure}`);
      if (this.schedule.length > MAX_STEPS) throw new Violation('this run never ends');
      if (!this.enter({ ...next, ends })) this.undo();
    });
  }

  /** What was found so far. */
  report(): Exploration {
    const { message } = this;
    return {
      states: this.seen.size,
      rests: this.rests,
      isComplete: this.seen.size < this.maxStates,
      violation: message === undefined ? undefined : { message, schedule: [...this.schedule] },
    };
  }

  private judged(look: () => void): void {
    setMonitor(judge);
    try {
      look();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.message = error.message;
    }
  }

  /** Back to where the frame on top stands. */
  private undo(): void {
    this.schedule.pop();
    const frame = this.frames.at(-1);
    if (frame !== undefined) this.image.restore(frame.here);
  }

  /** Stand on a new state; `false` if there is nothing to go on from. */
  private enter(node: Node): boolean {
    if (this.seen.size >= this.maxStates || !this.isNew(node)) return false;
    const broken = this.scenario.invariant?.(this.world);
    if (broken !== undefined) throw new Violation(broken);
    const lastCanGo = node.last >= 0 && this.canStep(node, node.last);
    const trials: Trial[] = [];
    let moves = 0;
    for (const [i] of this.runs.entries()) {
      const cost = lastCanGo && i !== node.last ? 1 : 0;
      if (cost > node.preemptionsLeft)
        moves += 1; // it could go on, only the bound forbids it
      else moves += this.collect({ ...node, preemptionsLeft: node.preemptionsLeft - cost }, i, node.last, trials);
    }
    if (moves === 0) this.rest(node);
    if (trials.length === 0) return false;
    this.frames.push({ here: this.image.save(), trials, at: 0 });
    return true;
  }

  /** Collect everything that end `i` can do from here; returns how many ways to go on there are. */
  private collect(node: Node, i: number, last: number, trials: Trial[]): number {
    const state = node.ends[i] as EndState; // one state per run
    const run = this.runs[i] as EndRun<W>;
    const { ends } = node;
    const before = trials.length;
    const next = { ...node, last: i };
    const add = (act: Trial['act'], other: Partial<Node> = {}): void => {
      trials.push({ act, next: { ...next, ...other }, name: run.name, index: i });
    };
    if (this.canStep(node, i)) {
      for (let choice = 0; choice < Math.max(1, state.choices); choice += 1) add(() => run.step(ends, choice));
    }
    if (state.stores.length > 0) add(() => run.drainOne(ends));
    if (state.status === 'asleep' && this.scenario.timeouts === true && state.sleep?.isFinite === true) {
      add(() => run.timeOut(ends));
    }
    if (state.status === 'idle') {
      for (const id of deliverable(state)) add(() => run.step(ends, 0, id));
      const timer = node.ticksLeft > 0 ? earliest(state) : undefined;
      if (timer !== undefined) add(() => run.step(ends, 0, timer.id), { ticksLeft: node.ticksLeft - 1 });
    }
    const moves = trials.length - before;
    if (node.killsLeft > 0 && run.canBeKilled(state, last === i || last < 0)) {
      add(() => run.kill(ends), { killsLeft: node.killsLeft - 1 });
    }
    return moves;
  }

  private canStep(node: Node, i: number): boolean {
    const state = node.ends[i] as EndState;
    if (state.status !== 'running') return false;
    const { startsAfter } = this.runs[i] as EndRun<W>;
    if (state.log.length > 0 || startsAfter === undefined) return true;
    const other = this.runs.findIndex((run) => run.name === startsAfter);
    return ['dead', 'done', 'exited'].includes(node.ends[other]?.status ?? '');
  }

  private rest(node: Node): void {
    this.rests += 1;
    const ends = Object.fromEntries(
      this.runs.map((run, i) => {
        const state = node.ends[i] as EndState;
        return [run.name, { status: restingStatus(state), reports: state.reports } as const];
      }),
    );
    const wrong = this.scenario.check({ world: this.world, ends });
    if (wrong !== undefined) throw new Violation(wrong);
  }

  /** Remember this state; `false` if it was met before with at least as much freedom left. */
  private isNew(node: Node): boolean {
    const pasts = node.ends.map((state) => {
      const ready = state.events.map(({ isReady }) => (isReady ? 1 : 0)).join('');
      return `${state.status}${state.hash}${state.wake ?? ''}/${state.stores.length}/${state.choices}/${state.isStale}/${ready}/${state.inbox}`;
    });
    const key = `${this.image.hash()}|${pasts.join('|')}|${node.killsLeft}|${node.ticksLeft}`;
    const bounded = Number.isFinite(node.preemptionsLeft) ? `${key}|${node.last}` : key;
    const before = this.seen.get(bounded) ?? -1;
    if (before >= node.preemptionsLeft) return false;
    this.seen.set(bounded, node.preemptionsLeft);
    return true;
  }
}

/** What the event loop of an idle end may bring now, timers apart. */
function deliverable({ events, inbox }: EndState): number[] {
  const ids = events.filter(({ kind, isReady }) => kind === 'task' || isReady).map(({ id }) => id);
  return inbox > 0 ? [...ids, MESSAGE] : ids;
}

function earliest({ events }: EndState): LoopEvent | undefined {
  const timers = events.filter(({ kind }) => kind === 'timer');
  return timers.sort((a, b) => (a.dueMs ?? 0) - (b.dueMs ?? 0))[0];
}

function restingStatus({
  status,
  isFinished,
}: EndState): 'done' | 'asleep' | 'dead' | 'exited' | 'held' | 'waiting to start' {
  if (status === 'running') return 'waiting to start';
  if (status === 'idle') return isFinished ? 'held' : 'asleep';
  return status;
}
