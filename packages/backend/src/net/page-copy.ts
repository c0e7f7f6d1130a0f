// hot path: bench net
// Copies a frame's bytes from page to page: natively where both lie in wasm memories, by Uint8Array.set elsewhere.
import type { NativeCopy, NativeCopyFunction } from '@splitring/hypervisor';
import type { Frame, FrameMemory, FramePage } from './frame.ts';

const PAGE_BYTES = 4096;

/** Frames of at most so many bytes are copied word by word where nothing native is: a call of `set` costs as much. */
const WORDS_UP_TO_BYTES = 128;

/**
 * Copies into the pages of one guest. Streams go from one memory to another again and again: the function for the last
 * pair is kept.
 */
export class PageCopy {
  private readonly native: NativeCopy | undefined;
  private source: FrameMemory | undefined;
  private target: FrameMemory | undefined;
  private between: NativeCopyFunction | undefined;

  /** Copy with `native`, if the machine has it. */
  constructor(native: NativeCopy | undefined) {
    this.native = native;
    this.source = undefined;
    this.target = undefined;
    this.between = undefined;
  }

  /** Copy `lengthBytes` from byte `from` of one page to the start of another. */
  copy(source: FramePage, from: number, target: FramePage, lengthBytes: number): void {
    if (source.memory !== this.source || target.memory !== this.target) this.select(source.memory, target.memory);
    const at = source.address + from;
    const to = target.address;
    if (this.between !== undefined) this.between(to, at, lengthBytes);
    else if (lengthBytes <= WORDS_UP_TO_BYTES && ((at | to) & 3) === 0) {
      copyShort(source.memory, at, target.memory, to, lengthBytes);
    } else target.memory.bytes.set(source.slice(from, lengthBytes), to);
  }

  /**
   * Copy any fragments into any pages, which are filled one after the other. What is contiguous at both ends goes in one
   * step: senders that use their pages in order have frames of one or two pieces. `skips`: the target that carries no bytes.
   */
  copyChain(frame: Frame, targets: readonly (FramePage | undefined)[], skips: number): void {
    let at = 0;
    let slot = 0;
    let target = targets[0] as FramePage; // all that the frame needs are there
    const run = { source: target, from: 0, target, to: 0, lengthBytes: 0 };
    for (let i = 0; i < frame.fragments; i += 1) {
      const source = frame.pages[i] as FramePage; // in range, as are the others
      let from = frame.offsets[i] as number;
      let rest = frame.lengths[i] as number;
      while (rest > 0) {
        if (at === PAGE_BYTES) {
          at = 0;
          slot += slot + 1 === skips ? 2 : 1;
          target = targets[slot] as FramePage;
        }
        const count = Math.min(rest, PAGE_BYTES - at);
        if (!continues(run, source, from, target, at)) {
          this.copyRun(run);
          run.source = source;
          run.from = from;
          run.target = target;
          run.to = at;
          run.lengthBytes = 0;
        }
        run.lengthBytes += count;
        at += count;
        from += count;
        rest -= count;
      }
    }
    this.copyRun(run);
  }

  private copyRun({ source, from, target, to, lengthBytes }: Run): void {
    if (lengthBytes === 0) return;
    if (source.memory !== this.source || target.memory !== this.target) this.select(source.memory, target.memory);
    const at = source.address + from;
    if (this.between !== undefined) {
      this.between(target.address + to, at, lengthBytes);
      return;
    }
    // A view beyond one page: every page in between is mapped, or the run had ended.
    target.memory.bytes.set(source.memory.bytes.subarray(at, at + lengthBytes), target.address + to);
  }

  private select(source: FrameMemory, target: FrameMemory): void {
    this.source = source;
    this.target = target;
    this.between = source.wasm < 0 || target.wasm < 0 ? undefined : this.native?.between(source.wasm, target.wasm);
  }
}

/** Copy a few bytes between places that are both multiples of 4. */
function copyShort(source: FrameMemory, from: number, target: FrameMemory, to: number, lengthBytes: number): void {
  const out = target.words;
  const words = source.words;
  let f = from >> 2;
  let t = to >> 2;
  // The casts: every word lies within the two pages.
  for (let left = lengthBytes >> 4; left > 0; left -= 1, f += 4, t += 4) {
    out[t] = words[f] as number;
    out[t + 1] = words[f + 1] as number;
    out[t + 2] = words[f + 2] as number;
    out[t + 3] = words[f + 3] as number;
  }
  for (let left = (lengthBytes >> 2) & 3; left > 0; left -= 1, f += 1, t += 1) out[t] = words[f] as number;
  for (let i = lengthBytes & ~3; i < lengthBytes; i += 1) target.bytes[to + i] = source.bytes[from + i] as number;
}

interface Run {
  source: FramePage;
  from: number;
  target: FramePage;
  to: number;
  lengthBytes: number;
}

/** Whether bytes at these places follow those of `run` directly, at both ends. */
function continues(run: Run, source: FramePage, from: number, target: FramePage, to: number): boolean {
  return (
    run.lengthBytes > 0 &&
    run.source.address + run.from + run.lengthBytes === source.address + from &&
    run.target.address + run.to + run.lengthBytes === target.address + to &&
    run.source.memory === source.memory &&
    run.target.memory === target.memory
  );
}
