// hot path: bench net
// Copies a frame's bytes from page to page: natively where both lie in wasm memories, by Uint8Array.set elsewhere.
import type { NativeCopy, NativeCopyFunction } from '@splitring/hypervisor';
import type { Frame, FramePage } from './frame.ts';

const PAGE_BYTES = 4096;

/**
 * Copies into the pages of one guest. Streams go from one memory to another again and again: the function for the last
 * pair is kept.
 */
export class PageCopy {
  private readonly native: NativeCopy | undefined;
  private source: number;
  private target: number;
  private between: NativeCopyFunction | undefined;

  /** Copy with `native`, if the machine has it. */
  constructor(native: NativeCopy | undefined) {
    this.native = native;
    this.source = -1;
    this.target = -1;
    this.between = undefined;
  }

  /** Copy `lengthBytes` from byte `from` of one page to the start of another. */
  copy(source: FramePage, from: number, target: FramePage, lengthBytes: number): void {
    if (source.memory !== this.source || target.memory !== this.target) this.select(source.memory, target.memory);
    if (this.between === undefined) target.bytes.set(source.slice(from, lengthBytes));
    else this.between(target.address, source.address + from, lengthBytes);
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
    if (this.between !== undefined) {
      this.between(target.address + to, source.address + from, lengthBytes);
      return;
    }
    // Views beyond one page: every page in between is mapped, or the run had ended.
    const bytes = new Uint8Array(target.buffer, target.address + to, lengthBytes);
    bytes.set(new Uint8Array(source.buffer, source.address + from, lengthBytes));
  }

  private select(source: number, target: number): void {
    this.source = source;
    this.target = target;
    this.between = source < 0 || target < 0 ? undefined : this.native?.between(source, target);
  }
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
    run.source.buffer === source.buffer &&
    run.target.buffer === target.buffer
  );
}
