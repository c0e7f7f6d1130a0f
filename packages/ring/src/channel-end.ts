// What both ends of a channel have in common: opening and ending, the outcome the peer is told, and every wait.
import {
  BEAT,
  END_BELL,
  END_CLOSED,
  END_DIED,
  END_FAILED,
  END_FREE,
  END_OPEN,
  endWord,
  generationOf,
  isResumable,
  readReason,
  stateOf,
  withState,
  writeReason,
} from './channel-layout.ts';
import type { Ending, EndOptions } from './channel-options.ts';
import { RingError } from './error.ts';
import type { SharedMemory } from './shared-memory.ts';
import { currentThread, systemClock } from './system-adapter.ts';
import { type BlockingStrategy, type Clock, requireBlockable } from './wait.ts';
import { SpinThenWait } from './wait-blocking.ts';

/** A channel's memory as one thread sees it: views made once, shared by both ends. */
export interface ChannelView {
  readonly buffer: SharedArrayBuffer;
  /** The memory, if it can copy inside itself. */
  readonly memory: SharedMemory | undefined;
  readonly control: Int32Array;
  /** Byte offset of the first lane's records in the memory. */
  readonly recordsAt: number;
  readonly capacityBytes: number;
  readonly lanes: number;
  /** What to do when this thread opens its first end: tell it of deaths that came before. */
  whenOpened: ((opened: 'sender' | 'receiver') => void) | undefined;
}

/** An end waits in slices of at most this, and beats between them: only a thread stuck elsewhere is ever suspected. */
export const BEAT_MS = 500;

/**
 * Senders of this thread that may hold messages back for a batch, until the end of this turn of the event loop: a thread
 * that never gets there plans it once, not once per burst.
 */
export const bursting = new Set<{ readonly isBursting: boolean; flush(): void }>();

/**
 * Publish what senders of this thread hold back: called by every wait and by every look that finds nothing, since this
 * thread may be about to wait for the answer. @returns whether there was anything.
 */
export function flushBursts(): boolean {
  let hadAny = false;
  for (const sender of bursting) {
    if (!sender.isBursting) continue;
    sender.flush();
    hadAny = true;
  }
  return hadAny;
}

/** Ring a bell for whoever sleeps on it, whatever it sleeps with. */
export function ringBell(control: Int32Array, bell: number): void {
  Atomics.add(control, bell, 1);
  Atomics.notify(control, bell);
}

/** Channels (by their buffer) whose death notices run on this thread's event loop, and how many; see `watch`. */
export const watchedHere = new WeakMap<SharedArrayBuffer, number>();

/** The error that tells a caller how the channel ended: `CHANNEL_CLOSED`, `CHANNEL_FAILED` or `CHANNEL_PEER_DIED`. */
export function endingError(ending: Ending, action: string, cause?: unknown): RingError {
  if (ending.kind === 'closed') return new RingError('CHANNEL_CLOSED', `Cannot ${action}: the channel is closed`);
  if (ending.kind === 'died') {
    return new RingError('CHANNEL_PEER_DIED', `Cannot ${action}: the peer died`);
  }
  const { reason } = ending;
  return new RingError('CHANNEL_FAILED', `Cannot ${action}: the channel failed: ${reason}`, { reason }, cause);
}

/** How an end with this state word ended, or undefined while it is open or was never opened. */
export function endingOf(control: Int32Array, stateAt: number): Ending | undefined {
  const state = stateOf(Atomics.load(control, stateAt));
  if (state === END_FREE || state === END_OPEN) return undefined;
  if (state === END_CLOSED) return { kind: 'closed' };
  if (state === END_DIED) return { kind: 'died' };
  return { kind: 'failed', reason: readReason(control, stateAt) };
}

/**
 * Take possession of an end. Shared words: compare-exchanges its state word from `expected`.
 *
 * @returns the new state word, or undefined if the end cannot be had: it is open, over and not resumable, or was taken
 * by another thread in between.
 */
export function claimEnd(control: Int32Array, stateAt: number, mayReopenClosed: boolean): number | undefined {
  const expected = Atomics.load(control, stateAt);
  const state = stateOf(expected);
  const mayResume = isResumable(control);
  if (state === END_OPEN || (state === END_CLOSED && !mayReopenClosed && !mayResume)) return undefined;
  if (state > END_CLOSED && !mayResume) return undefined;
  const word = endWord(END_OPEN, generationOf(expected) + 1, currentThread());
  return Atomics.compareExchange(control, stateAt, expected, word) === expected ? word : undefined;
}

/** The time, for whoever has all of it. */
const noClock: Clock = () => 0;

/** What the sender and the receiver of a channel share. */
export abstract class ChannelEnd {
  /** How this end waits. */
  readonly strategy: BlockingStrategy;
  protected readonly control: Int32Array;
  protected readonly view: ChannelView;
  /** Where this end's state word lies. */
  protected readonly stateAt: number;
  /** The state word that says: open, by me. Anything else in shared memory means that this end is over. */
  protected readonly word: number;
  /** How this end itself was ended by its owner; undefined while it is open. */
  protected ended: Ending | undefined;
  protected readonly clock: Clock;

  constructor(view: ChannelView, stateAt: number, word: number, options: EndOptions) {
    this.strategy = options.wait ?? new SpinThenWait();
    this.control = view.control;
    this.view = view;
    this.stateAt = stateAt;
    this.word = word;
    this.ended = undefined;
    this.clock = options.clock ?? systemClock;
  }

  /** How often this end has been opened, this time included: 1 to 255, then 0 again. */
  get generation(): number {
    return generationOf(this.word);
  }

  /** How the channel ended, as this end sees it; undefined while it may still be used. */
  abstract get ending(): Ending | undefined;

  /** Tell the peer that this thread is alive. Waits beat by themselves; a thread that computes for long may do so. */
  beat(): void {
    Atomics.add(this.control, this.stateAt + BEAT, 1);
  }

  /** End in order: the peer gets what was published, then the news. Calling it again changes nothing. */
  close(): void {
    this.end({ kind: 'closed' });
  }

  /** End with a reason (cut to 62 characters), which the peer is told after what was published. */
  fail(reason: string): void {
    this.end({ kind: 'failed', reason });
  }

  /** Publish what is pending and wake the peer, whatever it asked for. */
  protected abstract settle(): void;
  protected abstract wakePeer(): void;
  /** Look, atomically, whether the condition waited for holds, or whether the channel is over. */
  protected abstract isReady(): boolean;
  /** Ask the peer to ring this end's bell. */
  protected abstract arm(): void;
  /** Watch without sleeping. */
  protected abstract spin(): boolean;
  /** Whether everybody who could end a wait of this end lives on this very thread. */
  protected abstract isPeerHere(): boolean;

  /** Whether the shared state word still says that this end is open and ours. */
  protected isCurrent(): boolean {
    return Atomics.load(this.control, this.stateAt) === this.word;
  }

  /** End both privately and in shared memory, unless somebody else did. */
  protected end(ending: Ending): void {
    if (this.ended !== undefined) return;
    if (this.isCurrent()) {
      this.settle();
      if (ending.kind === 'failed') writeReason(this.control, this.stateAt, ending.reason);
      const over = withState(this.word, ending.kind === 'failed' ? END_FAILED : END_CLOSED);
      Atomics.compareExchange(this.control, this.stateAt, this.word, over);
    }
    this.ended = ending;
    this.wakePeer();
    this.ringOwnBell(); // a call that waits here must learn it too
  }

  /** Ring a bell that the peer, or a waiter of this end, sleeps on. */
  protected ring(bell: number): void {
    Atomics.add(this.control, bell, 1);
    this.strategy.wake(this.control, bell);
  }

  /** Wake a call that waits at this end. */
  protected ringOwnBell(): void {
    this.ring(this.stateAt + END_BELL);
  }

  /**
   * Block until `isReady`.
   *
   * @returns false if the time is over first.
   * @throws {RingError} `WAIT_WOULD_HANG`, `WAIT_NEEDS_TIMEOUT`, `WAIT_ASYNC_ONLY` or `WAIT_CANNOT_BLOCK`.
   */
  protected block(timeoutMs: number): boolean {
    if (this.isReady()) return true;
    flushBursts();
    this.checkBlocking(timeoutMs);
    const { strategy, control } = this;
    const bell = this.stateAt + END_BELL;
    // Each reading of a clock is an object: only waits with a deadline ask it. Most waits end while they spin.
    const now = timeoutMs === Number.POSITIVE_INFINITY ? noClock : this.clock;
    const deadline = now() + timeoutMs;
    while (!this.isReady()) {
      if (this.spin() && this.isReady()) return true; // a changed word is not yet a message
      const remaining = deadline - now();
      if (!(remaining > 0)) return false;
      this.beat();
      if (!strategy.needsArming && strategy.canBlock) continue; // it spins for ever
      const seen = Atomics.load(control, bell); // sample, arm, look again, sleep: in this order no wake-up is lost
      this.arm();
      if (this.isReady()) return true;
      strategy.wait(control, bell, seen, Math.min(remaining, BEAT_MS));
      if (strategy.neverWaits) return this.isReady();
    }
    return true;
  }

  /** The error of a wait whose time is over. */
  protected timedOut(action: string, timeoutMs: number | undefined): RingError {
    return new RingError('CHANNEL_TIMED_OUT', `Cannot ${action}: timed out after ${timeoutMs} ms`, { timeoutMs });
  }

  /**
   * Refuse a blocking wait that could not end: only this thread could end it, the strategy needs the event loop, or the
   * thread may not block. Blocking calls do it themselves, when they would wait; ask earlier to know it always.
   *
   * @throws {RingError} `WAIT_WOULD_HANG`, `WAIT_NEEDS_TIMEOUT`, `WAIT_ASYNC_ONLY` or `WAIT_CANNOT_BLOCK`.
   */
  checkBlocking(timeoutMs: number = Number.POSITIVE_INFINITY): void {
    const { strategy, control } = this;
    if (strategy.neverWaits) return;
    if (!strategy.canBlock) strategy.wait(control, this.stateAt + END_BELL, 0, 0); // throws
    requireBlockable();
    if (this.isPeerHere()) {
      throw new RingError('WAIT_WOULD_HANG', 'Cannot block: the other end is on this thread, await instead');
    }
    if (timeoutMs === Number.POSITIVE_INFINITY && watchedHere.has(this.view.buffer)) {
      throw new RingError('WAIT_NEEDS_TIMEOUT', 'Cannot block without a timeout: this thread watches the peer');
    }
  }
}
