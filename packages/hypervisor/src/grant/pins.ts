// The pin counts of one active grant entry, and the only place where the status bits are derived from them (XSA-230).
// Four 8-bit counters in one word, as in xen/common/grant_table.c: host write, host read, device write, device read.
import { GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly } from '../hypercalls.ts';
import { GTF_reading, GTF_writing } from './grant-entry.ts';

const HOST_WRITE = 1;
const HOST_READ = 1 << 8;
const DEVICE_WRITE = 1 << 16;
const DEVICE_READ = 1 << 24;
const WRITES = 0x00ff00ff;
/** The top bit of each counter: adding is refused once one that would grow has it set. */
const TOP_BITS = 0x80808080 | 0;

/** What a mapping with these GNTMAP_* bits adds to the pin word. */
export function pinsOf(flags: number): number {
  const isReadonly = (flags & GNTMAP_readonly) !== 0;
  let pins = 0;
  if ((flags & GNTMAP_host_map) !== 0) pins |= isReadonly ? HOST_READ : HOST_WRITE;
  if ((flags & GNTMAP_device_map) !== 0) pins |= isReadonly ? DEVICE_READ : DEVICE_WRITE;
  return pins;
}

/** Whether adding `more` would overflow a counter. */
export function wouldOverflow(pins: number, more: number): boolean {
  return (pins & TOP_BITS & (more << 7)) !== 0;
}

/** Whether somebody holds the frame for writing. */
export function hasWriter(pins: number): boolean {
  return (pins & WRITES) !== 0;
}

/** The status bits that an entry with these pins must show. */
export function statusBits(pins: number): number {
  if (pins === 0) return 0;
  return hasWriter(pins) ? GTF_reading | GTF_writing : GTF_reading;
}
