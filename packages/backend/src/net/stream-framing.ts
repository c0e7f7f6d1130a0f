// Frames on a byte stream: a 4-byte big-endian length before each, as QEMU's `-netdev stream` and passt have it.
import { XEN_NETIF_MAX_TX_SIZE } from '@splitring/hypervisor/io';

/** Bytes before each frame. */
export const STREAM_HEADER_BYTES = 4;

/** Put the length before a frame. */
export function frameForStream(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(STREAM_HEADER_BYTES + frame.length);
  new DataView(bytes.buffer).setUint32(0, frame.length);
  bytes.set(frame, STREAM_HEADER_BYTES);
  return bytes;
}

/** Cuts a stream into frames, however its chunks fall. */
export class StreamDecoder {
  #rest: Uint8Array = new Uint8Array();
  #isBroken = false;

  /** Whether a length was impossible: nothing after it can be understood. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Take a chunk and hand on every frame that is complete. */
  push(chunk: Uint8Array, onFrame: (frame: Uint8Array) => void): void {
    if (this.#isBroken) return;
    const bytes = this.#rest.length === 0 ? chunk : concat(this.#rest, chunk);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    while (bytes.length - at >= STREAM_HEADER_BYTES) {
      const length = view.getUint32(at);
      if (length > XEN_NETIF_MAX_TX_SIZE) {
        this.#isBroken = true;
        return;
      }
      if (bytes.length - at - STREAM_HEADER_BYTES < length) break;
      onFrame(bytes.subarray(at + STREAM_HEADER_BYTES, at + STREAM_HEADER_BYTES + length));
      at += STREAM_HEADER_BYTES + length;
    }
    this.#rest = bytes.slice(at); // at most one frame: a copy, because the chunk's memory is the socket's
  }
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}
