// What both ends of a channel have in common: opening and ending, the outcome the peer is told, and every wait.
import {
  END,
  endWord,
  generationOf,
  isResumable,
  readReason,
  stateOf,
  withState,
  writeReason,
} from './channel-layout.ts';
import type { AbortSignalLike, Ending, EndOptions, WaitOptions } from './channel-options.ts';
import { RingError } from './error.ts';
import type { SharedMemory } from './shared-memory.ts';
import { currentThread, systemClock } from './system-adapter.ts';
import { type Clock, requireBlockable, type WaitStrategy } from './wait.ts';
import { spinThenWait } from './wait-blocking.ts';

/** A channel's memory as one thread sees it: views made once, shared by both ends. */
export interface ChannelView {
  readonly memory: SharedMemory;
  readonly control: Int32Array;
  /** Byte offset of the first lane's records in the memory. */
  readonly recordsAt: number;
  readonly capacityBytes: number;
  readonly lanes: number;
}

const views = new WeakMap<object, ChannelView>();

/** Remember the view behind a channel, which is nobody's business outside this package. */
export function registerView(channel: object, view: ChannelView): void {
  views.set(channel, view);
}

/** The view behind a channel. @throws {TypeError} if it is none. */
export function viewOf(channel: object): ChannelView {
  const view = views.get(channel);
  if (view === undefined) throw new TypeError('Cannot use this as a channel: createChannel and openChannel make them');
  return view;
}

/** An end that waits beats at least this often, so that only a thread stuck elsewhere is ever suspected. */
const BEAT_MS = 500;

/** Senders of this thread that hold messages back for a batch. */
const bursting = new Set<{ flush(): void }>();

/** Remember a sender that holds messages back. */
export function addBurst(sender: { flush(): void }): void {
  bursting.add(sender);
}

/** Forget a sender whose messages are all published. */
export function removeBurst(sender: { flush(): void }): void {
  bursting.delete(sender);
}

/**
 * Publish what senders of this thread hold back: called by every wait and by every look that finds nothing, since this
 * thread may be about to wait for the answer. @returns whether there was anything.
 */
export function flushBursts(): boolean {
  if (bursting.size === 0) return false;
  for (const sender of bursting) sender.flush();
  return true;
}

/** Channels (by their buffer) whose death notices run on this thread's event loop; see `watch`. */
export const watchedHere = new WeakMap<SharedArrayBuffer, number>();

/** The error that tells a caller how the channel ended: `CHANNEL_CLOSED`, `CHANNEL_FAILED` or `CHANNEL_PEER_DIED`. */
export function endingError(ending: Ending, action: string, cause?: unknown): RingError {
  if (ending.kind === 'closed') return new RingError('CHANNEL_CLOSED', `Cannot ${action}: the channel is closed`);
  if (ending.kind === 'died') {
    return new RingError('CHANNEL_PEER_DIED', `Cannot ${action}: the thread at the other end of the channel died`);
  }
  const { reason } = ending;
  return new RingError('CHANNEL_FAILED', `Cannot ${action}: the channel failed: ${reason}`, { reason }, cause);
}

/** How an end with this state word ended, or undefined while it is open or was never opened. */
export function endingOf(control: Int32Array, stateAt: number, reasonAt: number): Ending | undefined {
  const state = stateOf(Atomics.load(control, stateAt));
  if (state === END.free || state === END.open) return undefined;
  if (state === END.closed) return { kind: 'closed' };
  if (state === END.died) return { kind: 'died' };
  return { kind: 'failed', reason: readReason(control, reasonAt) };
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
  if (state === END.open || (state === END.closed && !mayReopenClosed && !mayResume)) return undefined;
  if (state > END.closed && !mayResume) return undefined;
  const word = endWord(END.open, generationOf(expected) + 1, currentThread());
  return Atomics.compareExchange(control, stateAt, expected, word) === expected ? word : undefined;
}

/** Where the words of an end lie in the control words. */
export interface EndWords {
  readonly state: number;
  readonly beat: number;
  readonly reason: number;
  /** The bell this end sleeps on. */
  readonly bell: number;
}

/** What the sender and the receiver of a channel share. */
export abstract class ChannelEnd {
  /** How this end waits. */
  readonly strategy: WaitStrategy;
  protected readonly control: Int32Array;
  protected readonly view: ChannelView;
  protected readonly words: EndWords;
  /** The state word that says: open, by me. Anything else in shared memory means that this end is over. */
  protected readonly word: number;
  /** How this end itself was ended by its owner; undefined while it is open. */
  protected ended: Ending | undefined;
  private readonly clock: Clock;

  constructor(view: ChannelView, words: EndWords, word: number, options: EndOptions) {
    this.strategy = options.wait ?? spinThenWait();
    this.control = view.control;
    this.view = view;
    this.words = words;
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
    Atomics.add(this.control, this.words.beat, 1);
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
    return Atomics.load(this.control, this.words.state) === this.word;
  }

  /** End both privately and in shared memory, unless somebody else did. */
  protected end(ending: Ending): void {
    if (this.ended !== undefined) return;
    if (this.isCurrent()) {
      this.settle();
      if (ending.kind === 'failed') writeReason(this.control, this.words.reason, ending.reason);
      const over = withState(this.word, ending.kind === 'failed' ? END.failed : END.closed);
      Atomics.compareExchange(this.control, this.words.state, this.word, over);
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
    this.ring(this.words.bell);
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
    const { bell } = this.words;
    const deadline = this.clock() + timeoutMs;
    while (!this.isReady()) {
      if (this.spin() && this.isReady()) return true; // a changed word is not yet a message
      const remaining = deadline - this.clock();
      if (remaining <= 0) return false;
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

  /**
   * Wait on the event loop until `isReady`.
   *
   * @returns false if the time is over first. Rejects with the signal's reason if it aborts.
   */
  protected async park(options: WaitOptions): Promise<boolean> {
    const { timeoutMs = Number.POSITIVE_INFINITY, signal } = options;
    throwIfAborted(signal);
    if (this.isReady()) return true;
    flushBursts();
    const { strategy, control } = this;
    const { bell } = this.words;
    const deadline = this.clock() + timeoutMs;
    const onAbort = (): void => this.ringOwnBell();
    signal?.addEventListener('abort', onAbort);
    try {
      while (!this.isReady()) {
        if (this.spin() && this.isReady()) return true; // a changed word is not yet a message
        const remaining = deadline - this.clock();
        if (remaining <= 0) return false;
        const seen = Atomics.load(control, bell);
        this.arm();
        if (this.isReady()) return true;
        this.beat();
        await strategy.waitAsync(control, bell, seen, Math.min(remaining, BEAT_MS));
        throwIfAborted(signal);
        if (strategy.neverWaits) return this.isReady();
      }
      return true;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Milliseconds on this end's clock. */
  protected now(): number {
    return this.clock();
  }

  /** The error of a wait whose time is over. */
  protected timedOut(action: string, timeoutMs: number | undefined): RingError {
    return new RingError('CHANNEL_TIMED_OUT', `Cannot ${action}: not possible within ${timeoutMs} ms`, { timeoutMs });
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
    if (!strategy.canBlock) strategy.wait(control, this.words.bell, 0, 0); // throws
    requireBlockable();
    if (this.isPeerHere()) {
      throw new RingError(
        'WAIT_WOULD_HANG',
        'Cannot block: the other end of this channel is on the same thread, which could never get to it; await instead',
      );
    }
    if (timeoutMs === Number.POSITIVE_INFINITY && (watchedHere.get(this.view.memory.buffer) ?? 0) > 0) {
      throw new RingError(
        'WAIT_NEEDS_TIMEOUT',
        'Cannot block without a timeout: this thread watches the peer, and could not learn of its death while blocked',
      );
    }
  }
}

function throwIfAborted(signal: AbortSignalLike | undefined): void {
  if (signal?.aborted === true) throw signal.reason ?? new RingError('CHANNEL_ABORTED', 'Cannot wait: aborted');
}
