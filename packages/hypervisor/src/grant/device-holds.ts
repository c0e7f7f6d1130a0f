// What the devices of one domain may reach through grants: per frame, how many device mappings read and write it.
// Private to the domain's thread; the I/O page tables behind `IoMapper` are wiped as a whole after its fence.
import { GNTMAP_readonly } from '../hypercalls.ts';
import type { FrameNumber } from '../ids.ts';
import type { IoMapper, IoRights } from '../memory/io-mapper.ts';
import type { Identity } from '../memory/tables.ts';

const READER = 1;
const WRITER = 0x10000;

function rightsOf(holds: number): IoRights {
  if (holds >= WRITER) return 2;
  return holds > 0 ? 1 : 0;
}

/** The device mappings of one domain. */
export class DeviceHolds {
  readonly #self: Identity;
  readonly #io: IoMapper;
  readonly #holds = new Map<FrameNumber, number>();

  /** Keep the I/O page table `io` of `self`. */
  constructor(self: Identity, io: IoMapper) {
    this.#self = self;
    this.#io = io;
  }

  /** Frames that devices can reach through grants. */
  get size(): number {
    return this.#holds.size;
  }

  /** Let devices reach frames. @returns false if the I/O page tables are full: nothing has changed then */
  hold(granter: Identity, first: FrameNumber, frames: number, flags: number): boolean {
    if (granter === this.#self) return true; // its devices reach all of a domain's own frames anyway
    const isFresh = this.#isFresh(first, frames);
    if (isFresh && !this.#io.setRights(first, frames, (flags & GNTMAP_readonly) !== 0 ? 1 : 2)) {
      this.#io.setRights(first, frames, 0);
      return false;
    }
    for (let i = 0; i < frames; i++) {
      const frame = (first + i) as FrameNumber; // within the run
      if (this.#change(frame, (flags & GNTMAP_readonly) !== 0 ? READER : WRITER, isFresh)) continue;
      this.letGo(granter, first, i, flags);
      return false;
    }
    return true;
  }

  /** Undo one `hold`. @returns whether rights went down, so that `flush` must be waited for */
  letGo(granter: Identity, first: FrameNumber, frames: number, flags: number): boolean {
    if (granter === this.#self) return false;
    let isLowered = false;
    for (let i = 0; i < frames; i++) {
      const frame = (first + i) as FrameNumber; // within the run
      const before = rightsOf(this.#holds.get(frame) ?? 0);
      this.#change(frame, (flags & GNTMAP_readonly) !== 0 ? -READER : -WRITER, true);
      const after = rightsOf(this.#holds.get(frame) ?? 0);
      if (after === before) continue;
      isLowered = true;
      if (after !== 0) this.#io.setRights(frame, 1, after);
    }
    if (isLowered) this.#clearUnheld(first, frames);
    return isLowered;
  }

  #isFresh(first: FrameNumber, frames: number): boolean {
    for (let i = 0; i < frames; i++) if (this.#holds.has((first + i) as FrameNumber)) return false; // within the run
    return true;
  }

  /** Count one mapping more or less. @returns false if rights had to rise and could not */
  #change(frame: FrameNumber, step: number, isMapped: boolean): boolean {
    const before = this.#holds.get(frame) ?? 0;
    const after = before + step;
    if (!isMapped && rightsOf(after) !== rightsOf(before) && !this.#io.setRights(frame, 1, rightsOf(after)))
      return false;
    if (after > 0) this.#holds.set(frame, after);
    else this.#holds.delete(frame);
    return true;
  }

  /** Take all rights from the frames that nothing holds any more, a stretch at a time. */
  #clearUnheld(first: FrameNumber, frames: number): void {
    let from = 0;
    for (let i = 0; i <= frames; i++) {
      if (i < frames && !this.#holds.has((first + i) as FrameNumber)) continue; // within the run
      if (i > from) this.#io.setRights((first + from) as FrameNumber, i - from, 0);
      from = i + 1;
    }
  }

  /** Wait until lowered rights are in force. @returns whether that was confirmed */
  flush(): boolean {
    return this.#io.flush();
  }

  /** Whether they are by now; never blocks. */
  isFlushed(): boolean {
    return this.#io.isFlushed();
  }
}
