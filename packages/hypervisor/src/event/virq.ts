// Virtual interrupts: events that the hypervisor itself raises. xen/include/public/xen.h, VIRQ_*

/** VIRQ numbers that exist here. */
export const VIRQ = {
  /** A timer. */
  TIMER: 0,
  /** Ask a domain to print its state. */
  DEBUG: 1,
  /** Console bytes for dom0. Global. */
  CONSOLE: 2,
  /** A domain has shut down or died. Global: dom0 only. */
  DOM_EXC: 3,
} as const;

/** Number of VIRQs. */
export const NR_VIRQS = 24;

/** Whether a VIRQ concerns the machine, not a domain: only dom0 may bind it. */
export function isGlobalVirq(virq: number): boolean {
  return virq === VIRQ.CONSOLE || virq === VIRQ.DOM_EXC;
}
