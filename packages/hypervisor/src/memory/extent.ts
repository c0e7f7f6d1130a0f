// An extent: whole frames of memory that exactly two domains may hold, and the state of each frame.
//
// The frame words lie in a buffer of their own, apart from the memory that guests write. Per frame:
//   bits  0…13  claims: active grant entries through which the *peer* holds the frame        [peer]
//   bits 14…27  claims by the *owner* itself (grants to oneself)                             [owner]
//   bit  28     allocated                                                                    [owner]
//   bit  29     freeing: given back, but claimed or granted; nothing new may claim it        [owner]
//   bit  30     dirty: holds old data, to be zeroed before it is handed out again            [owner]
// Each word changes by compare-exchange or by one atomic add, so a kill leaves no half of a change. The peer's
// half is wiped as a whole after the peer's fence.
import { EXTENT_SHIFT, type FrameNumber, PAGE_SHIFT, PAGE_SIZE } from '../ids.ts';
import type { Identity } from './tables.ts';

/** One claim by the peer. */
export const PEER_CLAIM = 1;
/** All claims by the peer. */
export const PEER_CLAIMS = 0x3fff;
/** One claim by the owner. */
export const OWNER_CLAIM = 1 << 14;
/** All claims by the owner. */
export const OWNER_CLAIMS = 0x3fff << 14;
/** The frame is handed out. */
export const FRAME_ALLOCATED = 1 << 28;
/** The frame was given back while it was claimed or granted. */
export const FRAME_FREEING = 1 << 29;
/** The frame holds old data. */
export const FRAME_DIRTY = 1 << 30;

/** What a thread needs to use an extent: plain data. */
export interface ExtentGrant {
  /** Which message this is. */
  readonly kind: 'extent';
  /** Number of the extent; part of its frames' numbers. */
  readonly id: number;
  /** Counts the uses of this number. */
  readonly generation: number;
  /** Whose frames these are. */
  readonly owner: Identity;
  /** Who else may hold them; the owner itself for private memory. */
  readonly peer: Identity;
  /** Number of frames. */
  readonly frames: number;
  /** The memory. */
  readonly buffer: SharedArrayBuffer;
  /** Where in `buffer` frame 0 starts, a multiple of 4096. */
  readonly byteOffset: number;
  /** One state word per frame. */
  readonly states: SharedArrayBuffer;
}

/** One extent, as one thread sees it. */
export class Extent {
  /** The plain data it was made from. */
  readonly grant: ExtentGrant;
  /** All of its memory. */
  readonly bytes: Uint8Array;
  /** One state word per frame. */
  readonly states: Int32Array;
  readonly #pages: (Uint8Array | undefined)[] = [];

  /** Open an extent. */
  constructor(grant: ExtentGrant) {
    this.grant = grant;
    this.bytes = new Uint8Array(grant.buffer, grant.byteOffset, grant.frames * PAGE_SIZE);
    this.states = new Int32Array(grant.states, 0, grant.frames);
  }

  /** Number of the frame at `index`. */
  frame(index: number): FrameNumber {
    return ((this.grant.id << EXTENT_SHIFT) | index) as FrameNumber; // the definition of a frame number
  }

  /** The 4096 bytes of the frame at `index`; always the same view object. */
  page(index: number): Uint8Array {
    const known = this.#pages[index];
    if (known !== undefined) return known;
    const page = this.run(index, 1);
    this.#pages[index] = page;
    return page;
  }

  /** A fresh view of `frames` frames from `index` on. */
  run(index: number, frames: number): Uint8Array {
    return new Uint8Array(this.grant.buffer, this.grant.byteOffset + (index << PAGE_SHIFT), frames * PAGE_SIZE);
  }

  /**
   * Hold a frame for one active grant entry. `claim` is PEER_CLAIM or OWNER_CLAIM, by who we are.
   * @returns false if the frame is not allocated, is being freed, or is claimed too often
   */
  claim(index: number, claim: number): boolean {
    const mask = claim === PEER_CLAIM ? PEER_CLAIMS : OWNER_CLAIMS;
    for (;;) {
      const seen = Atomics.load(this.states, index);
      if ((seen & (FRAME_ALLOCATED | FRAME_FREEING)) !== FRAME_ALLOCATED || (seen & mask) === mask) return false;
      if (Atomics.compareExchange(this.states, index, seen, seen + claim) === seen) return true;
    }
  }

  /** Let go of one claim. */
  release(index: number, claim: number): void {
    Atomics.sub(this.states, index, claim);
  }
}
