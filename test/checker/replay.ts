// One run of an end's program: past results first, then one new access, then the stop.
import type { Monitor, SharedAccess } from './access.ts';
import {
  type BufferedStore,
  type EndState,
  type LogEntry,
  type LoopEvent,
  type Move,
  replaceAt,
  type Sleep,
  tellOthers,
  wakeWaiters,
} from './end-state.ts';
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

/** Thrown into a program where it is to stop. */
const STOP = Symbol('stopped by the explorer');

/** One run of a program: past results first, then one new access, then the stop. */
export class Replay implements Monitor, Probe {
  isStopped = false;
  isFinished = false;
  failure: string | undefined;
  protected readonly before: EndState;
  protected readonly index: number;
  private readonly choice: number;
  private readonly image: SharedImage;
  private readonly isWeak: boolean;
  protected readonly log: LogEntry[];
  private readonly reports: unknown[] = [];
  protected ends: readonly EndState[];
  private stores: readonly BufferedStore[];
  private hash: string;
  protected cursor = 0;
  protected hasMoved = false;
  protected hasWritten = false;
  private isStale: boolean;
  private sleep: Sleep | undefined;
  private choices = 0;
  protected line = 'ends';

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
      const { ends, woken } = wakeWaiters(this.ends, buffer, at, count);
      this.ends = ends;
      this.hasWritten ||= woken > 0;
      return woken;
    }) as number; // what was just returned or logged
  }

  /** The program threw, or left a rejection that nobody handles; the stop itself is no fault. */
  fail(error: unknown): void {
    if (this.isStopped) return;
    this.failure ??= error instanceof Error ? (error.stack ?? error.message) : String(error);
  }

  /** After the run: did the program do again all that it did before? */
  checkReplayed(): void {
    if (this.failure === undefined && this.cursor < this.log.length)
      this.failure = 'the program is not deterministic: it ended early';
  }

  /** Where this leaves all ends; `status` is that of a program which neither stopped nor fell asleep. */
  outcome(status: EndState['status']): Move {
    const own = this.ends[this.index] as EndState; // as others left it: messages at its port
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
      events: this.events(),
      inbox: own.inbox,
      isFinished: this.isFinished,
      failure: this.failure,
    };
    return { line: this.line, ends: replaceAt(this.ends, this.index, state) };
  }

  /** What the event loop may bring: nothing for a program without one. */
  protected events(): readonly LoopEvent[] {
    return [];
  }

  /** The result of the next access: the past one, or a new one if none was made in this run yet. */
  protected next(what: string, act: () => unknown): unknown {
    if (this.isStopped || this.hasMoved) {
      if (this.cursor >= this.log.length || this.isStopped) this.stop();
    }
    const past = this.log[this.cursor];
    if (past !== undefined) {
      if (past.what !== what) this.refuse(`the program is not deterministic: ${past.what} became ${what}`);
      this.cursor += 1;
      return past.result;
    }
    const result = act();
    this.remember(what, result);
    return result;
  }

  /** Note the one new thing of this run. */
  protected remember(what: string, result: unknown): void {
    this.hasMoved = true;
    this.cursor += 1;
    this.log.push({ what, result });
    this.hash = extend(this.hash, what, result);
    this.line = result === undefined ? what : `${what} = ${String(result)}`;
  }

  /** Note what is wrong, whatever the program makes of the exception. */
  protected refuse(message: string): never {
    this.failure ??= message;
    throw new Error(message);
  }

  protected stop(): never {
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

  protected drainAll(): void {
    if (this.stores.length === 0) return;
    for (const { buffer, at, bytes } of this.stores) this.image.bytesOf(buffer).set(bytes, at);
    this.stores = [];
    this.ends = tellOthers(this.ends, this.index);
  }
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
