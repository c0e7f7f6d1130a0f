// The granting side: a domain's own grant table, the way Linux keeps it. Only its own thread writes here, but the table
// itself is guest memory, so everything that matters is kept in private shadows.
import { HypercallError } from '../error.ts';
import type { DomId, FrameNumber, GrantRef } from '../ids.ts';
import {
  GNTTAB_NR_RESERVED_ENTRIES,
  GRANT_WORDS,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_writing,
  grantWord,
} from './grant-entry.ts';

const FREE = -1;

/** One domain's grant table. */
export class GrantTable {
  readonly #words: Int32Array;
  readonly #entries: number;
  /** Frame of each live reference, FREE otherwise. Our shadow: never read back from the table. */
  readonly #frames: Int32Array;
  readonly #free: number[] = [];
  #fresh = GNTTAB_NR_RESERVED_ENTRIES;

  /** Keep the table in `words`. */
  constructor(words: Int32Array) {
    this.#words = words;
    this.#entries = words.length / GRANT_WORDS;
    this.#frames = new Int32Array(this.#entries).fill(FREE);
  }

  /** References in use, the builder's apart. */
  get used(): number {
    return this.#fresh - GNTTAB_NR_RESERVED_ENTRIES - this.#free.length;
  }

  /**
   * Fill a free entry.
   *
   * Shared words: writes `frame`, then flags and domid in one store [GUEST], so that a mapper never sees half of it.
   * @throws HypercallError GNTST_no_space when the table is full
   */
  grant(peer: DomId, frame: FrameNumber, isReadonly: boolean): GrantRef {
    const ref = this.#free.pop() ?? (this.#fresh < this.#entries ? this.#fresh++ : FREE);
    if (ref === FREE) {
      throw new HypercallError(
        'GNTST_no_space',
        `Cannot grant frame ${frame}: all ${this.#entries} grants are in use`,
        {
          frame,
          limit: this.#entries,
        },
      );
    }
    this.#frames[ref] = frame;
    Atomics.store(this.#words, ref * GRANT_WORDS + 1, frame);
    Atomics.store(
      this.#words,
      ref * GRANT_WORDS,
      grantWord(isReadonly ? GTF_permit_access | GTF_readonly : GTF_permit_access, peer),
    );
    return ref as GrantRef; // an index into the table is a reference
  }

  /** The frame that `ref` grants, or −1. */
  frameOf(ref: GrantRef): FrameNumber | -1 {
    return (this.#frames[ref] ?? FREE) as FrameNumber | -1; // written by grant() only
  }

  /**
   * End a grant.
   *
   * Shared word: flags, compare-exchange from the value read to 0; a plain store would race with a mapper (XSA-396).
   * @returns false while the peer holds it: the frame is not ours yet
   */
  end(ref: GrantRef): boolean {
    if (this.frameOf(ref) === FREE) return true;
    const at = ref * GRANT_WORDS;
    for (;;) {
      const seen = Atomics.load(this.#words, at);
      if ((seen & (GTF_reading | GTF_writing)) !== 0) return false;
      if (Atomics.compareExchange(this.#words, at, seen, 0) === seen) break;
    }
    this.#frames[ref] = FREE;
    this.#free.push(ref);
    return true;
  }
}
