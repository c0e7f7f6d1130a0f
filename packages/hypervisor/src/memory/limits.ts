// How large the machine is: capacities of the shared tables, fixed when the hypervisor is made.

/** Capacities of one machine. Tables are reserved for all of it at once; untouched parts cost no real memory. */
export interface Limits {
  /** Domains alive or dying at one time, dom0 included; domids are below it. 32 … 1024, a multiple of 32. */
  readonly domains: number;
  /** Event-channel ports per domain, port 0 (never used) included. 32 … 4096, a multiple of 32. */
  readonly portsPerDomain: number;
  /** 4 KiB frames of grant table per domain; each holds 512 grants. 1 … 64. */
  readonly grantFrames: number;
  /** 4 KiB frames of map-track table per domain; each holds 256 handles. 1 … 1024. */
  readonly maptrackFrames: number;
  /** Extents alive at one time in the whole machine. 1 … 262 144. */
  readonly extents: number;
  /** Memory of a domain that does not say otherwise, in bytes. */
  readonly memoryBytes: number;
}

/** Grants in one 4 KiB frame of a version 1 grant table. */
export const GRANTS_PER_FRAME = 512;
/** Handles in one 4 KiB frame of the map-track table. */
export const HANDLES_PER_FRAME = 256;

const DEFAULTS: Limits = {
  domains: 64,
  portsPerDomain: 1024,
  grantFrames: 64,
  maptrackFrames: 256,
  extents: 4096,
  memoryBytes: 256 * 1024 * 1024,
};

const RANGES: Readonly<Record<keyof Limits, readonly [number, number, number]>> = {
  domains: [32, 1024, 32],
  portsPerDomain: [32, 4096, 32],
  grantFrames: [1, 64, 1],
  maptrackFrames: [1, 1024, 1],
  extents: [1, 1 << 18, 1],
  memoryBytes: [4096, Number.MAX_SAFE_INTEGER, 1],
};

/**
 * Fill in and check limits.
 * @throws RangeError naming the limit that is out of its range
 */
export function completeLimits(given: Partial<Limits> = {}): Limits {
  const limits: Limits = { ...DEFAULTS, ...given };
  for (const name of Object.keys(RANGES) as (keyof Limits)[]) {
    const [least, most, step] = RANGES[name];
    const value = limits[name];
    if (Number.isSafeInteger(value) && value >= least && value <= most && value % step === 0) continue;
    throw new RangeError(`Cannot make a machine with ${name} ${value}: must be ${least} … ${most} in steps of ${step}`);
  }
  return limits;
}
