// What a hostile back end can look at: every page that a domain has granted to it, mapped one reference after the other.
import {
  type DomId,
  type FrameNumber,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  type GrantHandle,
  type GrantRef,
  type Hypercalls,
  type MapOp,
} from '@splitring/hypervisor';

/** A page that a domain granted. */
export interface GrantedPage {
  readonly ref: GrantRef;
  readonly frame: FrameNumber;
  /** Its memory, as the back end may go on to see it. */
  readonly bytes: Uint8Array;
  /** Granted for reading only. */
  readonly isReadonly: boolean;
}

/** More than any domain of a test grants. */
const MAX_REFS = 8192;

/** All pages that `owner` has granted to the domain of `peer`. Nothing stays mapped. */
export function pagesGranted(owner: DomId, peer: Hypercalls): GrantedPage[] {
  const pages: GrantedPage[] = [];
  for (let index = 0; index < MAX_REFS; index += 1) {
    const ref = index as GrantRef; // whether it is one is what we ask
    const isWritable = map(owner, peer, ref, GNTMAP_host_map) !== undefined;
    const page = map(owner, peer, ref, GNTMAP_host_map | GNTMAP_readonly);
    if (page !== undefined) pages.push({ ref, ...page, isReadonly: !isWritable });
  }
  return pages;
}

function map(
  owner: DomId,
  peer: Hypercalls,
  ref: GrantRef,
  flags: number,
): Pick<GrantedPage, 'frame' | 'bytes'> | undefined {
  // Placeholders for what the hypervisor fills in.
  const op: MapOp = { dom: owner, ref, flags, status: GNTST.okay, handle: 0 as GrantHandle, frame: 0 as FrameNumber };
  peer.mapGrants([op]);
  if (op.status !== GNTST.okay) return undefined;
  const bytes = peer.mappedBytes(op.handle);
  peer.unmapGrants([{ handle: op.handle, flags, status: GNTST.okay }]);
  return { frame: op.frame, bytes };
}

/** The byte that secrets are made of. */
export const SECRET = 0xa5;
/**
 * Use memory that `guest` shares with `peer` for secrets, and free it.
 * @returns the frames that had them: what is allocated from now on is mostly among these
 */
export function useAndFree(guest: Hypercalls, peer: DomId): ReadonlySet<number> {
  const runs = Array.from({ length: 128 }, () => guest.allocateFrames(peer, 16));
  const frames = new Set<number>();
  for (const run of runs) {
    run.bytes.fill(SECRET);
    for (let i = 0; i < run.frames; i += 1) frames.add(run.first + i);
    guest.freeFrames(run);
  }
  return frames;
}

/** How many of `pages` lie in frames that had secrets once. */
export function reused(pages: readonly GrantedPage[], frames: ReadonlySet<number>): number {
  return pages.filter(({ frame }) => frames.has(frame)).length;
}

/** As many of them in a row are no coincidence of ring indices and references. */
const RUN = 4;

/** How many of `pages` hold at least four secret bytes in a row. */
export function leaks(pages: readonly GrantedPage[]): number {
  const needle = Buffer.alloc(RUN, SECRET);
  return pages.filter(({ bytes }) => Buffer.from(bytes).includes(needle)).length;
}

/** `bytes` without a single secret byte. */
export function harmless(bytes: Uint8Array): Uint8Array {
  return bytes.map((byte) => (byte === SECRET ? 0 : byte));
}
