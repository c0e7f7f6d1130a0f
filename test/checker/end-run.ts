// One end under the explorer: replayed to where it stood, advanced by one access, slept, woken, timed out, killed.
import { setMonitor } from './access.ts';
import { type EndState, type Move, replaceAt, tellOthers } from './end-state.ts';
import { type LoopProbe, LoopReplay } from './loop-replay.ts';
import { type Probe, Replay } from './replay.ts';
import type { SharedImage } from './shared-image.ts';

interface Program {
  readonly name: string;
  /** Whether the explorer may kill it. */
  readonly isMortal?: boolean;
  /** Start only when the end of this name is over: a successor, a supervisor. */
  readonly startsAfter?: string;
}

/** One end: a synchronous, deterministic program over shared memory that comes to an end or to sleep. */
export interface EndProgram<W> extends Program {
  /** Build the end's objects from `world` and run it; called once per step, so it must keep nothing outside. */
  readonly run: (world: W, probe: Probe) => void;
}

/** An end that lives on its event loop: for `exploreLoops`. Its timers and its clock are those of `probe`. */
export interface LoopProgram<W> extends Program {
  /** As `run`; the end is over when the promise settles and nothing keeps the event loop alive. */
  readonly runLoop: (world: W, probe: LoopProbe) => Promise<void>;
}

/** Runs one end's program, again and again. */
export class EndRun<W> {
  readonly name: string;
  readonly index: number;
  readonly startsAfter: string | undefined;
  private readonly program: EndProgram<W> | LoopProgram<W>;
  private readonly names: readonly string[];
  private readonly world: W;
  private readonly image: SharedImage;
  private readonly isWeak: boolean;

  constructor(
    programs: readonly (EndProgram<W> | LoopProgram<W>)[],
    index: number,
    world: W,
    image: SharedImage,
    isWeak: boolean,
  ) {
    const program = programs[index] as EndProgram<W> | LoopProgram<W>; // one per index
    this.name = program.name;
    this.index = index;
    this.startsAfter = program.startsAfter;
    this.program = program;
    this.names = programs.map(({ name }) => name);
    this.world = world;
    this.image = image;
    this.isWeak = isWeak;
  }

  /** Replay, let one access happen, stop at the next; or, for an end that idles, bring the event `pick` and stop there. */
  step(ends: readonly EndState[], choice: number, pick?: number): Move | Promise<Move> {
    const { program } = this;
    if ('runLoop' in program) return this.stepLoop(program, ends, choice, pick);
    const replay = new Replay(this.index, ends, choice, this.image, this.isWeak);
    let status: EndState['status'] = 'running';
    setMonitor(replay);
    try {
      program.run(this.world, replay);
      status = replay.isStopped ? 'running' : 'done'; // a program that swallows the stop is still stopped
    } catch (error) {
      replay.fail(error);
    }
    replay.checkReplayed();
    return replay.outcome(status);
  }

  private async stepLoop(
    program: LoopProgram<W>,
    ends: readonly EndState[],
    choice: number,
    pick: number | undefined,
  ): Promise<Move> {
    const replay = new LoopReplay(this.index, ends, choice, this.image, this.names);
    setMonitor(replay);
    const onRejection = (error: unknown): void => replay.fail(error);
    process.on('unhandledRejection', onRejection);
    program.runLoop(this.world, replay).then(
      () => {
        replay.isFinished = true;
      },
      (error: unknown) => replay.fail(error),
    );
    do await noMicrotasks();
    while (!replay.isStopped && replay.deliver(pick));
    process.off('unhandledRejection', onRejection);
    replay.checkReplayed();
    return replay.settled();
  }

  /** Make the oldest buffered store visible. */
  drainOne(ends: readonly EndState[]): Move {
    const state = ends[this.index] as EndState;
    const [store, ...stores] = state.stores;
    if (store !== undefined) this.image.bytesOf(store.buffer).set(store.bytes, store.at);
    return {
      line: `store @${store?.at} becomes visible`,
      ends: tellOthers(replaceAt(ends, this.index, { ...state, stores }), this.index),
    };
  }

  /** End a finite wait by its time. */
  timeOut(ends: readonly EndState[]): Move {
    const state = ends[this.index] as EndState;
    const woken = { ...state, status: 'running', wake: 'timed-out', sleep: undefined } as const;
    return { line: 'wait times out', ends: replaceAt(ends, this.index, woken) };
  }

  /** Kill it where it stands. What it stored becomes visible: a dead thread's store buffer still drains. */
  kill(ends: readonly EndState[]): Move {
    const state = ends[this.index] as EndState;
    for (const { buffer, at, bytes } of state.stores) this.image.bytesOf(buffer).set(bytes, at);
    return { line: 'is killed', ends: replaceAt(ends, this.index, { ...state, status: 'dead', stores: [] }) };
  }

  /** Killing makes a difference just after a write only: a dead end's reads change nothing. */
  canBeKilled(state: EndState, isLast: boolean): boolean {
    return this.program.isMortal === true && isLast && state.hasJustWritten && isAlive(state);
  }
}

/** Whether an end is still there. */
function isAlive({ status }: EndState): boolean {
  return status === 'running' || status === 'asleep' || status === 'idle';
}

/** Resolve when the engine has run every microtask, and has reported every rejection that nobody handles. */
function noMicrotasks(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
