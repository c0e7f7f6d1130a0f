// One end under the explorer: replayed to where it stood, advanced by one access, slept, woken, timed out, killed.
import { type Monitor, type SharedAccess, setMonitor } from './access.ts';
import { mix, type SharedImage } from './shared-image.ts';

/** What an end's program may do besides touching shared memory. */
export interface Probe {
  /** Note something for the judge, such as a message received. */
  report(value: unknown): void;
  /** Let the explorer choose a number from 0 to `ways - 1`: each is tried. */
  choose(ways: number): number;
  /** Sleep until another end has written to shared memory since this was last called: for programs that poll. */
  pause(): void;
}

/** One end: a synchronous, deterministic program over shared memory that comes to an end or to sleep. */
export interface EndProgram<W> {
  readonly name: string;
  /** Build the end's objects from `world` and run it; called once per step, so it must keep nothing outside. */
  readonly run: (world: W, probe: Probe) => void;
  /** Whether the explorer may kill it. */
  readonly isMortal?: boolean;
  /** Start only when the end of this name is done or dead: a successor, a supervisor. */
  readonly startsAfter?: string;
}

/** Where an end sleeps. */
interface Sleep {
  readonly buffer: SharedArrayBuffer | undefined; // undefined: any write wakes it
  readonly at: number;
  readonly isFinite: boolean;
}

/** A plain store that other ends cannot see yet. */
interface BufferedStore {
  readonly buffer: SharedArrayBuffer;
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Everything that tells where an end stands; replaced, never changed. */
export interface EndState {
  readonly status: 'running' | 'asleep' | 'done' | 'dead';
  readonly log: readonly LogEntry[];
  readonly hash: string;
  readonly reports: readonly unknown[];
  readonly stores: readonly BufferedStore[];
  readonly sleep: Sleep | undefined;
  /** What its `Atomics.wait` will return. */
  readonly wake: string | undefined;
  /** Ways to go on if it stands before a choice, else 0. */
  readonly choices: number;
  readonly hasJustWritten: boolean;
  /** Another end has written since the last `pause`, so that the next one returns at once. */
  readonly isStale: boolean;
  readonly failure: string | undefined;
}

interface LogEntry {
  readonly what: string;
  readonly result: unknown;
}

/** A thing done, in words, and the states of all ends after it. */
export interface Move {
  readonly line: string;
  readonly ends: readonly EndState[];
}

/** An end that has not run yet. */
export function startState(): EndState {
  return {
    status: 'running',
    log: [],
    hash: '0:0',
    reports: [],
    stores: [],
    sleep: undefined,
    wake: undefined,
    choices: 0,
    hasJustWritten: true, // so that it may be killed before it starts
    isStale: true,
    failure: undefined,
  };
}

const STOP = Symbol('stopped by the explorer');

/** Runs one end's program, again and again. */
export class EndRun<W> {
  readonly name: string;
  readonly index: number;
  readonly startsAfter: string | undefined;
  private readonly program: EndProgram<W>;
  private readonly world: W;
  private readonly image: SharedImage;
  private readonly isWeak: boolean;

  constructor(program: EndProgram<W>, index: number, world: W, image: SharedImage, isWeak: boolean) {
    this.name = program.name;
    this.index = index;
    this.startsAfter = program.startsAfter;
    this.program = program;
    this.world = world;
    this.image = image;
    this.isWeak = isWeak;
  }

  /** Replay, let one access happen, stop at the next. */
  step(ends: readonly EndState[], choice: number): Move {
    const replay = new Replay(this.index, ends, choice, this.image, this.isWeak);
    let status: EndState['status'] = 'running';
    setMonitor(replay);
    try {
      this.program.run(this.world, replay);
      status = replay.isStopped ? 'running' : 'done'; // a program that swallows the stop is still stopped
    } catch (error) {
      if (!replay.isStopped) replay.failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
    }
    replay.checkReplayed();
    return replay.outcome(status);
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
    return (
      this.program.isMortal === true &&
      isLast &&
      state.hasJustWritten &&
      (state.status === 'running' || state.status === 'asleep')
    );
  }
}

/** One run of a program: past results first, then one new access, then the stop. */
class Replay implements Monitor, Probe {
  isStopped = false;
  failure: string | undefined;
  private readonly before: EndState;
  private readonly index: number;
  private readonly choice: number;
  private readonly image: SharedImage;
  private readonly isWeak: boolean;
  private readonly log: LogEntry[];
  private readonly reports: unknown[] = [];
  private ends: readonly EndState[];
  private stores: readonly BufferedStore[];
  private hash: string;
  private cursor = 0;
  private hasMoved = false;
  private hasWritten = false;
  private isStale: boolean;
  private sleep: Sleep | undefined;
  private choices = 0;
  private line = 'ends';

  constructor(index: number, ends: readonly EndState[], choice: number, image: SharedImage, isWeak: boolean) {
    const before = ends[index] as EndState; // one state per end
    this.before = before;
    this.index = index;
    this.ends = ends;
    this.choice = choice;
    this.image = image;
    this.isWeak = isWeak;
    this.log = [...before.log];
    this.stores = before.stores;
    this.hash = before.hash;
    this.isStale = before.isStale;
  }

  report(value: unknown): void {
    if (!this.isStopped) this.reports.push(value);
  }

  choose(ways: number): number {
    return this.next(`choose ${ways}`, () => {
      if (this.before.choices === 0) {
        this.choices = ways; // come back with each choice
        this.stop();
      }
      return this.choice;
    }) as number; // what was just returned or logged
  }

  pause(): void {
    this.next('pause', () => {
      const mustSleep = !this.before.isStale && this.before.wake === undefined;
      this.isStale = false;
      return mustSleep ? this.fallAsleep({ buffer: undefined, at: -1, isFinite: false }) : undefined;
    });
  }

  access(access: SharedAccess): unknown {
    const { kind, isAtomic, at, bytes } = access;
    return this.next(`${isAtomic ? 'atomic' : 'plain'} ${kind} @${at}+${bytes}`, () => {
      if (kind === 'load') return this.withOwnStores(access.perform);
      this.hasWritten = true;
      if (this.isWeak && !isAtomic) return this.buffer(access);
      this.drainAll();
      const result = access.perform();
      this.ends = tellOthers(this.ends, this.index);
      return result;
    });
  }

  wait(buffer: SharedArrayBuffer, at: number, load: () => unknown, expected: unknown, timeoutMs: number): string {
    return this.next(`wait @${at} while ${String(expected)}`, () => {
      this.drainAll();
      if (this.before.wake !== undefined) return this.before.wake;
      if (load() !== expected) return 'not-equal';
      return this.fallAsleep({ buffer, at, isFinite: Number.isFinite(timeoutMs) });
    }) as string; // what was just returned or logged
  }

  notify(buffer: SharedArrayBuffer, at: number, count: number): number {
    return this.next(`notify @${at}`, () => {
      this.drainAll();
      let woken = 0;
      this.ends = this.ends.map((state) => {
        const { sleep } = state;
        if (state.status !== 'asleep' || sleep?.buffer !== buffer || sleep.at !== at || woken >= count) return state;
        woken += 1;
        return { ...state, status: 'running', wake: 'ok', sleep: undefined } as const;
      });
      this.hasWritten ||= woken > 0;
      return woken;
    }) as number; // what was just returned or logged
  }

  checkReplayed(): void {
    if (this.failure === undefined && this.cursor < this.log.length)
      this.failure = 'the program is not deterministic: it ended early';
  }

  outcome(status: EndState['status']): Move {
    const state: EndState = {
      status: this.sleep === undefined ? status : 'asleep',
      log: this.log,
      hash: this.hash,
      reports: this.reports,
      stores: this.stores,
      sleep: this.sleep,
      wake: this.hasMoved ? undefined : this.before.wake,
      choices: this.choices,
      hasJustWritten: this.hasWritten,
      isStale: this.isStale,
      failure: this.failure,
    };
    return { line: this.line, ends: replaceAt(this.ends, this.index, state) };
  }

  /** The result of the next access: the past one, or a new one if none was made in this run yet. */
  private next(what: string, act: () => unknown): unknown {
    if (this.isStopped || this.hasMoved) {
      if (this.cursor >= this.log.length || this.isStopped) this.stop();
    }
    const past = this.log[this.cursor];
    if (past !== undefined) {
      if (past.what !== what) throw new Error(`the program is not deterministic: ${past.what} became ${what}`);
      this.cursor += 1;
      return past.result;
    }
    const result = act();
    this.hasMoved = true;
    this.cursor += 1;
    this.log.push({ what, result });
    this.hash = extend(this.hash, what, result);
    this.line = result === undefined ? what : `${what} = ${String(result)}`;
    return result;
  }

  private stop(): never {
    this.isStopped = true;
    throw STOP;
  }

  private fallAsleep(sleep: Sleep): string {
    if (this.before.wake !== undefined) return this.before.wake;
    this.sleep = sleep;
    this.line = `sleeps @${sleep.at}`;
    return this.stop();
  }

  private buffer({ buffer, at, bytes, perform }: SharedAccess): unknown {
    const memory = this.image.bytesOf(buffer);
    const old = memory.slice(at, at + bytes);
    const result = perform();
    this.stores = [...this.stores, { buffer, at, bytes: memory.slice(at, at + bytes) }];
    memory.set(old, at);
    return result;
  }

  /** Loads see this end's own stores, visible or not. */
  private withOwnStores(perform: () => unknown): unknown {
    if (this.stores.length === 0) return perform();
    const pending = this.stores.map((store) => ({ ...store, memory: this.image.bytesOf(store.buffer) }));
    const olds = pending.map(({ memory, at, bytes }) => {
      const old = memory.slice(at, at + bytes.length);
      memory.set(bytes, at);
      return old;
    });
    const result = perform();
    for (const [i, { memory, at }] of [...pending.entries()].reverse()) memory.set(olds[i] as Uint8Array, at); // same length
    return result;
  }

  private drainAll(): void {
    if (this.stores.length === 0) return;
    for (const { buffer, at, bytes } of this.stores) this.image.bytesOf(buffer).set(bytes, at);
    this.stores = [];
    this.ends = tellOthers(this.ends, this.index);
  }
}

function replaceAt(ends: readonly EndState[], index: number, state: EndState): readonly EndState[] {
  return ends.map((old, i) => (i === index ? state : old));
}

/** Memory changed: wake the ends that poll, and keep the others' next pause short. */
function tellOthers(ends: readonly EndState[], writer: number): readonly EndState[] {
  return ends.map((state, i) => {
    if (i === writer) return state;
    const isPaused = state.status === 'asleep' && state.sleep?.buffer === undefined;
    if (isPaused) return { ...state, status: 'running', wake: 'woken', sleep: undefined } as const;
    return state.isStale ? state : { ...state, isStale: true };
  });
}

function extend(hash: string, what: string, result: unknown): string {
  const [first, second] = hash.split(':').map(Number);
  let a = first as number; // always two numbers
  let b = second as number;
  const text = `${what}=${String(result)}`;
  for (let i = 0; i < text.length; i += 1) {
    a = mix(a, text.charCodeAt(i));
    b = mix(b, a);
  }
  return `${a}:${b}`;
}
