// Parameters that the hypervisor suite's subjects share.

/** One hypervisor case. */
export interface HypervisorParams extends Readonly<Record<string, string | number | boolean>> {
  /** Which way the subject does it. */
  readonly way: string;
}

/** Grants mapped or copied in one operation. */
export const GRANTS = 32;
