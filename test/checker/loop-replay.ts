// One run of a program that lives on an event loop: its past deliveries and accesses first, then one new, then the stop.
//
// Microtasks are the engine's own: after each delivery they run until none is left, as on any thread. What comes next (a
// wait that was notified, a timer, a message, a thing that the program said may happen) is a step of the schedule.
import type { AsyncWait } from './access.ts';
import type { EndState, LoopEvent, Move } from './end-state.ts';
import { type Probe, Replay } from './replay.ts';
import type { SharedImage } from './shared-image.ts';

/** A one-shot timer of the model; it fires only as a step of the schedule. */
export interface ModelTimer {
  cancel(): void;
  ref(): void;
  unref(): void;
}

/** A port of the model: what is posted arrives as a step of the schedule. */
export interface ModelPort {
  postMessage(message: unknown): void;
  on(event: 'message', listener: () => void): void;
}

/** What a program on an event loop may do besides. */
export interface LoopProbe extends Probe {
  /** The end's own clock in milliseconds: it stands still but for timers that fire. */
  readonly clock: () => number;
  /** Start a timer; it keeps the end alive unless told otherwise. */
  readonly timer: (delayMs: number, run: () => void) => ModelTimer;
  /** Something that happens once, whenever the explorer likes: an abort, a click. It keeps the end alive. */
  readonly sometime: (name: string, run: () => void) => void;
  /** This end's port, whose other side the end of that name has. */
  readonly port: (peer: string) => ModelPort;
}

/** Delivery of what is at the port. */
export const MESSAGE = -1;

interface Pending extends Omit<LoopEvent, 'isRef'> {
  isRef: boolean;
  readonly run: () => void;
}

/** A `Replay` with an event loop. */
export class LoopReplay extends Replay implements LoopProbe {
  private readonly pending = new Map<number, Pending>();
  private readonly names: readonly string[];
  private listener: (() => void) | undefined;
  private nextId = 0;
  private now = 0;

  constructor(index: number, ends: readonly EndState[], choice: number, image: SharedImage, names: readonly string[]) {
    super(index, ends, choice, image, false);
    this.names = names;
  }

  readonly clock = (): number => this.now;

  readonly timer = (delayMs: number, run: () => void): ModelTimer => {
    const event = this.expect({ kind: 'timer', name: `timer of ${delayMs} ms`, dueMs: this.now + delayMs, run });
    return {
      cancel: () => void this.pending.delete(event.id),
      ref: () => {
        event.isRef = true;
      },
      unref: () => {
        event.isRef = false;
      },
    };
  };

  readonly sometime = (name: string, run: () => void): void => void this.expect({ kind: 'task', name, run });

  readonly port = (peer: string): ModelPort => ({
    postMessage: () => void this.next(`post to ${peer}`, () => this.post(this.names.indexOf(peer))),
    on: (_event, listener) => {
      this.listener = listener;
    },
  });

  waitAsync(
    buffer: SharedArrayBuffer,
    at: number,
    load: () => unknown,
    expected: unknown,
    timeoutMs: number,
  ): AsyncWait {
    if (timeoutMs !== Number.POSITIVE_INFINITY)
      this.refuse('waitAsync with a timeout of its own, which the engine keeps');
    const value = this.next(`waitAsync @${at} while ${String(expected)}`, () =>
      load() === expected ? 'armed' : 'not-equal',
    ) as string; // what was just returned or logged
    if (value !== 'armed') return { async: false, value };
    const woken = new Promise<string>((resolve) => {
      this.expect({ kind: 'wait', name: `wait @${at}`, buffer, at, run: () => resolve('ok') });
    });
    return { async: true, value: woken };
  }

  /**
   * Bring the next event: the past one, or `pick` if no step was made in this run yet. @returns whether there was any.
   */
  deliver(pick: number | undefined): boolean {
    const past = this.log[this.cursor];
    if (past !== undefined) {
      if (past.what !== 'event') return false;
      this.cursor += 1;
      this.bring(past.result as number); // as logged below
      return true;
    }
    if (this.hasMoved || pick === undefined) return false;
    this.remember('event', pick);
    this.line = this.bring(pick);
    if (pick === MESSAGE) this.take();
    return true;
  }

  /** Where this leaves all ends, now that no microtask is left. */
  settled(): Move {
    const isKept = [...this.pending.values()].some(({ isRef }) => isRef);
    if (this.isStopped) return this.outcome('running');
    return this.outcome(isKept ? 'idle' : this.isFinished ? 'done' : 'exited');
  }

  protected override events(): readonly LoopEvent[] {
    const known = (this.ends[this.index] as EndState).events;
    return [...this.pending.values()].map((event) => ({
      ...event,
      isReady: known.find(({ id }) => id === event.id)?.isReady ?? false,
    }));
  }

  private expect(what: Pick<LoopEvent, 'kind' | 'name'> & Partial<LoopEvent> & { run: () => void }): Pending {
    const event = { id: this.nextId, isRef: what.kind !== 'wait', isReady: false, ...what };
    this.nextId += 1;
    this.pending.set(event.id, event);
    return event;
  }

  private bring(id: number): string {
    if (id === MESSAGE) {
      this.attempt(() => this.listener?.());
      return 'gets a message';
    }
    const event = this.pending.get(id);
    if (event === undefined) return this.refuse('the program is not deterministic: an event is missing');
    this.pending.delete(id);
    this.now = Math.max(this.now, event.dueMs ?? 0);
    this.attempt(event.run);
    return `${event.name} comes`;
  }

  /** What a callback of an event loop throws, nobody catches. */
  private attempt(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.fail(error);
    }
  }

  private post(peer: number): void {
    this.ends = this.ends.map((state, i) => (i === peer ? { ...state, inbox: state.inbox + 1 } : state));
    this.hasWritten = true;
  }

  private take(): void {
    this.ends = this.ends.map((state, i) => (i === this.index ? { ...state, inbox: state.inbox - 1 } : state));
  }
}
