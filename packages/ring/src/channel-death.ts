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

/** How many workers died before either side opened an end, by view: the next end opened here learns it. */
const orphaned = new WeakMap<ChannelView, number>();

/** Mark the ends of a dead thread, and ring every bell: whoever waits looks again. */
export function markDied(view: ChannelView, thread: number | undefined, end: 'sender' | 'receiver' | undefined): void {
  const { control, lanes } = view;
  const senders = senderStates(lanes);
  const candidates = [...(end === 'sender' ? [] : [RECEIVER_STATE]), ...(end === 'receiver' ? [] : senders)];
  const held = candidates.filter((at) => isHeldBy(Atomics.load(control, at), thread));
  for (const at of held) markEnd(control, at);
  if (held.length === 0 && !hadAnEnd(control, candidates, thread)) {
    const missing = missingEnds(control, senders, end);
    if (missing !== undefined) markFirstFree(control, missing);
    else if (end === undefined && !senders.some((at) => isOpenHere(Atomics.load(control, at)))) {
      orphaned.set(view, (orphaned.get(view) ?? 0) + 1);
    }
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

/** Whether a thread that holds nothing had an end and left it. Without its number one that was ever used may be it. */
function hadAnEnd(control: Int32Array, candidates: readonly number[], thread: number | undefined): boolean {
  const lanes = candidates.filter((at) => at !== RECEIVER_STATE);
  if (thread === undefined) return lanes.some((at) => Atomics.load(control, at) !== 0);
  return candidates.some((at) => threadOf(Atomics.load(control, at)) === thread);
}

/** The ends, one of which a worker that died early will now never open: the named, or those this thread does not hold. */
function missingEnds(
  control: Int32Array,
  senders: readonly number[],
  end: 'sender' | 'receiver' | undefined,
): readonly number[] | undefined {
  const isHere = (at: number): boolean => isOpenHere(Atomics.load(control, at));
  if (end === 'sender' || (end === undefined && isHere(RECEIVER_STATE))) return senders;
  return end === 'receiver' || senders.some(isHere) ? [RECEIVER_STATE] : undefined;
}

function markFirstFree(control: Int32Array, ends: readonly number[]): void {
  for (const at of ends) if (Atomics.compareExchange(control, at, 0, withState(0, END.died)) === 0) return;
}

function markEnd(control: Int32Array, at: number): void {
  const word = Atomics.load(control, at);
  Atomics.compareExchange(control, at, word, withState(word, END.died));
}

/** After an end was opened here: if peers had died before, as many free ends opposite are dead from the start. */
export function settleOrphan(view: ChannelView, opened: 'sender' | 'receiver'): void {
  const dead = orphaned.get(view) ?? 0;
  orphaned.delete(view);
  const missing = opened === 'sender' ? [RECEIVER_STATE] : senderStates(view.lanes);
  for (let i = 0; i < dead; i += 1) markFirstFree(view.control, missing);
}

function senderStates(lanes: number): number[] {
  return Array.from({ length: lanes }, (_, lane) => laneAt(lane) + SENDER_STATE);
}
