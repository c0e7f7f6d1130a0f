// Heartbeats: a peer that waits or moves data beats by itself; one that does neither for long is suspect, never dead.

import { type SyncChannel, viewOf } from './channel.ts';
import { BEAT, END_OPEN, HEAD, laneAt, RECEIVER_STATE, SENDER_STATE, stateOf, TAIL } from './channel-layout.ts';
import { systemClock } from './system-adapter.ts';
import type { Clock } from './wait.ts';

/** What a heartbeat can tell. `suspect`: it may be computing, starved of its core, or stuck; only its owner knows a death. */
export type Health = 'absent' | 'alive' | 'suspect';

/** Options of a heartbeat monitor. */
export interface HeartbeatOptions {
  /** Silence that makes an end suspect, in milliseconds (default 2000; waiting ends beat every 500). */
  readonly suspectAfterMs?: number | undefined;
  /** Clock (default: the platform's). */
  readonly clock?: Clock | undefined;
}

/**
 * Watches one end of a channel for signs of life: beats, and positions that move. Ask it as often as you like; the time
 * of the last sign is the time of the first question that saw it.
 *
 * @example
 * const receiver = new HeartbeatMonitor(channel, 'receiver');
 * if (receiver.check() === 'suspect') console.warn('the worker has been silent for two seconds');
 */
export class HeartbeatMonitor {
  private readonly control: Int32Array;
  private readonly words: readonly number[];
  private readonly stateAt: number;
  private readonly suspectAfterMs: number;
  private readonly clock: Clock;
  private seen: number[];
  private seenAtMs: number;

  /** Watch the receiver, or the sender of lane `producer` (default 0). */
  constructor(channel: SyncChannel, end: 'sender' | 'receiver', options: HeartbeatOptions = {}, producer = 0) {
    const view = viewOf(channel);
    if (!(Number.isInteger(producer) && producer >= 0 && producer < view.lanes)) {
      throw new RangeError(`Cannot watch producer ${producer}: the channel has ${view.lanes}`);
    }
    if (end !== 'sender' && end !== 'receiver') throw new TypeError(`Cannot watch the ${end}: sender or receiver`);
    const lanes = Array.from({ length: view.lanes }, (_, lane) => laneAt(lane));
    const base = laneAt(producer);
    this.control = view.control;
    this.stateAt = end === 'receiver' ? RECEIVER_STATE : base + SENDER_STATE;
    this.words =
      end === 'receiver'
        ? [RECEIVER_STATE + BEAT, ...lanes.map((at) => at + HEAD)]
        : [base + SENDER_STATE + BEAT, base + TAIL];
    this.suspectAfterMs = options.suspectAfterMs ?? 2000;
    this.clock = options.clock ?? systemClock;
    this.seen = this.look();
    this.seenAtMs = this.clock();
  }

  /** Look for a sign of life. `absent`: the end is not open. Shared words: reads beats and positions. */
  check(): Health {
    if (stateOf(Atomics.load(this.control, this.stateAt)) !== END_OPEN) return 'absent';
    const now = this.clock();
    const seen = this.look();
    if (seen.some((value, i) => value !== this.seen[i])) {
      this.seen = seen;
      this.seenAtMs = now;
    }
    return now - this.seenAtMs >= this.suspectAfterMs ? 'suspect' : 'alive';
  }

  private look(): number[] {
    return [
      stateOf(Atomics.load(this.control, this.stateAt)),
      ...this.words.map((at) => Atomics.load(this.control, at)),
    ];
  }
}
