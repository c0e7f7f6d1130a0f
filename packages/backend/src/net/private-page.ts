// A frame's bytes in memory of the driver domain's own: copies, segments, frames from uplinks.
import { type Frame, FrameMemory, type FramePage } from './frame.ts';

/** Memory that no guest can reach, as a fragment of a frame. */
export class PrivatePage implements FramePage {
  /** What it wraps. */
  readonly bytes: Uint8Array;
  readonly memory: FrameMemory;
  readonly address: number;

  /** Wrap `bytes`. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.memory = new FrameMemory(bytes.buffer);
    this.address = bytes.byteOffset;
  }

  slice(start: number, lengthBytes: number): Uint8Array {
    return this.bytes.subarray(start, start + lengthBytes);
  }
}

/** Copy a frame's fragments to the start of `target`, with the header as it was read. @returns its length */
export function linearise(frame: Frame, target: PrivatePage): number {
  let at = 0;
  for (let i = 0; i < frame.fragments; i += 1) {
    const length = frame.lengths[i] as number; // in range, as are the others
    target.bytes.set((frame.pages[i] as FramePage).slice(frame.offsets[i] as number, length), at);
    at += length;
  }
  frame.writeHeader(target);
  return at;
}

/** Make `frame` one fragment of private memory. @returns false if it is shorter than an Ethernet header */
export function wrapPrivate(frame: Frame, page: PrivatePage, lengthBytes: number): boolean {
  frame.reset();
  if (lengthBytes > 0) frame.append(page, 0, lengthBytes);
  return frame.readHeader();
}
