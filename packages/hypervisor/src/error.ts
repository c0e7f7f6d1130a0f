// The refusal of a hypercall.
import { SplitringError } from 'sharedarraybuffer-ring';

/** A hypercall was refused. `code` is the Xen status name (`GNTST_bad_gntref`, `ENOSPC`, …). */
export class HypercallError extends SplitringError {}
