// Writing a death into a channel: which end it was, and waking everybody who must learn it.
import { type ChannelView, ringBell } from './channel-end.ts';
import {
  END_BELL,
  END_DIED,
  END_OPEN,
  isOpenHere,
  RECEIVER_STATE,
  senderStateAt,
  stateOf,
  threadOf,
  withState,
} from './channel-layout.ts';

/** Mark the ends of a dead thread, and ring every bell: whoever waits looks again. */
export function markDied(view: ChannelView, thread: number | undefined, end: 'sender' | 'receiver' | undefined): void {
  const { control } = view;
  const senders = senderStates(view.lanes);
  const candidates = end === 'sender' ? senders : end === 'receiver' ? [RECEIVER_STATE] : [RECEIVER_STATE, ...senders];
  const held = candidates.filter((at) => isHeldBy(Atomics.load(control, at), thread));
  for (const at of held) markFrom(control, at, Atomics.load(control, at));
  if (held.length === 0 && !hadAnEnd(control, candidates, thread)) markMissing(view, senders, end);
  for (const at of [RECEIVER_STATE, ...senders]) {
    ringBell(control, at + END_BELL);
  }
}

// Without a thread number (a browser) the worker's ends are those that are open and not this thread's own.
function isHeldBy(word: number, thread: number | undefined): boolean {
  return stateOf(word) === END_OPEN && (thread === undefined ? !isOpenHere(word) : threadOf(word) === thread);
}

/** Whether a thread that holds nothing had an end and left it. Without its number a lane that was ever used may be it. */
function hadAnEnd(control: Int32Array, candidates: readonly number[], thread: number | undefined): boolean {
  return candidates.some((at) => {
    const word = Atomics.load(control, at);
    return thread === undefined ? at !== RECEIVER_STATE && word !== 0 : threadOf(word) === thread;
  });
}

// A worker that died early will never open its end: the named one, or what is opposite to an end of this thread. If this
// thread has none either, the first that it opens will be told.
function markMissing(view: ChannelView, senders: readonly number[], end: 'sender' | 'receiver' | undefined): void {
  const { control } = view;
  const isHere = (at: number): boolean => isOpenHere(Atomics.load(control, at));
  if (end === 'sender' || (end === undefined && isHere(RECEIVER_STATE))) markFirstFree(control, senders);
  else if (end === 'receiver' || senders.some(isHere)) markFirstFree(control, [RECEIVER_STATE]);
  else {
    const earlier = view.whenOpened;
    view.whenOpened = (opened) => {
      earlier?.(opened);
      markFirstFree(control, opened === 'sender' ? [RECEIVER_STATE] : senders);
      view.whenOpened = undefined;
    };
  }
}

function markFirstFree(control: Int32Array, ends: readonly number[]): void {
  for (const at of ends) if (markFrom(control, at, 0)) return;
}

function markFrom(control: Int32Array, at: number, word: number): boolean {
  return Atomics.compareExchange(control, at, word, withState(word, END_DIED)) === word;
}

function senderStates(lanes: number): number[] {
  return Array.from({ length: lanes }, (_, lane) => senderStateAt(lane));
}
