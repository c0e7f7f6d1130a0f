// Hands out the frames that one domain owns. Runs on the owner's thread; the frame words are the only lasting state.
import { EXTENT_SHIFT, type FrameNumber } from '../ids.ts';
import { type Extent, FRAME_ALLOCATED, FRAME_DIRTY, FRAME_FREEING } from './extent.ts';
import { identityDomid, type Tables } from './tables.ts';

/** Whether none of an extent's frames is handed out or in quarantine. */
export function isUnused(states: Int32Array): boolean {
  for (let i = 0; i < states.length; i++) if ((Atomics.load(states, i) & ~FRAME_DIRTY) !== 0) return false;
  return true;
}

const INDEX_MASK = (1 << EXTENT_SHIFT) - 1;

/** A place in an extent. */
export interface Placement {
  /** Where. */
  readonly extent: Extent;
  /** First frame. */
  readonly index: number;
}

/** The allocator of one domain. */
export class FrameAllocator {
  readonly #own: Extent[] = [];
  readonly #next = new Map<Extent, number>();
  /** Live grants per frame, as made by grantAccess. */
  readonly #grants = new Map<number, number>();
  readonly #quarantine = new Set<FrameNumber>();

  /** Take an extent into use. */
  add(extent: Extent): void {
    if (this.#own.includes(extent)) return;
    this.#own.push(extent);
    this.#next.set(extent, 0);
  }

  /** Forget an extent. */
  remove(id: number): void {
    const at = this.#own.findIndex((extent) => extent.grant.id === id);
    if (at < 0) return;
    for (const extent of this.#own.splice(at, 1)) this.#next.delete(extent);
  }

  /** Frames in quarantine: given back, but still granted. */
  get quarantined(): number {
    return this.#quarantine.size;
  }

  /** Find and take `frames` consecutive free frames shared with `peer`, zeroed. */
  allocate(peer: number, frames: number): Placement | undefined {
    this.sweep();
    for (const extent of this.#own) {
      if (extent.grant.peer !== peer) continue;
      const index = this.#findRun(extent, frames);
      if (index >= 0) return this.#take(extent, index, frames);
    }
    return undefined;
  }

  /** Give frames back. Those still granted go into quarantine: a peer may hold them, or come to. */
  free(extent: Extent, index: number, frames: number): void {
    for (let at = index; at < index + frames; at++) {
      const state = Atomics.or(extent.states, at, FRAME_FREEING | FRAME_DIRTY);
      if ((state & FRAME_ALLOCATED) === 0) {
        Atomics.and(extent.states, at, ~FRAME_FREEING);
        continue;
      }
      if (!this.#settle(extent, at)) this.#quarantine.add(extent.frame(at));
    }
  }

  /** Whether an extent is entirely free whose peer lives no more: nothing will ever be allocated from it. */
  hasLeftover(tables: Tables): boolean {
    return this.#own.some(
      (extent) =>
        tables.liveIdentity(identityDomid(extent.grant.peer)) !== extent.grant.peer && isUnused(extent.states),
    );
  }

  /** Whether a frame is handed out (and not on its way back). */
  isAllocated(extent: Extent, index: number): boolean {
    return (Atomics.load(extent.states, index) & (FRAME_ALLOCATED | FRAME_FREEING)) === FRAME_ALLOCATED;
  }

  /** A grant of `frame` was made. */
  granted(frame: FrameNumber): void {
    this.#grants.set(frame, (this.#grants.get(frame) ?? 0) + 1);
  }

  /** A grant of `frame` has ended. */
  ended(frame: FrameNumber): void {
    const left = (this.#grants.get(frame) ?? 0) - 1;
    if (left > 0) this.#grants.set(frame, left);
    else this.#grants.delete(frame);
  }

  /** Release what quarantine no longer needs to hold. */
  sweep(): void {
    for (const frame of this.#quarantine) {
      const extent = this.#own.find((one) => one.grant.id === frame >> EXTENT_SHIFT);
      if (extent === undefined || this.#settle(extent, frame & INDEX_MASK)) this.#quarantine.delete(frame);
    }
  }

  /** Free a frame once no grant of it is left: an ended grant is one that nobody holds. @returns whether it is free now */
  #settle(extent: Extent, index: number): boolean {
    if (this.#grants.has(extent.frame(index))) return false;
    Atomics.store(extent.states, index, FRAME_DIRTY);
    return true;
  }

  #findRun(extent: Extent, frames: number): number {
    const total = extent.grant.frames;
    const from = this.#next.get(extent) ?? 0;
    const found = this.#scan(extent, frames, from, total);
    return found >= 0 || from === 0 ? found : this.#scan(extent, frames, 0, total);
  }

  #scan(extent: Extent, frames: number, from: number, to: number): number {
    let length = 0;
    for (let index = from; index < to; index++) {
      const isFree = (Atomics.load(extent.states, index) & ~FRAME_DIRTY) === 0;
      length = isFree ? length + 1 : 0;
      if (length === frames) return index - frames + 1;
    }
    return -1;
  }

  #take(extent: Extent, index: number, frames: number): Placement {
    let isDirty = false;
    for (let at = index; at < index + frames; at++) {
      if ((Atomics.load(extent.states, at) & FRAME_DIRTY) !== 0) isDirty = true;
    }
    if (isDirty) extent.run(index, frames).fill(0);
    for (let at = index; at < index + frames; at++) Atomics.store(extent.states, at, FRAME_ALLOCATED);
    this.#next.set(extent, index + frames >= extent.grant.frames ? 0 : index + frames);
    return { extent, index };
  }
}
