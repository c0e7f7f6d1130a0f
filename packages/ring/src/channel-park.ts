// Every wait of a channel's end on the event loop; the order is that of `block`.
import { BEAT_MS, type ChannelEnd, flushBursts } from './channel-end.ts';
import { END_BELL } from './channel-layout.ts';
import type { AbortSignalLike, WaitOptions } from './channel-options.ts';
import { RingError } from './error.ts';
import type { BlockingStrategy, WaitStrategy } from './wait.ts';

/**
 * Wait on the event loop until the end is ready. A friend of `ChannelEnd`, hence the brackets: as a method it would be part
 * of ends that are never awaited.
 *
 * @returns false if the time is over first. Rejects with the signal's reason if it aborts.
 */
export async function park(end: ChannelEnd, options: WaitOptions): Promise<boolean> {
  const { timeoutMs = Number.POSITIVE_INFINITY, signal } = options;
  throwIfAborted(signal);
  if (end['isReady']()) return true;
  flushBursts();
  const { strategy } = end;
  if (!isAwaitable(strategy)) {
    throw new RingError('WAIT_BLOCKING_ONLY', `Cannot await with the blocking ${strategy.name} strategy`);
  }
  const control = end['control'];
  const bell = end['stateAt'] + END_BELL;
  const now = end['clock'];
  const deadline = now() + timeoutMs;
  const onAbort = (): void => end['ringOwnBell']();
  signal?.addEventListener('abort', onAbort);
  try {
    while (!end['isReady']()) {
      if (end['spin']() && end['isReady']()) return true; // a changed word is not yet a message
      const remaining = deadline - now();
      if (!(remaining > 0)) return false; // also if it is no number
      const seen = Atomics.load(control, bell); // sample, arm, look again, sleep: in this order no wake-up is lost
      end['arm']();
      if (end['isReady']()) return true;
      end.beat();
      await strategy.waitAsync(control, bell, seen, Math.min(remaining, BEAT_MS));
      throwIfAborted(signal);
      if (strategy.neverWaits) return end['isReady']();
    }
    return true;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

function throwIfAborted(signal: AbortSignalLike | undefined): void {
  if (signal?.aborted === true) throw signal.reason ?? new RingError('CHANNEL_ABORTED', 'Cannot wait: aborted');
}

function isAwaitable(strategy: BlockingStrategy): strategy is WaitStrategy {
  return 'waitAsync' in strategy;
}
