// An extent: whole frames of memory that exactly two domains may hold, and the state of each frame.
//
// The frame words lie in a buffer of their own, apart from the memory that guests write; only the owner changes them.
// Who holds a frame through a grant is written in the map-track tables, nowhere else.
import { EXTENT_SHIFT, type FrameNumber, PAGE_SHIFT, PAGE_SIZE } from '../ids.ts';
import type { Identity } from './tables.ts';
import type { WasmBacking } from './wasm-backing.ts';

/** The frame is handed out. */
export const FRAME_ALLOCATED = 1;
/** The frame was given back while it was granted: quarantine. Nothing new may map it. */
export const FRAME_FREEING = 2;
/** The frame holds old data, to be zeroed before it is handed out again. */
export const FRAME_DIRTY = 4;

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
  /** The WebAssembly.Memory that `buffer` belongs to, and its number on this machine: for native copies. */
  readonly wasm?: WasmBacking;
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
  /** By first frame: the view asked for last. */
  readonly #runs: (Uint8Array | undefined)[] = [];

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
    const page = this.#view(index, 1);
    this.#pages[index] = page;
    return page;
  }

  /** One view of `frames` frames from `index` on; the same object as long as the runs from there have one length. */
  run(index: number, frames: number): Uint8Array {
    const known = this.#runs[index];
    if (known !== undefined && known.length === frames * PAGE_SIZE) return known;
    const run = this.#view(index, frames);
    this.#runs[index] = run;
    return run;
  }

  #view(index: number, frames: number): Uint8Array {
    return new Uint8Array(this.grant.buffer, this.grant.byteOffset + (index << PAGE_SHIFT), frames * PAGE_SIZE);
  }
}
