// Where an end under the explorer stands, and what one step makes of it.

/** Where an end sleeps. */
export interface Sleep {
  readonly buffer: SharedArrayBuffer | undefined; // undefined: any write wakes it
  readonly at: number;
  readonly isFinite: boolean;
}

/** A plain store that other ends cannot see yet. */
export interface BufferedStore {
  readonly buffer: SharedArrayBuffer;
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Something that the event loop of an end may deliver once its microtasks are done. */
export interface LoopEvent {
  /** Counts the events of this end: the same in every replay. */
  readonly id: number;
  /** An `Atomics.waitAsync` that is under way, a timer, or a thing that the program said may happen at any time. */
  readonly kind: 'wait' | 'timer' | 'task';
  /** What it is, for the schedule. */
  readonly name: string;
  /** The word waited for. */
  readonly buffer?: SharedArrayBuffer;
  readonly at?: number;
  /** When a timer is due, on the end's own clock. */
  readonly dueMs?: number;
  /** Whether it keeps the end alive; a wait never does. */
  readonly isRef: boolean;
  /** A wait: whether it was notified. */
  readonly isReady: boolean;
}

/** Everything that tells where an end stands; replaced, never changed. */
export interface EndState {
  /** `idle`: its microtasks are done, it lives on what its event loop will bring. `exited`: nothing kept it alive. */
  readonly status: 'running' | 'asleep' | 'idle' | 'done' | 'dead' | 'exited';
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
  /** What its event loop may bring. */
  readonly events: readonly LoopEvent[];
  /** Messages at its port, not yet delivered. */
  readonly inbox: number;
  /** Whether its program has come to an end; its event loop may still be kept alive. */
  readonly isFinished: boolean;
  readonly failure: string | undefined;
}

/** One thing that an end did, and what came of it. */
export interface LogEntry {
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
    events: [],
    inbox: 0,
    isFinished: false,
    failure: undefined,
  };
}

/** The same states with another one for end `index`. */
export function replaceAt(ends: readonly EndState[], index: number, state: EndState): readonly EndState[] {
  return ends.map((old, i) => (i === index ? state : old));
}

/** Memory changed: wake the ends that poll, and keep the others' next pause short. */
export function tellOthers(ends: readonly EndState[], writer: number): readonly EndState[] {
  return ends.map((state, i) => {
    if (i === writer) return state;
    const isPaused = state.status === 'asleep' && state.sleep?.buffer === undefined;
    if (isPaused) return { ...state, status: 'running', wake: 'woken', sleep: undefined } as const;
    return state.isStale ? state : { ...state, isStale: true };
  });
}

/** Somebody notified a word: wake the ends asleep on it and make their asynchronous waits ready; how many, at most `count`. */
export function wakeWaiters(
  ends: readonly EndState[],
  buffer: SharedArrayBuffer,
  at: number,
  count: number,
): { readonly ends: readonly EndState[]; readonly woken: number } {
  let woken = 0;
  const after = ends.map((state) => {
    const { sleep, status } = state;
    if (status === 'dead' || status === 'done' || status === 'exited') return state;
    let now = state;
    if (status === 'asleep' && sleep?.buffer === buffer && sleep.at === at && woken < count) {
      woken += 1;
      now = { ...state, status: 'running', wake: 'ok', sleep: undefined };
    }
    const isMeant = (event: LoopEvent): boolean =>
      event.kind === 'wait' && event.buffer === buffer && event.at === at && !event.isReady && woken < count;
    if (!now.events.some(isMeant)) return now;
    const events = now.events.map((event) => {
      if (!isMeant(event)) return event;
      woken += 1;
      return { ...event, isReady: true };
    });
    return { ...now, events };
  });
  return { ends: after, woken };
}
