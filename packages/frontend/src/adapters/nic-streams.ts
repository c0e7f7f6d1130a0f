// A network card as an async iterator and as WHATWG streams, with the card's back-pressure. Subpath `@splitring/frontend/nic-streams`.
import type { Nic } from '../net/nic.ts';

/**
 * Iterate over received frames, each a copy of its own. Frames wait in the ring while the loop's body runs, and hold
 * their senders back. Ends when the card is unplugged, or `signal` is aborted.
 *
 * @example
 * for await (const frame of framesOf(guest.nic(0))) console.log(frame.length);
 */
export async function* framesOf(nic: Nic, signal?: AbortSignal): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  while (!nic.isRemoved && signal?.aborted !== true) {
    const frame = nic.receive();
    if (frame !== undefined) yield frame;
    else await nic.whenReadable(signal);
  }
}

/** Received frames as a stream of byte chunks, one frame each. Cancelling it stops taking frames. */
export function readableFrames(nic: Nic): ReadableStream<Uint8Array<ArrayBuffer>> {
  const end = new AbortController();
  const frames = framesOf(nic, end.signal);
  return new ReadableStream(
    {
      pull: async (controller) => {
        const { done, value } = await frames.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      cancel: () => end.abort(),
    },
    { highWaterMark: 0 },
  );
}

/**
 * Send one frame, waiting for room and for a link.
 * @throws Error when the card is unplugged, and the reason of `signal` when it is aborted
 */
export async function sendFrame(nic: Nic, frame: Uint8Array, signal?: AbortSignal): Promise<void> {
  while (!nic.send(frame)) {
    signal?.throwIfAborted();
    if (nic.isRemoved) throw new Error('Cannot send: the card is unplugged');
    await nic.whenWritable(signal);
  }
}

/** A stream that sends every chunk as a frame, waiting for room. It errors when the card is unplugged. */
export function writableFrames(nic: Nic): WritableStream<Uint8Array> {
  return new WritableStream({
    // @types/node does not know of the controller's signal, which ends a write that waits.
    write: (frame, controller) => sendFrame(nic, frame, (controller as { signal?: AbortSignal }).signal),
  });
}
