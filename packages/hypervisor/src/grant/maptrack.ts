// Which grants a domain maps. Its thread alone writes here while it lives; after the fence the hypervisor reads the
// entries to undo every mapping, so an entry names its grant *before* anything is done to that grant.
//
// Four words per entry: granter identity, grant reference, state, frame.
// State: bits 0…2 GNTMAP_* in force, bit 3 in use, bits 8…19 generation of the handle (stays when the entry is free).
import type { GrantHandle } from '../ids.ts';
import { type Identity, MAPTRACK_WORDS } from '../memory/tables.ts';

/** Word of an entry: identity of the granting domain. */
export const MAPTRACK_GRANTER = 0;
/** Word of an entry: grant reference. */
export const MAPTRACK_REF = 1;
/** Word of an entry: parts in force, in use, handle generation. */
export const MAPTRACK_STATE = 2;
/** Word of an entry: frame recorded when it was mapped. */
export const MAPTRACK_FRAME = 3;
/** Bit of the state: the entry names a grant. */
export const MAPTRACK_IN_USE = 8;
/** Bit of the state: devices cannot reach the frame any more, but that is not confirmed yet. */
export const MAPTRACK_LOWERED = 16;

const INDEX_BITS = 18;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
const GENERATION_SHIFT = 8;
const GENERATION_MASK = 0xfff;

/** One domain's map-track table. */
export class Maptrack {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #entries: number;
  readonly #free: number[] = [];
  #fresh = 0;

  /** Work on the table at `base`. */
  constructor(words: Int32Array, base: number, entries: number) {
    this.#words = words;
    this.#base = base;
    this.#entries = entries;
  }

  /** Entries in use. */
  get used(): number {
    return this.#fresh - this.#free.length;
  }

  /** Take an entry and name the grant that it will map. @returns its index, or −1 if the table is full */
  reserve(granter: Identity, ref: number): number {
    const index = this.#free.pop() ?? (this.#fresh < this.#entries ? this.#fresh++ : -1);
    if (index < 0) return -1;
    const at = this.#base + index * MAPTRACK_WORDS;
    this.#words[at + MAPTRACK_GRANTER] = granter;
    this.#words[at + MAPTRACK_REF] = ref;
    this.#words[at + MAPTRACK_FRAME] = -1;
    const state = (this.#words[at + MAPTRACK_STATE] ?? 0) & (GENERATION_MASK << GENERATION_SHIFT);
    Atomics.store(this.#words, at + MAPTRACK_STATE, state | MAPTRACK_IN_USE);
    return index;
  }

  /** Record a finished mapping; the parts last, so that the entry is not live before. @returns its handle */
  commit(index: number, parts: number, frame: number): GrantHandle {
    const at = this.#base + index * MAPTRACK_WORDS;
    this.#words[at + MAPTRACK_FRAME] = frame;
    const state = (this.#words[at + MAPTRACK_STATE] ?? 0) | parts;
    Atomics.store(this.#words, at + MAPTRACK_STATE, state);
    return (((state >> GENERATION_SHIFT) << INDEX_BITS) | index) as GrantHandle; // generation and index make a handle
  }

  /** First word of the live entry that `handle` names, or −1. */
  find(handle: GrantHandle): number {
    const index = handle & INDEX_MASK;
    if (index >= this.#fresh || handle < 0) return -1;
    const at = this.#base + index * MAPTRACK_WORDS;
    const state = this.#words[at + MAPTRACK_STATE] ?? 0;
    if ((state & 7) === 0 || state >> GENERATION_SHIFT !== handle >> INDEX_BITS) return -1;
    return at;
  }

  /** Remember that the device part of a live entry has been taken from the devices. */
  lowered(at: number): void {
    Atomics.or(this.#words, at + MAPTRACK_STATE, MAPTRACK_LOWERED);
  }

  /** Change the parts in force of a live entry; none left frees it. */
  keep(at: number, parts: number): void {
    const state = this.#words[at + MAPTRACK_STATE] ?? 0;
    if (parts !== 0) Atomics.store(this.#words, at + MAPTRACK_STATE, (state & ~(7 | MAPTRACK_LOWERED)) | parts);
    else this.release((at - this.#base) / MAPTRACK_WORDS);
  }

  /** Free an entry; its handle is never valid again (until 4096 uses later). */
  release(index: number): void {
    const at = this.#base + index * MAPTRACK_WORDS;
    const state = this.#words[at + MAPTRACK_STATE] ?? 0;
    const generation = ((state >> GENERATION_SHIFT) + 1) & GENERATION_MASK;
    Atomics.store(this.#words, at + MAPTRACK_STATE, generation << GENERATION_SHIFT);
    this.#free.push(index);
  }
}
