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

  /** Let devices reach a frame. @returns false if the I/O page tables are full */
  hold(granter: Identity, frame: FrameNumber, flags: number): boolean {
    if (granter === this.#self) return true; // its devices reach all of a domain's own frames anyway
    const before = this.#holds.get(frame) ?? 0;
    const after = before + ((flags & GNTMAP_readonly) !== 0 ? READER : WRITER);
    if (rightsOf(after) !== rightsOf(before) && !this.#io.setRights(frame, 1, rightsOf(after))) return false;
    this.#holds.set(frame, after);
    return true;
  }

  /** Undo one `hold`. @returns whether rights went down, so that `flush` must be waited for */
  letGo(granter: Identity, frame: FrameNumber, flags: number): boolean {
    if (granter === this.#self) return false;
    const before = this.#holds.get(frame) ?? 0;
    const after = before - ((flags & GNTMAP_readonly) !== 0 ? READER : WRITER);
    if (after > 0) this.#holds.set(frame, after);
    else this.#holds.delete(frame);
    if (rightsOf(after) === rightsOf(before)) return false;
    this.#io.setRights(frame, 1, rightsOf(after));
    return true;
  }

  /** Wait until lowered rights are in force. @returns whether that was confirmed */
  flush(): boolean {
    return this.#io.flush();
  }
}
