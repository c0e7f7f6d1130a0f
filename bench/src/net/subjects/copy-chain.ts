// Baseline: the two copies that a frame needs, and nothing else: into the sender's page, from there into the receiver's.
import type { OpenSubject } from '../../harness/contract.ts';
import { makeFrame, type NetParams, PAGE_BYTES } from '../params.ts';

const PAGES = 256;

/** Open the subject. */
export function open({ bytes }: NetParams): OpenSubject {
  const pagesPerFrame = Math.ceil(bytes / PAGE_BYTES);
  const tx = new Uint8Array(new SharedArrayBuffer(PAGES * PAGE_BYTES));
  const rx = new Uint8Array(new SharedArrayBuffer(PAGES * PAGE_BYTES));
  const frame = makeFrame(0, 1, bytes);
  const places = Math.floor(PAGES / pagesPerFrame);
  const starts = Array.from({ length: places }, (_, i) => i * pagesPerFrame * PAGE_BYTES);
  const sources = starts.map((start) => tx.subarray(start, start + bytes));
  return {
    trial: (operations) => {
      const from = process.hrtime.bigint();
      for (let i = 0, place = 0; i < operations; i++) {
        const start = starts[place] as number; // place stays in range
        tx.set(frame, start);
        rx.set(sources[place] as Uint8Array, start);
        place = place + 1 === places ? 0 : place + 1;
      }
      return { value: Number(process.hrtime.bigint() - from) / operations };
    },
  };
}
