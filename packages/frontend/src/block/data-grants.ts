// Grants of the pages that data travels in: made once and kept (persistent), or made and ended for each request.
// hot path: bench/src/block
import {
  type DomId,
  type FrameNumber,
  type FrameRun,
  type GrantRef,
  HypercallError,
  type Hypercalls,
} from '@splitring/hypervisor';

/** Counts the grants of each page of one run; a page granted for writing stays so until it is ended. */
export class DataGrants {
  /** Whether grants outlive their request. Changes only while nothing is granted. */
  isPersistent: boolean;
  /** Pages whose grant could not be ended: still mapped by the peer, never to be used again. */
  stuckPages: number;
  private readonly hypercalls: Hypercalls;
  private readonly peer: DomId;
  /** First frame of the run. */
  readonly first: number;
  /** Grant of each frame of the run, 0 for none. */
  readonly refs: Int32Array;
  private readonly uses: Uint16Array;

  constructor(hypercalls: Hypercalls, peer: DomId, run: FrameRun) {
    this.isPersistent = true;
    this.stuckPages = 0;
    this.hypercalls = hypercalls;
    this.peer = peer;
    this.first = run.first;
    this.refs = new Int32Array(run.frames);
    this.uses = new Uint16Array(run.frames);
  }

  /** Whether `frame` can be granted by this table. */
  covers(frame: number): boolean {
    const page = frame - this.first;
    return page >= 0 && page < this.refs.length;
  }

  /**
   * Have a grant for each of the first `count` of `frames`, which are covered, or for none more than before.
   * @returns false when the grant table is full
   */
  use(frames: readonly number[], count: number): boolean {
    const { refs, first } = this;
    for (let i = 0; i < count; i += 1) {
      const page = (frames[i] as number) - first; // `count` of them
      if (refs[page] === 0 && !this.grant(page)) {
        for (let used = 0; used < i; used += 1) this.done(frames[used] as number); // likewise
        return false;
      }
      if (!this.isPersistent) this.uses[page] = (this.uses[page] as number) + 1; // in range: covers() held
    }
    return true;
  }

  /** A request that used `frame` is over. @returns false if the peer still maps it: the page must not be used again */
  done(frame: number): boolean {
    if (this.isPersistent) return true;
    const page = frame - this.first;
    const left = (this.uses[page] as number) - 1;
    this.uses[page] = left;
    return left > 0 || this.end(page);
  }

  /** End every grant; those that the peer still maps stay and are counted in `stuckPages`. */
  endAll(): void {
    this.stuckPages = 0;
    for (let page = 0; page < this.refs.length; page += 1) {
      this.uses[page] = 0;
      if (!this.end(page)) this.stuckPages += 1;
    }
  }

  /** The grants that `endAll` left. */
  get stuckRefs(): readonly GrantRef[] {
    return Array.from(this.refs).filter((ref) => ref !== 0) as GrantRef[]; // stored from grantAccess
  }

  private grant(page: number): boolean {
    try {
      // Writable whatever the request says: a persistent grant serves reads and writes alike.
      this.refs[page] = this.hypercalls.grantAccess(this.peer, (this.first + page) as FrameNumber, false);
      return true;
    } catch (error) {
      if (error instanceof HypercallError && error.code === 'GNTST_no_space') return false;
      throw error;
    }
  }

  private end(page: number): boolean {
    const ref = this.refs[page] as number;
    if (ref === 0) return true;
    if (!this.hypercalls.endAccess(ref as GrantRef)) return false;
    this.refs[page] = 0;
    return true;
  }
}

/** Pages of one run, all granted to one peer for as long as the connection lives: a ring, indirect segments. */
export class GrantedRun {
  /** The memory. */
  readonly run: FrameRun;
  /** One grant for each page. */
  readonly refs: readonly GrantRef[];
  private readonly hypercalls: Hypercalls;

  /** Take `pages` zeroed pages and grant them. @throws HypercallError with nothing left taken */
  constructor(hypercalls: Hypercalls, peer: DomId, pages: number, isReadonly: boolean) {
    this.hypercalls = hypercalls;
    this.run = hypercalls.allocateFrames(peer, pages);
    const refs: GrantRef[] = [];
    this.refs = refs;
    try {
      for (let i = 0; i < pages; i += 1) {
        refs.push(hypercalls.grantAccess(peer, (this.run.first + i) as FrameNumber, isReadonly));
      }
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /**
   * End the grants and give the pages back; the hypervisor keeps those that the peer still maps in quarantine.
   * @returns the grants of these, to be ended later
   */
  release(): readonly GrantRef[] {
    const held = this.refs.filter((ref) => !this.hypercalls.endAccess(ref));
    this.hypercalls.freeFrames(this.run);
    return held;
  }
}
