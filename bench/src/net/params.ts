// Parameters that the network suite's subjects share.

/** One network case. */
export interface NetParams extends Readonly<Record<string, string | number | boolean>> {
  /** Bytes of a frame, Ethernet header included. */
  readonly bytes: number;
  /** Guests on the bridge that are measured: senders and receivers in turn, or all of both kinds. */
  readonly guests: number;
  /** `pairs`: 0 sends to 1, 2 to 3 …; `ring`: each sends to the next; `echo`: 0 sends, 1 answers, one frame at a time. */
  readonly traffic: 'pairs' | 'ring' | 'echo';
  /** Empty polls before the driver domain sleeps. */
  readonly driverSpins: number;
  /**
   * Which memory the extents come from: `separate` buffers for each pair of domains, the same as WebAssembly memories
   * (`separate-wasm`), or one WebAssembly memory that is `shared` by all.
   */
  readonly memory: 'separate' | 'separate-wasm' | 'shared';
  /**
   * One more pair on the same bridge, that is not measured and sends as fast as it can until the others are done: frames
   * of `besideBytes`, to a guest that takes them, or to one that is `deaf`: it takes none.
   */
  readonly beside: 'nobody' | 'pair' | 'deaf';
  /** Bytes of its frames. */
  readonly besideBytes: number;
  /** Note when the frame passes each domain. */
  readonly hasHops: boolean;
  /** The driver domain has an open uplink that nobody uses. */
  readonly hasUplink: boolean;
}

/** Words of the control buffer: trials started, operations of each guest, trials that are over. */
export const CONTROL = { start: 0, operations: 1, stop: 2 } as const;

/** Payload of a segment when a frame is larger than a page. */
export const SEGMENT_BYTES = 1448;
/** Frames of at most this many bytes travel in one slot. */
export const PAGE_BYTES = 4096;

/** The address of guest `index`. */
export function guestMac(index: number): Uint8Array {
  return Uint8Array.of(0, 0x16, 0x3e, 0, index >> 8, index & 0xff);
}

/** A frame to guest `to`, filled; its sequence number goes to byte 14. Large ones say IPv4: only that can be segmented. */
export function makeFrame(from: number, to: number, bytes: number): Uint8Array {
  const frame = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i++) frame[i] = i * 31 + (i >> 8);
  frame.set(guestMac(to), 0);
  frame.set(guestMac(from), 6);
  frame.set(bytes > PAGE_BYTES ? [0x08, 0x00] : [0x88, 0xb5], 12);
  return frame;
}
