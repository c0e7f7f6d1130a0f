// The numbers that name things, branded so that one cannot stand for another, at no cost at run time.

declare const brand: unique symbol;

/** A domain id, 0 … 0x7fef. Never an identity by itself: identity is (domid, generation). */
export type DomId = number & { readonly [brand]: 'DomId' };
/** A grant reference: index into the granting domain's grant table; 0 … 7 are reserved. */
export type GrantRef = number & { readonly [brand]: 'GrantRef' };
/** The handle of a mapped grant, valid only for the domain that mapped it. */
export type GrantHandle = number & { readonly [brand]: 'GrantHandle' };
/** An event-channel port of one domain; 0 is never a valid port. */
export type EvtchnPort = number & { readonly [brand]: 'EvtchnPort' };
/** A machine frame number: `extent << EXTENT_SHIFT | frame in extent`; below 2^31. */
export type FrameNumber = number & { readonly [brand]: 'FrameNumber' };
/** A PCI routing id: bus << 8 | device << 3 | function, 16 bits. */
export type RoutingId = number & { readonly [brand]: 'RoutingId' };

/** Bytes in a page, a frame and a grant. */
export const PAGE_SIZE = 4096;
/** log2 of PAGE_SIZE. */
export const PAGE_SHIFT = 12;
/** log2 of the most frames one extent can have (4096 frames, 16 MiB). */
export const EXTENT_SHIFT = 12;
/** The control domain: hypervisor owner, toolstack and xenstore server. */
export const DOM0 = 0 as DomId;
/** First domid that is not an ordinary domain. */
export const DOMID_FIRST_RESERVED = 0x7ff0 as DomId;
/** "The calling domain" in operations that take a domid. */
export const DOMID_SELF = 0x7ff0 as DomId;
/** Owner of quarantined devices. */
export const DOMID_IO = 0x7ff1 as DomId;
