// The ends of a channel as Node streams, with the channel's back-pressure behind the streams' own. Subpath
// `sharedarraybuffer-ring/node-streams`.
import { Readable, Writable } from 'node:stream';
import type { ChannelReceiver } from './channel-receiver.ts';
import type { ChannelSender } from './channel-sender.ts';

/** Options of both adapters. */
export interface NodeStreamOptions {
  /**
   * Keep messages apart (each chunk one message, a long one refused); by default the stream is one of bytes, where Node may
   * join chunks and long ones are cut.
   */
  readonly objectMode?: boolean | undefined;
  /** What the stream itself buffers: bytes (default 16 KiB), or messages in object mode (default 16). */
  readonly highWaterMark?: number | undefined;
}

const DEFAULT_BYTES = 16 * 1024;
const DEFAULT_MESSAGES = 16;

function streamOptions(options: NodeStreamOptions): { objectMode: boolean; highWaterMark: number } {
  const { objectMode = false } = options;
  return { objectMode, highWaterMark: options.highWaterMark ?? (objectMode ? DEFAULT_MESSAGES : DEFAULT_BYTES) };
}

/**
 * Read a channel as a Node stream. It ends when the channel is closed and is destroyed with the error when the channel
 * failed or the sender died. Destroying it closes the receiver, or fails the channel with the given error's message.
 *
 * @example
 * await pipeline(toReadable(channel.receiver), createWriteStream('out.bin'));
 */
export function toReadable(receiver: ChannelReceiver, options: NodeStreamOptions = {}): Readable {
  let isPulling = false;
  const pull = async (stream: Readable): Promise<void> => {
    while (await receiver.ready()) {
      for (let message = receiver.tryReceive(); message !== undefined; message = receiver.tryReceive()) {
        if (message.length === 0 && !stream.readableObjectMode) continue; // an empty chunk would tell "no more for now"
        if (!stream.push(message)) return; // full: what is not taken stays in the channel and holds the sender up
      }
    }
    stream.push(null);
  };
  return new Readable({
    ...streamOptions(options),
    read() {
      if (isPulling) return;
      isPulling = true;
      pull(this).then(
        () => {
          isPulling = false;
        },
        (error: Error) => this.destroy(error),
      );
    },
    destroy(error, done) {
      if (error === null) receiver.close();
      else receiver.fail(error.message);
      done(error);
    },
  });
}

/**
 * Write to a channel as a Node stream. `end` closes the sender after everything is sent; destroying it fails the channel
 * with the error's message, so that the reader never mistakes a broken stream for a complete one.
 */
export function toWritable(sender: ChannelSender, options: NodeStreamOptions = {}): Writable {
  const settings = streamOptions(options);
  const sendInPieces = async (chunk: Uint8Array): Promise<void> => {
    const limit = settings.objectMode ? chunk.length : sender.maxMessageBytes;
    for (let at = 0; at === 0 || at < chunk.length; at += limit) await sender.send(chunk.subarray(at, at + limit));
  };
  return new Writable({
    ...settings,
    write(chunk: Uint8Array, _encoding, done) {
      if (chunk.length <= sender.maxMessageBytes) {
        sender.send(chunk).then(() => done(), done);
      } else sendInPieces(chunk).then(() => done(), done);
    },
    final(done) {
      sender.close();
      done();
    },
    destroy(error, done) {
      if (error !== null || !this.writableFinished) sender.fail(error?.message ?? 'the stream was destroyed');
      done(error);
    },
  });
}
