// The version 1 grant entry, 8 bytes, as it lies in guest-writable memory.
//
//   u16 flags   [GUEST], but GTF_reading and GTF_writing [XEN]      } one 32-bit word, changed by compare-exchange
//   u16 domid   [GUEST]                                             }
//   u32 frame   [GUEST]
// xen/include/public/grant_table.h, struct grant_entry_v1

/** The peer may map or copy. */
export const GTF_permit_access = 1;
/** Bits of the entry's type. */
export const GTF_type_mask = 3;
/** The peer may only read. */
export const GTF_readonly = 4;
/** Somebody holds the frame for reading. [XEN] */
export const GTF_reading = 8;
/** Somebody holds the frame for writing. [XEN] */
export const GTF_writing = 16;

/** 32-bit words per entry. */
export const GRANT_WORDS = 2;
/** References that the builder fills: 0 console, 1 xenstore. */
export const GNTTAB_NR_RESERVED_ENTRIES = 8;
/** Reference of the console page. */
export const GNTTAB_RESERVED_CONSOLE = 0;
/** Reference of the xenstore page. */
export const GNTTAB_RESERVED_XENSTORE = 1;

/** Make the word of flags and domid. */
export function grantWord(flags: number, domid: number): number {
  return (domid << 16) | flags;
}

/** The domid in a flags word. */
export function grantDomid(word: number): number {
  return word >>> 16;
}
