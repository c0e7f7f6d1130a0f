// Does for a receiver what it said it cannot do itself: finish checksums, cut large TCP frames.
import { fillChecksum, segmentTcp } from '@splitring/device';
import { XEN_NETIF_MAX_TX_SIZE } from '@splitring/hypervisor/io';
import { Frame } from './frame.ts';
import { linearise, PrivatePage, wrapPrivate } from './private-page.ts';

/** Most segments of one frame: smaller segment sizes only serve to keep us busy. */
export const MAX_SEGMENTS = 256;

/** Room for the largest frame; one per thread is enough, because nothing keeps it across calls. */
let scratch: PrivatePage | undefined;

/**
 * Turn a frame with a blank checksum, or a large one, into frames as they would be on a wire.
 *
 * @param emit receives each of them, complete with checksums, in memory that the next call reuses
 * @returns how many there were; 0 if the frame is not what its flags say
 */
export function toWireFrames(frame: Frame, emit: (bytes: Uint8Array) => void): number {
  scratch ??= new PrivatePage(new Uint8Array(XEN_NETIF_MAX_TX_SIZE + 1));
  const lengthBytes = linearise(frame, scratch);
  if (frame.gsoSizeBytes === 0) {
    if (frame.isChecksumBlank && !fillChecksum(scratch.bytes, lengthBytes)) return 0;
    emit(scratch.bytes.subarray(0, lengthBytes));
    return 1;
  }
  if (lengthBytes > frame.gsoSizeBytes * MAX_SEGMENTS) return 0;
  return segmentTcp(scratch.bytes, lengthBytes, frame.gsoSizeBytes, (segment) => {
    emit(segment);
    return true;
  });
}

/** Like {@link toWireFrames}, each result as a frame of private memory. */
export function toWire(frame: Frame, emit: (frame: Frame) => void): number {
  const wire = new Frame();
  return toWireFrames(frame, (bytes) => {
    if (wrapPrivate(wire, new PrivatePage(bytes), bytes.length)) {
      wire.isValidated = true;
      emit(wire);
    }
  });
}
