// Telling a channel that a thread died. A thread parked in Atomics.wait sees no port close and no exit event, so whoever
// owns the worker writes its death into the channel, which wakes everybody who waits.

import { type SyncChannel, viewOf } from './channel.ts';
import { markDied } from './channel-death.ts';
import { watchedHere } from './channel-end.ts';
import { threadField } from './channel-layout.ts';

/** The part of a worker that `watch` needs; Node's `Worker` has all of it, a browser's nothing of it. */
export interface WatchedWorker {
  /** Node: a number while the thread runs, -1 afterwards. */
  readonly threadId?: number;
  /** Node: report the end of the thread. */
  once?(event: 'exit', listener: () => void): unknown;
  /** Node: stop reporting. */
  off?(event: 'exit', listener: () => void): unknown;
}

/** Which end a worker holds. */
export interface WatchOptions {
  /**
   * The end that the worker holds or will open. Needed only between two workers, when this thread never opens an end
   * itself: a worker that dies before it opened its end would else not be missed.
   */
  readonly end?: 'sender' | 'receiver' | undefined;
}

/** A running watch. */
export interface Watch {
  /**
   * Declare the worker dead. Node calls it by itself; in a browser, which reports no end of a worker, call it after
   * `worker.terminate()`. Never call it for a thread that may still run.
   */
  died(): void;
  /** Stop watching; the channel is not changed. */
  stop(): void;
}

/**
 * Write the death of `worker` into `channel` when it comes: the end that it holds, or was to open, is then *died*, and
 * every caller at the other end is told, whether it is blocked, awaiting, or comes later.
 *
 * It works only while this thread's event loop runs: a thread that watches its peer must not block without a timeout
 * (the channel refuses to), and a thread blocked elsewhere tells nobody.
 *
 * @example
 * const worker = new Worker(url, { workerData: channel.handle });
 * watch(worker, channel);
 */
export function watch(worker: WatchedWorker, channel: SyncChannel, options: WatchOptions = {}): Watch {
  const { end } = options;
  if (end !== undefined && end !== 'sender' && end !== 'receiver') {
    throw new TypeError(`Cannot watch for the death of ${end}: a worker is sender or receiver`);
  }
  const view = viewOf(channel);
  const { buffer } = view;
  const { threadId } = worker;
  let isWatching = true;
  watchedHere.set(buffer, (watchedHere.get(buffer) ?? 0) + 1);
  const stop = (): void => {
    if (!isWatching) return;
    isWatching = false;
    const others = (watchedHere.get(buffer) ?? 1) - 1;
    if (others === 0) watchedHere.delete(buffer);
    else watchedHere.set(buffer, others);
    worker.off?.('exit', died);
  };
  const died = (): void => {
    if (!isWatching) return;
    stop();
    markDied(view, threadId !== undefined && threadId >= 0 ? threadField(threadId) : undefined, end);
  };
  worker.once?.('exit', died);
  if (threadId === -1) died(); // it was gone before we came
  return { died, stop };
}
