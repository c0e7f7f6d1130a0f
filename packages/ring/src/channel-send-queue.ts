// Sends that wait for room on the event loop: carried out one after the other, in the order of their calls.
import type { AbortSignalLike, SendOptions } from './channel-options.ts';
import type { RingError } from './error.ts';

interface Waiting {
  readonly bytes: Uint8Array;
  readonly tag: number | undefined;
  readonly timeoutMs: number | undefined;
  readonly deadline: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  readonly release: () => void;
}

/** What the queue needs of its sender. */
export interface QueuedSender {
  /** Milliseconds on the sender's clock. */
  now(): number;
  /** `trySend`, past the check that keeps later sends behind the queue. */
  trySendQueued(bytes: Uint8Array, tag: number | undefined): boolean;
  /** Change the room waited for; a waiting `room` looks again. */
  wantRoomFor(length: number): void;
  /** Wait for that room; false if the time is over first. */
  room(timeoutMs: number): Promise<boolean>;
  /** The error of a send whose time is over. */
  sendTimedOut(timeoutMs: number | undefined): RingError;
  /** Tell whether sends wait: later ones must get behind them. */
  lineUp(isInLine: boolean): void;
}

/** The queue; it runs while it is not empty. A send that is aborted or out of time leaves it without holding up others. */
export class SendQueue {
  private readonly sender: QueuedSender;
  private waiting: Waiting[] = [];

  /** The queue of one sender. */
  constructor(sender: QueuedSender) {
    this.sender = sender;
  }

  /** Wait in line; settles when the message is sent, out of time, aborted, or the channel over. */
  push(bytes: Uint8Array, options: SendOptions): Promise<void> {
    const { signal, tag, timeoutMs } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const deadline = this.sender.now() + (timeoutMs ?? Number.POSITIVE_INFINITY);
      const release = onAbort(signal, () => this.remove(entry, signal?.reason));
      const entry: Waiting = { bytes, tag, timeoutMs, deadline, resolve, reject, release };
      this.waiting.push(entry);
      this.sender.lineUp(true);
      if (this.waiting.length === 1) void this.run();
      else this.wantFirst(); // its deadline may be the earliest
    });
  }

  private wantFirst(): void {
    this.sender.wantRoomFor(this.waiting[0]?.bytes.length ?? 0);
  }

  private remove(entry: Waiting, error: unknown): void {
    this.leave(entry);
    entry.reject(error);
    this.wantFirst();
  }

  private leave(entry: Waiting): void {
    if (this.waiting[0] === entry) this.waiting.shift();
    else this.waiting = this.waiting.filter((other) => other !== entry);
    this.sender.lineUp(this.waiting.length > 0);
    entry.release();
  }

  private async run(): Promise<void> {
    for (let first = this.waiting[0]; first !== undefined; first = this.waiting[0]) {
      try {
        if (this.sender.trySendQueued(first.bytes, first.tag)) {
          this.leave(first);
          first.resolve();
          continue;
        }
        this.wantFirst();
        const deadline = this.waiting.reduce((least, entry) => Math.min(least, entry.deadline), first.deadline);
        await this.sender.room(deadline - this.sender.now());
        for (const entry of this.waiting) {
          if (!(this.sender.now() < entry.deadline)) this.remove(entry, this.sender.sendTimedOut(entry.timeoutMs));
        }
      } catch (error) {
        this.remove(first, error); // the channel is over, or this message can never be sent
      }
    }
  }
}

function onAbort(signal: AbortSignalLike | undefined, listener: () => void): () => void {
  signal?.addEventListener('abort', listener);
  return () => signal?.removeEventListener('abort', listener);
}
