// The states of a paravirtual device's two ends. xen/include/public/io/xenbus.h

/** Xen's states by name. */
export const XenbusState = {
  Unknown: 0,
  Initialising: 1,
  InitWait: 2,
  Initialised: 3,
  Connected: 4,
  Closing: 5,
  Closed: 6,
  Reconfiguring: 7,
  Reconfigured: 8,
} as const;
/** One of the values of {@link XenbusState}. */
export type XenbusStateValue = (typeof XenbusState)[keyof typeof XenbusState];
