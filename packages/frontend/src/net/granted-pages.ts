// Pages that stay granted to one back end as long as the connection lives.
import { type DomId, type FrameRun, type GrantRef, type Hypercalls, PAGE_SIZE } from '@splitring/hypervisor';

/**
 * A contiguous run of zeroed pages, each granted once to `peer`. Reusing grants is what lets a back end keep them mapped.
 *
 * @example
 * const pages = new GrantedPages(hypercalls, peer, 256, true);
 * pages.bytes.set(frame, 3 * PAGE_SIZE); // page 3, which the peer knows as pages.refs[3]
 * pages.release();
 */
export class GrantedPages {
  /** The memory of all pages, in order. */
  readonly bytes: Uint8Array;
  /** The grant of each page. */
  readonly refs: readonly GrantRef[];
  readonly #hypercalls: Hypercalls;
  readonly #run: FrameRun;
  #isReleased = false;

  /**
   * Allocate and grant `pages` pages. @throws HypercallError when memory or grants are short; nothing stays granted then
   */
  constructor(hypercalls: Hypercalls, peer: DomId, pages: number, isReadonly: boolean) {
    this.#hypercalls = hypercalls;
    this.#run = hypercalls.allocateFrames(peer, pages);
    this.bytes = this.#run.bytes;
    const refs: GrantRef[] = [];
    this.refs = refs;
    try {
      for (let page = 0; page < pages; page += 1) {
        refs.push(hypercalls.grantAccess(peer, (this.#run.first + page) as GrantedFrame, isReadonly));
      }
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /**
   * End every grant and give the pages back. A page that the peer still maps stays in the hypervisor's quarantine: it is
   * never handed out again before the mapping ends. Idempotent.
   * @returns the grants that the peer still holds on to: to be ended later
   */
  release(): readonly GrantRef[] {
    if (this.#isReleased) return [];
    this.#isReleased = true;
    const held = this.refs.filter((ref) => !this.#hypercalls.endAccess(ref));
    this.#hypercalls.freeFrames(this.#run);
    return held;
  }
}

/** Frames of a run follow its first by one. */
type GrantedFrame = FrameRun['first'];

/** Bytes of each page. */
export const GRANTED_PAGE_BYTES = PAGE_SIZE;
