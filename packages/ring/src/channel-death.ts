// Writing a death into a channel: which end it was, and waking everybody who must learn it.
import type { ChannelView } from './channel-end.ts';
import {
  BELL,
  END,
  isOpenHere,
  laneAt,
  RECEIVER_STATE,
  ROOM_BELL,
  SENDER_STATE,
  stateOf,
  threadOf,
  withState,
} from './channel-layout.ts';

/** Views whose peer died before either side opened an end: the next end opened here learns it. */
const orphaned = new WeakSet<ChannelView>();

/** Mark the ends of a dead thread, and ring every bell: whoever waits looks again. */
export function markDied(view: ChannelView, thread: number | undefined, end: 'sender' | 'receiver' | undefined): void {
  const { control, lanes } = view;
  const senders = senderStates(lanes);
  const candidates = [...(end === 'sender' ? [] : [RECEIVER_STATE]), ...(end === 'receiver' ? [] : senders)];
  const held = candidates.filter((at) => isHeldBy(Atomics.load(control, at), thread));
  for (const at of held) markEnd(control, at);
  if (held.length === 0) {
    const missing = neverOpened(control, senders, end);
    if (missing !== undefined) markEnd(control, missing);
    else if (end === undefined && !senders.some((at) => isOpenHere(Atomics.load(control, at)))) orphaned.add(view);
  }
  for (const bell of [BELL, ...senders.map((at) => at - SENDER_STATE + ROOM_BELL)]) {
    Atomics.add(control, bell, 1);
    Atomics.notify(control, bell);
  }
}

// Without a thread number (a browser) the worker's ends are those that are open and not this thread's own.
function isHeldBy(word: number, thread: number | undefined): boolean {
  if (stateOf(word) !== END.open) return false;
  return thread === undefined ? !isOpenHere(word) : threadOf(word) === thread;
}

/** The end that a worker which died early will now never open: the named one, or the one this thread does not hold. */
function neverOpened(
  control: Int32Array,
  senders: readonly number[],
  end: 'sender' | 'receiver' | undefined,
): number | undefined {
  const isFree = (at: number): boolean => stateOf(Atomics.load(control, at)) === END.free;
  const isHere = (at: number): boolean => isOpenHere(Atomics.load(control, at));
  const freeSender = neverUsed(control, senders);
  if (end === 'sender') return freeSender;
  if (end === 'receiver') return isFree(RECEIVER_STATE) ? RECEIVER_STATE : undefined;
  if (isHere(RECEIVER_STATE)) return freeSender;
  return isFree(RECEIVER_STATE) && senders.some(isHere) ? RECEIVER_STATE : undefined;
}

/** The first lane, if no sender has ever come: else the fate of the channel is that of those who came. */
function neverUsed(control: Int32Array, senders: readonly number[]): number | undefined {
  return senders.every((at) => Atomics.load(control, at) === 0) ? senders[0] : undefined;
}

function markEnd(control: Int32Array, at: number): void {
  const word = Atomics.load(control, at);
  Atomics.compareExchange(control, at, word, withState(word, END.died));
}

/** After an end was opened here: if its peer had died before, the free end opposite is dead from the start. */
export function settleOrphan(view: ChannelView, opened: 'sender' | 'receiver'): void {
  if (!orphaned.delete(view)) return;
  const { control, lanes } = view;
  const missing = neverUsed(control, opened === 'sender' ? [RECEIVER_STATE] : senderStates(lanes));
  if (missing !== undefined) markEnd(control, missing);
}

function senderStates(lanes: number): number[] {
  return Array.from({ length: lanes }, (_, lane) => laneAt(lane) + SENDER_STATE);
}
