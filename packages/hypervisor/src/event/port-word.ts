// A port's binding in one word, so that every change of it is one compare-exchange.
//   bits 0…11 the port at the other end (or the VIRQ) · 12…26 the other end's domid · 27…29 kind

/** Kinds of port; 0 … 5 are Xen's EVTCHNSTAT_* numbers, the last two are moments of a change. */
export const PORT = {
  /** Free. */
  closed: 0,
  /** Waits for the named domain to bind. */
  unbound: 1,
  /** Bound to a port of another (or the same) domain. */
  interdomain: 2,
  /** Interrupt of a device whose model the named domain steps. */
  pirq: 3,
  /** Virtual interrupt from the hypervisor. */
  virq: 4,
  /** Raised by its own domain. */
  ipi: 5,
  /** About to become interdomain: the other end is being taken. */
  binding: 6,
  /** About to be free: the other end is being let go. */
  closing: 7,
} as const;

/** "Reserved for nobody": the domid of an unbound port whose other end has died. */
export const DOMID_INVALID = 0x7ff4;

/** Make a port word. */
export function portWord(kind: number, domid: number, port: number): number {
  return (kind << 27) | (domid << 12) | port;
}

/** The kind in a port word. */
export function portKind(word: number): number {
  return word >>> 27;
}

/** The other end's domid in a port word. */
export function portDomid(word: number): number {
  return (word >>> 12) & 0x7fff;
}

/** The other end's port in a port word. */
export function portRemote(word: number): number {
  return word & 0xfff;
}
