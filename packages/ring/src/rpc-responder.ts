// The answering side of request and reply.
import type { AbortSignalLike } from './channel-options.ts';
import type { ChannelReceiver } from './channel-receiver.ts';
import type { ChannelSender } from './channel-sender.ts';
import { RingError } from './error.ts';
import { failureReply, MAX_FAILURE_BYTES, wrapReply } from './rpc-reply.ts';

/** Answers one request: the reply's bytes, at once or later. What it throws reaches the caller as `CALL_FAILED`. */
export type RpcHandler = (request: Uint8Array) => Uint8Array | Promise<Uint8Array>;

/** The answering side. */
export class RpcResponder {
  private readonly receiver: ChannelReceiver;
  private readonly sender: ChannelSender;

  /** Use `Rpc.responder`. */
  constructor(receiver: ChannelReceiver, sender: ChannelSender) {
    this.receiver = receiver;
    this.sender = sender;
  }

  /**
   * Answer requests until the caller closes. Requests are handled as they come, without waiting for earlier answers; a
   * handler that throws fails its own call only. Rejects when a channel fails or the caller dies, or with the signal's
   * reason.
   */
  async serve(handler: RpcHandler, options: { readonly signal?: AbortSignalLike | undefined } = {}): Promise<void> {
    const under = new Set<Promise<void>>();
    while (await this.receiver.ready(options)) {
      for (let request = this.receiver.tryReceive(); request !== undefined; request = this.receiver.tryReceive()) {
        const task = this.answer(handler, request, this.receiver.tag);
        under.add(task);
        void task.finally(() => under.delete(task));
      }
    }
    await Promise.all(under);
  }

  /**
   * Answer requests on this thread, blocking it, until the caller closes or `timeoutMs` pass without a request. The
   * handler answers at once. @returns whether the caller closed (false: the time is over).
   */
  serveSync(
    handler: (request: Uint8Array) => Uint8Array,
    options: { readonly timeoutMs?: number | undefined } = {},
  ): boolean {
    for (;;) {
      try {
        if (!this.receiver.readySync(options)) return true;
      } catch (error) {
        if (error instanceof RingError && error.code === 'CHANNEL_TIMED_OUT') return false;
        throw error;
      }
      const request = this.receiver.tryReceive() ?? new Uint8Array(0);
      const tag = this.receiver.tag;
      const reply = this.replyTo(() => handler(request));
      const isTooLong = reply.length > this.sender.maxMessageBytes;
      this.sender.sendSync(isTooLong ? this.failed(tooLong(reply, this.sender)) : reply, { tag });
    }
  }

  /** End both channels in order. */
  close(): void {
    this.sender.close();
    this.receiver.close();
  }

  private replyTo(handler: () => Uint8Array): Uint8Array {
    try {
      return wrapReply(handler());
    } catch (error) {
      return this.failed(error);
    }
  }

  private failed(error: unknown): Uint8Array {
    return failureReply(error, Math.min(this.sender.maxMessageBytes, MAX_FAILURE_BYTES));
  }

  private async answer(handler: RpcHandler, request: Uint8Array, tag: number): Promise<void> {
    let reply: Uint8Array;
    try {
      reply = wrapReply(await handler(request));
      if (reply.length > this.sender.maxMessageBytes) reply = this.failed(tooLong(reply, this.sender));
    } catch (error) {
      reply = this.failed(error);
    }
    await this.sender.send(reply, { tag }).catch(() => undefined); // the channel is over: `serve` learns it too
  }
}

function tooLong(reply: Uint8Array, sender: ChannelSender): string {
  return `the answer has ${reply.length - 1} bytes, at most ${sender.maxMessageBytes - 1} fit`;
}
