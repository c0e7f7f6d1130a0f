// The ends of a channel as WHATWG streams, with the channel's own back-pressure: nothing is read ahead, and a write
// settles when the message is in the channel. Subpath `sharedarraybuffer-ring/web-streams`.
import type { ChannelReceiver } from './channel-receiver.ts';
import type { ChannelSender } from './channel-sender.ts';

/**
 * Read a channel as a stream: one chunk per message. The stream ends when the channel is closed, errors when it failed or
 * the sender died; cancelling it closes the receiver.
 *
 * @example
 * await toReadableStream(channel.receiver).pipeThrough(new TextDecoderStream()).pipeTo(sink);
 */
export function toReadableStream(receiver: ChannelReceiver): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const message = await receiver.receive();
        if (message === undefined) controller.close();
        else controller.enqueue(message);
      },
      cancel() {
        receiver.close();
      },
    },
    { highWaterMark: 0 }, // no queue of its own: the channel is the queue, and its bound is the bound
  );
}

/**
 * Write to a channel as a stream: one message per chunk; a chunk longer than `maxMessageBytes` is cut into several.
 * Closing the stream closes the sender, aborting it fails the channel with the reason.
 */
export function toWritableStream(sender: ChannelSender): WritableStream<Uint8Array> {
  return new WritableStream<Uint8Array>(
    {
      async write(chunk) {
        for (let at = 0; at === 0 || at < chunk.length; at += sender.maxMessageBytes) {
          await sender.send(chunk.subarray(at, at + sender.maxMessageBytes));
        }
      },
      close() {
        sender.close();
      },
      abort(reason) {
        sender.fail(reason instanceof Error ? reason.message : String(reason));
      },
    },
    { highWaterMark: 1 },
  );
}
