// The block device's wire format: requests, responses, features. xen/include/public/io/blkif.h, 64-bit ABI.
//
//   front                                          back
//   ------------------------------------------------------------------------------------------
//   Initialising                                   Initialising: publishes the limits of its transport
//                                                  InitWait
//   allocates rings and ports, writes
//   ring-ref*, event-channel, protocol,
//   feature-persistent
//   Initialised                                    maps the rings, binds the ports, publishes the disk:
//                                                  sectors, sector-size, info, feature-flush-cache …
//                                                  Connected
//   reads the disk's keys
//   Connected                                      … and again, whenever `sectors` changes
import { array, i16, struct, u8, u16, u32, u64 } from 'sharedarraybuffer-ring';

/** Read sectors into the segments. */
export const BLKIF_OP_READ = 0;
/** Write the segments to sectors. */
export const BLKIF_OP_WRITE = 1;
/** Write that everything before it precedes and everything after it follows, durable when answered. */
export const BLKIF_OP_WRITE_BARRIER = 2;
/** Make every answered write durable. */
export const BLKIF_OP_FLUSH_DISKCACHE = 3;
/** Tell that the contents of a range are no longer wanted. */
export const BLKIF_OP_DISCARD = 5;
/** A read or write whose segments lie in granted pages of their own. */
export const BLKIF_OP_INDIRECT = 6;
/** Ours, offered by `feature-fua`: a write that is durable when answered. Laid out as BLKIF_OP_WRITE. */
export const BLKIF_OP_WRITE_FUA = 0x81;
/** Ours, offered by `feature-write-zeroes`: make a range read as zeros. Laid out as BLKIF_OP_DISCARD, flag 0. */
export const BLKIF_OP_WRITE_ZEROES = 0x82;

/** The request succeeded. */
export const BLKIF_RSP_OKAY = 0;
/** The request failed. */
export const BLKIF_RSP_ERROR = -1;
/** The operation is not offered. */
export const BLKIF_RSP_EOPNOTSUPP = -2;
/** Ours, only if the front end wrote `feature-error-detail`: the medium is full (ENOSPC). */
export const BLKIF_RSP_ENOSPC = -28;
/** Ours, likewise: the disk is read-only (EROFS). */
export const BLKIF_RSP_EROFS = -30;
/** Ours, likewise: outside of the disk or not aligned (EINVAL). */
export const BLKIF_RSP_EINVAL = -22;

/** Bit of `info`: the disk is a CD. */
export const VDISK_CDROM = 1;
/** Bit of `info`: the medium can be taken out. */
export const VDISK_REMOVABLE = 2;
/** Bit of `info`: writes are refused. */
export const VDISK_READONLY = 4;
/** Bit of a discard's `flag`: the sectors must become unreadable; only legal when `discard-secure` was offered. */
export const BLKIF_DISCARD_SECURE = 1;

/** Bytes of a sector on the wire, whatever the disk's own block size. */
export const SECTOR_BYTES = 512;
/** Sectors in a page. */
export const SECTORS_PER_PAGE = 8;
/** Segments that fit into a request itself. */
export const BLKIF_MAX_SEGMENTS_PER_REQUEST = 11;
/** Pages of segments that an indirect request can name. */
export const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST = 8;
/** Segments in one indirect page. */
export const BLKIF_SEGMENTS_PER_INDIRECT_PAGE = 512;

/** Part of one granted page: sectors `firstSect` to `lastSect`, inclusive, 0 to 7. */
export const blkifSegment = struct({ gref: u32, firstSect: u8, lastSect: u8 });

/** Read, write, barrier and flush. */
export const blkifRequest = struct({
  operation: u8,
  nrSegments: u8,
  handle: u16,
  id: u64,
  sectorNumber: u64,
  seg: array(blkifSegment, BLKIF_MAX_SEGMENTS_PER_REQUEST),
});

/** Discard and write zeroes. */
export const blkifRequestDiscard = struct({
  operation: u8,
  flag: u8,
  handle: u16,
  id: u64,
  sectorNumber: u64,
  nrSectors: u64,
});

/** A read or write with its segments in up to 8 granted pages. */
export const blkifRequestIndirect = struct({
  operation: u8,
  indirectOp: u8,
  nrSegments: u16,
  id: u64,
  sectorNumber: u64,
  handle: u16,
  indirectGrefs: array(u32, BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST),
});

/** The answer; `operation` repeats the request's, the inner one of an indirect request. Padding must be zero (XSA-216). */
export const blkifResponse = struct({ id: u64, operation: u8, status: i16 });

/** Bytes from one ring slot to the next: the largest request. */
export const BLKIF_SLOT_BYTES = blkifRequest.sizeof;
/** Value of the front end's `protocol` key that this format goes by. */
export const BLKIF_PROTOCOL = 'x86_64-abi';
