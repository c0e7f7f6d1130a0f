// The calling side of request and reply: correlation ids, deadlines, and one loop that receives for all calls.
import { endingError } from './channel-end.ts';
import type { AbortSignalLike, WaitOptions } from './channel-options.ts';
import type { ChannelReceiver } from './channel-receiver.ts';
import type { ChannelSender } from './channel-sender.ts';
import { RingError } from './error.ts';
import { unwrapReply } from './rpc-reply.ts';
import type { Clock } from './wait.ts';

interface Pending {
  readonly resolve: (reply: Uint8Array) => void;
  readonly reject: (error: unknown) => void;
  readonly deadline: number;
  readonly timeoutMs: number | undefined;
  readonly release: () => void;
}

/** Ends the wait of a pump early, as an abort would, so that it looks at its deadlines again. */
class Nudge implements AbortSignalLike {
  aborted = false;
  private listener: (() => void) | undefined;

  get reason(): this {
    return this;
  }

  fire(): void {
    this.aborted = true;
    this.listener?.();
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    this.listener = listener;
  }

  removeEventListener(): void {
    this.listener = undefined;
  }
}

/** The calling side. */
export class RpcCaller {
  private readonly sender: ChannelSender;
  private readonly receiver: ChannelReceiver;
  private readonly pending = new Map<number, Pending>();
  private lastId: number;
  private isPumping: boolean;
  private late: number;
  private nudge: Nudge;
  private readonly clock: Clock;

  /** Use `Rpc.caller`. */
  constructor(sender: ChannelSender, receiver: ChannelReceiver) {
    this.sender = sender;
    this.receiver = receiver;
    this.lastId = 0;
    this.isPumping = false;
    this.late = 0;
    this.nudge = new Nudge();
    this.clock = sender['clock']; // a friend of the ends, as `park` is: one clock for all deadlines
  }

  /** Replies that came after their call had given up, and replies nobody asked for. */
  get lateReplies(): number {
    return this.late;
  }

  /** Calls under way. */
  get pendingCalls(): number {
    return this.pending.size;
  }

  /**
   * Ask and wait for the answer without blocking; any number of calls may be under way, answered in any order. The
   * timeout covers waiting for room and for the answer.
   *
   * Rejects with RingError `CALL_FAILED` (the handler threw), `CHANNEL_TIMED_OUT`, `CHANNEL_CLOSED`, `CHANNEL_FAILED`,
   * `CHANNEL_PEER_DIED`; RangeError (request too long); or the signal's reason.
   */
  async call(request: Uint8Array, options: WaitOptions = {}): Promise<Uint8Array> {
    const { timeoutMs, signal } = options;
    const deadline = this.clock() + (timeoutMs ?? Number.POSITIVE_INFINITY);
    const id = this.nextId();
    await this.sender.send(request, { ...options, tag: id });
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => this.take(id)?.reject(signal?.reason);
      signal?.addEventListener('abort', onAbort);
      const release = (): void => signal?.removeEventListener('abort', onAbort);
      this.pending.set(id, { resolve, reject, deadline, timeoutMs, release });
      if (!this.isPumping) void this.pump();
      else if (timeoutMs !== undefined) this.nudge.fire(); // its deadline may be the earliest
    });
  }

  /**
   * Ask and block this thread until the answer is here. Throws what `call` rejects with, `CALL_PENDING` while
   * asynchronous calls are under way, and the refusals of a blocking wait.
   */
  callSync(request: Uint8Array, options: { readonly timeoutMs?: number | undefined } = {}): Uint8Array {
    if (this.pending.size > 0 || this.isPumping) {
      throw new RingError('CALL_PENDING', 'Cannot block: asynchronous calls are under way, await them first');
    }
    const { timeoutMs } = options;
    const deadline = this.clock() + (timeoutMs ?? Number.POSITIVE_INFINITY);
    this.receiver.checkBlocking(timeoutMs);
    const id = this.nextId();
    this.sender.sendSync(request, { timeoutMs, tag: id });
    for (;;) {
      const remaining = Math.max(0, deadline - this.clock());
      if (!this.receiver.readySync({ timeoutMs: remaining })) throw endingError({ kind: 'closed' }, 'call');
      const reply = this.receiver.tryReceive() ?? new Uint8Array(0);
      if (this.receiver.tag === id) return unwrapReply(reply);
      this.late += 1; // an earlier call gave up on it
    }
  }

  /** End both channels in order; calls under way are rejected with `CHANNEL_CLOSED`. */
  close(): void {
    this.sender.close();
    this.receiver.close();
  }

  private nextId(): number {
    do this.lastId = (this.lastId + 1) | 0;
    while (this.lastId === 0 || this.pending.has(this.lastId));
    return this.lastId;
  }

  private take(id: number): Pending | undefined {
    const call = this.pending.get(id);
    if (call === undefined) return undefined;
    this.pending.delete(id);
    call.release();
    return call;
  }

  // One loop receives for all calls; it runs while there are any.
  private async pump(): Promise<void> {
    this.isPumping = true;
    try {
      while (this.pending.size > 0) {
        if (await this.replyBefore(this.earliestDeadline())) this.settleReplies();
        this.expire();
      }
    } catch (error) {
      for (const id of [...this.pending.keys()]) this.take(id)?.reject(error);
    } finally {
      this.isPumping = false;
    }
  }

  private async replyBefore(deadline: number): Promise<boolean> {
    this.nudge = new Nudge();
    try {
      const timeoutMs = Math.max(0, deadline - this.clock());
      if (await this.receiver.ready({ timeoutMs, signal: this.nudge })) return true;
    } catch (error) {
      if (error instanceof Nudge || (error instanceof RingError && error.code === 'CHANNEL_TIMED_OUT')) return false;
      throw error;
    }
    throw endingError({ kind: 'closed' }, 'call');
  }

  private settleReplies(): void {
    for (let reply = this.receiver.tryReceive(); reply !== undefined; reply = this.receiver.tryReceive()) {
      const call = this.take(this.receiver.tag);
      if (call === undefined) {
        this.late += 1;
        continue;
      }
      try {
        call.resolve(unwrapReply(reply));
      } catch (error) {
        call.reject(error);
      }
    }
  }

  private earliestDeadline(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const call of this.pending.values()) earliest = Math.min(earliest, call.deadline);
    return earliest;
  }

  private expire(): void {
    const now = this.clock();
    for (const [id, call] of [...this.pending]) {
      if (now < call.deadline) continue;
      const { timeoutMs } = call;
      this.take(id)?.reject(
        new RingError('CHANNEL_TIMED_OUT', `Cannot call: no answer within ${timeoutMs} ms`, { timeoutMs }),
      );
    }
  }
}
