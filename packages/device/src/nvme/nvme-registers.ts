// Registers, opcodes and status codes of NVM Express, by the names of the specifications.
// NVM Express base specification 1.4 (registers §3.1, queues §4, admin commands §5, status §4.6), NVM command set (§6).

/** Controller register offsets. §3.1 */
export const NVME_REG = {
  capLow: 0x00,
  capHigh: 0x04,
  vs: 0x08,
  intms: 0x0c,
  intmc: 0x10,
  cc: 0x14,
  csts: 0x1c,
  aqa: 0x24,
  asqLow: 0x28,
  asqHigh: 0x2c,
  acqLow: 0x30,
  acqHigh: 0x34,
  doorbells: 0x1000,
} as const;

/** Version 1.4.0. */
export const NVME_VERSION = 0x0001_0400;

/** Controller configuration fields. §3.1.5 */
export const CC = { enable: 1, cssMask: 0x70, mpsMask: 0x780, amsMask: 0x3800, shnMask: 0xc000, shnShift: 14 } as const;
/** Controller status fields. §3.1.6 */
export const CSTS = { ready: 1, fatal: 2, shstMask: 0xc, shstComplete: 0x8, shstOccurring: 0x4 } as const;

/** Admin opcodes. §5 */
export const ADMIN = {
  deleteSq: 0x00,
  createSq: 0x01,
  getLogPage: 0x02,
  deleteCq: 0x04,
  createCq: 0x05,
  identify: 0x06,
  abort: 0x08,
  setFeatures: 0x09,
  getFeatures: 0x0a,
  asyncEvent: 0x0c,
} as const;

/** NVM command set opcodes. §6 */
export const NVM = { flush: 0x00, write: 0x01, read: 0x02, writeZeroes: 0x08, datasetManagement: 0x09 } as const;

/** Feature identifiers. §5.21.1 */
export const FEATURE = {
  arbitration: 0x01,
  powerManagement: 0x02,
  temperatureThreshold: 0x04,
  errorRecovery: 0x05,
  volatileWriteCache: 0x06,
  numberOfQueues: 0x07,
  interruptCoalescing: 0x08,
  interruptVector: 0x09,
  writeAtomicity: 0x0a,
  asyncEventConfig: 0x0b,
} as const;

/** Identify CNS values. §5.15.1 */
export const CNS = { namespace: 0, controller: 1, activeNamespaces: 2, descriptors: 3 } as const;

/** Status field: status code type << 8 | status code. §4.6.1 */
export const STATUS = {
  success: 0x000,
  invalidOpcode: 0x001,
  invalidField: 0x002,
  dataTransferError: 0x004,
  internalError: 0x006,
  abortRequested: 0x007,
  abortedSqDeletion: 0x008,
  invalidNamespace: 0x00b,
  invalidPrpOffset: 0x013,
  namespaceWriteProtected: 0x020,
  lbaOutOfRange: 0x080,
  capacityExceeded: 0x081,
  invalidCompletionQueue: 0x100,
  invalidQueueId: 0x101,
  invalidQueueSize: 0x102,
  abortLimitExceeded: 0x103,
  asyncEventLimitExceeded: 0x105,
  invalidInterruptVector: 0x108,
  invalidLogPage: 0x109,
  invalidQueueDeletion: 0x10c,
  featureNotSaveable: 0x10d,
  featureNotChangeable: 0x10e,
  writeFault: 0x280,
  unrecoveredReadError: 0x281,
} as const;

/** Read/write command dword 12 bits. §6.9, §6.15 */
export const FORCE_UNIT_ACCESS = 1 << 30;
/** Dataset management dword 11: deallocate. §6.7 */
export const DSM_DEALLOCATE = 4;
/** All namespaces. */
export const NSID_ALL = 0xffff_ffff;

/** Words of a submission queue entry. §4.2 */
export const SQE_WORDS = 16;
/** Words of a completion queue entry. §4.6 */
export const CQE_WORDS = 4;
