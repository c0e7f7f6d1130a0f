// Which grants a domain maps. Its thread alone writes here while it lives; after the fence the hypervisor reads the
// entries to undo every mapping, so an entry names its grant *before* anything is done to that grant. Plain stores are
// enough: the compare-exchange on the grant that follows publishes them, and so does the end of the thread.
//
// Four words per entry: granter identity, first grant reference, state, first frame. An entry stands for one grant, or for
// a run: consecutive references to consecutive frames.
// State: bits 0…2 GNTMAP_* in force, bit 3 in use, bit 4 lowered, bits 8…19 generation of the handle (stays when the entry
// is free), bits 20…31 grants in the run less one.
import type { GrantHandle } from '../ids.ts';
import { type Identity, MAPTRACK_WORDS } from '../memory/tables.ts';

/** Word of an entry: identity of the granting domain. */
export const MAPTRACK_GRANTER = 0;
/** Word of an entry: (first) grant reference. */
export const MAPTRACK_REF = 1;
/** Word of an entry: parts in force, in use, handle generation. */
export const MAPTRACK_STATE = 2;
/** Word of an entry: (first) frame, recorded when it was mapped; −1 before. */
export const MAPTRACK_FRAME = 3;
/** Bit of the state: the entry names a grant. */
export const MAPTRACK_IN_USE = 8;
/** Bit of the state: devices cannot reach the frame any more, but that is not confirmed yet. */
export const MAPTRACK_LOWERED = 16;

/** Most grants in one entry. */
export const MAPTRACK_MOST = 4096;
const RUN_SHIFT = 20;

/** Grants in an entry with this state. */
export function runLength(state: number): number {
  return (state >>> RUN_SHIFT) + 1;
}

const INDEX_BITS = 18;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
const GENERATION_SHIFT = 8;
const GENERATION_MASK = 0xfff;

/** One domain's map-track table. */
export class Maptrack {
  private readonly words: Int32Array;
  private readonly base: number;
  private readonly entries: number;
  private readonly free: number[] = [];
  private fresh = 0;

  private readonly high: number;

  /** Work on the table at `base`; the word at `high` tells others how many entries were ever used. */
  constructor(words: Int32Array, base: number, entries: number, high: number) {
    this.high = high;
    this.words = words;
    this.base = base;
    this.entries = entries;
  }

  /** Entries in use. */
  get used(): number {
    return this.fresh - this.free.length;
  }

  /** Take an entry and name the `count` grants from `ref` on that it will map. @returns its index, or −1 if the table is full */
  reserve(granter: Identity, ref: number, count: number): number {
    const index = this.free.pop() ?? this.takeFresh();
    if (index < 0) return -1;
    const at = this.base + index * MAPTRACK_WORDS;
    this.words[at + MAPTRACK_GRANTER] = granter;
    this.words[at + MAPTRACK_REF] = ref;
    this.words[at + MAPTRACK_FRAME] = -1;
    const generation = (this.words[at + MAPTRACK_STATE] ?? 0) & (GENERATION_MASK << GENERATION_SHIFT);
    this.words[at + MAPTRACK_STATE] = generation | MAPTRACK_IN_USE | ((count - 1) << RUN_SHIFT);
    return index;
  }

  private takeFresh(): number {
    if (this.fresh >= this.entries) return -1;
    this.fresh += 1;
    Atomics.store(this.words, this.high, this.fresh);
    return this.fresh - 1;
  }

  /** Record a finished mapping; the parts last, so that the entry is not live before. @returns its handle */
  commit(index: number, parts: number, frame: number): GrantHandle {
    const at = this.base + index * MAPTRACK_WORDS;
    this.words[at + MAPTRACK_FRAME] = frame;
    const state = (this.words[at + MAPTRACK_STATE] ?? 0) | parts;
    this.words[at + MAPTRACK_STATE] = state;
    return ((generationOf(state) << INDEX_BITS) | index) as GrantHandle; // generation and index make a handle
  }

  /** First word of the live entry that `handle` names, or −1. */
  find(handle: GrantHandle): number {
    const index = handle & INDEX_MASK;
    if (index >= this.fresh || handle < 0) return -1;
    const at = this.base + index * MAPTRACK_WORDS;
    const state = this.words[at + MAPTRACK_STATE] ?? 0;
    if ((state & 7) === 0 || generationOf(state) !== handle >> INDEX_BITS) return -1;
    return at;
  }

  /** Remember that the device part of a live entry has been taken from the devices. */
  lowered(at: number): void {
    this.words[at + MAPTRACK_STATE] = (this.words[at + MAPTRACK_STATE] ?? 0) | MAPTRACK_LOWERED;
  }

  /** Change the parts in force of a live entry; none left frees it. */
  keep(at: number, parts: number): void {
    const state = this.words[at + MAPTRACK_STATE] ?? 0;
    if (parts !== 0) this.words[at + MAPTRACK_STATE] = (state & ~(7 | MAPTRACK_LOWERED)) | parts;
    else this.release((at - this.base) / MAPTRACK_WORDS);
  }

  /** Free an entry; its handle is never valid again (until 4096 uses later). */
  release(index: number): void {
    const at = this.base + index * MAPTRACK_WORDS;
    const state = this.words[at + MAPTRACK_STATE] ?? 0;
    const generation = (generationOf(state) + 1) & GENERATION_MASK;
    this.words[at + MAPTRACK_STATE] = generation << GENERATION_SHIFT;
    this.free.push(index);
  }
}

function generationOf(state: number): number {
  return (state >> GENERATION_SHIFT) & GENERATION_MASK;
}
