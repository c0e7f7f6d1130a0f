// Request and reply over a pair of channels. A call is known by its correlation id, which travels as the message's tag; an
// answer that comes after its call gave up meets nobody and is dropped, so it can never be taken for another call's.
import type { ChannelEndOptions, ChannelHandle, ChannelOptions } from './channel.ts';
import { RingError } from './error.ts';
import { type Channel, createChannel, openChannel } from './open-channel.ts';
import { RpcCaller } from './rpc-caller.ts';
import { RpcResponder } from './rpc-responder.ts';

/** Plain data that carries a caller–responder pair of channels to another thread. */
export interface RpcHandle {
  /** Tells this handle from others. */
  readonly kind: 'rpc';
  /** Layout version. */
  readonly version: 1;
  /** Requests: caller to responder. */
  readonly requests: ChannelHandle;
  /** Replies: responder to caller. */
  readonly replies: ChannelHandle;
}

/**
 * Both sides of request and reply. One thread is the caller, another the responder.
 *
 * @example
 * const rpc = createRpc({ capacityBytes: 1 << 16 });
 * worker.postMessage(rpc.handle); // there: openRpc(handle).responder.serve((request) => answer(request))
 * const reply = await rpc.caller.call(request, { timeoutMs: 100 });
 */
export class Rpc {
  /** Plain data: post it to any thread and open it there. */
  readonly handle: RpcHandle;
  /** The channel that carries requests, for `watch` and `inspect`. */
  readonly requests: Channel;
  /** The channel that carries replies, for `watch` and `inspect`. */
  readonly replies: Channel;
  private openedCaller: RpcCaller | undefined;
  private openedResponder: RpcResponder | undefined;

  /** Use `createRpc` or `openRpc`. */
  constructor(requests: Channel, replies: Channel) {
    this.handle = { kind: 'rpc', version: 1, requests: requests.handle, replies: replies.handle };
    this.requests = requests;
    this.replies = replies;
    this.openedCaller = undefined;
    this.openedResponder = undefined;
  }

  /** The calling side, opened at first use. @throws {RingError} `CHANNEL_END_TAKEN`. */
  get caller(): RpcCaller {
    this.openedCaller ??= new RpcCaller(this.requests.sender, this.replies.receiver);
    return this.openedCaller;
  }

  /** The answering side, opened at first use. @throws {RingError} `CHANNEL_END_TAKEN`. */
  get responder(): RpcResponder {
    this.openedResponder ??= new RpcResponder(this.requests.receiver, this.replies.sender);
    return this.openedResponder;
  }
}

/** Make a pair of channels for request and reply, `capacityBytes` each. Throws as `createChannel`. */
export function createRpc(options: Omit<ChannelOptions, 'producers'>, endOptions: ChannelEndOptions = {}): Rpc {
  return new Rpc(createChannel(options, endOptions), createChannel(options, endOptions));
}

/** Open a pair from the handle that another thread posted. @throws {RingError} as `openChannel`, and `CHANNEL_HANDLE`. */
export function openRpc(handle: RpcHandle, options: ChannelEndOptions = {}): Rpc {
  if (handle?.kind !== 'rpc' || handle.version !== 1) {
    throw new RingError('CHANNEL_HANDLE', 'Cannot open this: it is no request/reply handle of version 1');
  }
  return new Rpc(openChannel(handle.requests, options), openChannel(handle.replies, options));
}
