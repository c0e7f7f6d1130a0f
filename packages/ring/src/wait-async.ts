// Waiting on the event loop: one engine for Atomics.waitAsync and for doorbells that arrive as messages on a port.
//
// Three facts shape it. Atomics.waitAsync never keeps the event loop alive, so a held timer does. With a finite timeout
// the engine keeps some 400 bytes per call until that timeout fires, notified or not, so waits are armed without one, at
// most one per word at a time, and a single shared timer serves all deadlines. And a wake-up may be missing altogether
// (engine without waitAsync, a port that was closed), so the same timer looks at every word at a bounded interval.
import { systemClock, systemTimer, type Timer, type TimerHandle } from './system-adapter.ts';
import { type Clock, refuseBlocking, type WaitOutcome, type WaitStrategy } from './wait.ts';

/** Options of the strategies that live on the event loop. */
export interface AsyncWaitOptions {
  /** Whether a pending wait keeps the process alive (default `true`). */
  readonly ref?: boolean;
  /** Longest time between two looks at a waiting word, in milliseconds (default 500): the bound of a lost wake-up. */
  readonly boundMs?: number;
  /** Clock for deadlines (default: the platform's). */
  readonly clock?: Clock;
  /** Timer that serves all deadlines (default: the platform's). */
  readonly timer?: Timer;
}

/** A strategy on the event loop whose hold on the process can be changed, as of a socket. */
export interface AsyncWaitStrategy extends WaitStrategy {
  /** Let pending and later waits keep the process alive. */
  ref(): void;
  /** Let the process end in spite of pending waits. */
  unref(): void;
}

interface Waiter {
  readonly seen: number;
  readonly deadline: number;
  readonly resolve: (outcome: WaitOutcome) => void;
}

interface Bell {
  readonly words: Int32Array;
  readonly index: number;
  waiters: Waiter[];
  isArmed: boolean;
}

/** Looks per wake-up are not enough without waitAsync: poll this often then. */
const FALLBACK_BOUND_MS = 2;

/** All asynchronous waits of one strategy: bells by word, one timer, one hold on the event loop. */
class AsyncWaits {
  private readonly bells = new Map<Int32Array, Bell[]>();
  private readonly clock: Clock;
  private readonly timer: Timer;
  private readonly boundMs: number;
  private readonly usesEngine: boolean;
  private handle: TimerHandle | undefined;
  private dueAt = Number.POSITIVE_INFINITY;
  private waiting = 0;
  private holds: boolean;

  constructor(options: AsyncWaitOptions, usesEngine: boolean) {
    this.clock = options.clock ?? systemClock;
    this.timer = options.timer ?? systemTimer;
    this.usesEngine = usesEngine && typeof Atomics.waitAsync === 'function';
    this.boundMs = usesEngine && !this.usesEngine ? FALLBACK_BOUND_MS : (options.boundMs ?? 500);
    this.holds = options.ref ?? true;
  }

  wait(words: Int32Array, index: number, seen: number, timeoutMs: number): Promise<WaitOutcome> {
    if (Atomics.load(words, index) !== seen) return Promise.resolve('changed');
    if (!(timeoutMs > 0)) return Promise.resolve('timed-out');
    const bell = this.bellOf(words, index);
    return new Promise((resolve) => {
      const deadline = this.clock() + timeoutMs;
      bell.waiters.push({ seen, deadline, resolve });
      this.waiting += 1;
      this.schedule(deadline);
      if (this.waiting === 1) this.holdLoop();
      this.arm(bell);
    });
  }

  setHold(holds: boolean): void {
    this.holds = holds;
    this.holdLoop();
  }

  /** Look at every word that is waited for; called by a port's message. */
  lookAtAll(): void {
    for (const list of [...this.bells.values()]) for (const bell of list) this.settle(bell);
  }

  private bellOf(words: Int32Array, index: number): Bell {
    let list = this.bells.get(words);
    if (list === undefined) {
      list = [];
      this.bells.set(words, list);
    }
    let bell = list.find((candidate) => candidate.index === index);
    if (bell === undefined) {
      bell = { words, index, waiters: [], isArmed: false };
      list.push(bell);
    }
    return bell;
  }

  // One engine wait per word: it wakes on any later notify of the address, whatever value it was armed with.
  private arm(bell: Bell): void {
    if (!this.usesEngine || bell.isArmed) return;
    const seen = (bell.waiters[0] as Waiter).seen; // called only with a waiter present
    const result = Atomics.waitAsync(bell.words, bell.index, seen);
    bell.isArmed = true;
    const settle = (): void => {
      bell.isArmed = false;
      this.settle(bell);
    };
    if (result.async) void result.value.then(settle);
    else void Promise.resolve().then(settle);
  }

  private settle(bell: Bell): void {
    const value = Atomics.load(bell.words, bell.index);
    const now = this.clock();
    const kept: Waiter[] = [];
    for (const waiter of bell.waiters) {
      if (value !== waiter.seen) waiter.resolve('changed');
      else if (now >= waiter.deadline) waiter.resolve('timed-out');
      else kept.push(waiter);
    }
    this.waiting -= bell.waiters.length - kept.length;
    bell.waiters = kept;
    if (kept.length > 0) this.arm(bell);
    else if (!bell.isArmed) this.forget(bell);
    if (this.waiting === 0) this.handle?.unref();
  }

  private forget(bell: Bell): void {
    const left = (this.bells.get(bell.words) ?? []).filter((other) => other !== bell);
    if (left.length === 0) this.bells.delete(bell.words);
    else this.bells.set(bell.words, left);
  }

  private schedule(deadline: number): void {
    const now = this.clock();
    const due = Math.min(deadline, now + this.boundMs);
    if (this.handle !== undefined) {
      if (due >= this.dueAt) return;
      this.handle.cancel();
    }
    this.dueAt = due;
    this.handle = this.timer(Math.max(1, Math.ceil(due - now)), () => this.tick());
    this.holdLoop();
  }

  private tick(): void {
    this.handle = undefined;
    this.dueAt = Number.POSITIVE_INFINITY;
    this.lookAtAll();
    let next = Number.POSITIVE_INFINITY;
    for (const list of this.bells.values())
      for (const bell of list) for (const waiter of bell.waiters) next = Math.min(next, waiter.deadline);
    if (this.waiting > 0) this.schedule(next);
  }

  private holdLoop(): void {
    if (this.waiting > 0 && this.holds) this.handle?.ref();
    else this.handle?.unref();
  }
}

/**
 * Wait with `Atomics.waitAsync`: for threads that live on their event loop. Blocking waits are refused.
 *
 * A pending wait keeps the process alive until `unref` is called. Where the engine has no waitAsync, words are looked at
 * every 2 ms instead.
 */
export function waitAsync(options: AsyncWaitOptions = {}): AsyncWaitStrategy {
  const waits = new AsyncWaits(options, true);
  return strategyOf('wait-async', waits, (words, index) => {
    Atomics.notify(words, index);
  });
}

/** The part of a MessagePort that a doorbell needs; Node's and a browser's both have it. */
export interface DoorbellPort {
  postMessage(message: unknown): void;
  on?(event: 'message', listener: () => void): unknown;
  addEventListener?(event: 'message', listener: () => void): void;
  start?(): void;
  unref?(): void;
}

/**
 * Wait for a message on a port, each telling only "look again", and wake the peer by posting one; for peers whose event
 * loop should treat wake-ups like all its other messages. Give each side one port of a MessageChannel. `wake` notifies
 * too, so that a peer which blocks on the word is woken as well.
 *
 * Adds a `message` listener and starts the port; the port is unreferenced, holding the process is the timer's part.
 */
export function portDoorbell(port: DoorbellPort, options: AsyncWaitOptions = {}): AsyncWaitStrategy {
  const waits = new AsyncWaits(options, false);
  const look = (): void => waits.lookAtAll();
  if (port.on !== undefined) port.on('message', look);
  else if (port.addEventListener !== undefined) port.addEventListener('message', look);
  else throw new TypeError('Cannot wait for messages: this is no MessagePort');
  port.start?.();
  port.unref?.();
  return strategyOf('port-doorbell', waits, (words, index) => {
    Atomics.notify(words, index);
    port.postMessage(0);
  });
}

function strategyOf(name: string, waits: AsyncWaits, wake: WaitStrategy['wake']): AsyncWaitStrategy {
  return {
    name,
    needsArming: true,
    canBlock: false,
    neverWaits: false,
    spin: () => false,
    wait: () => refuseBlocking(name),
    waitAsync: (words, index, seen, timeoutMs) => waits.wait(words, index, seen, timeoutMs),
    wake,
    ref: () => waits.setHold(true),
    unref: () => waits.setHold(false),
  };
}
