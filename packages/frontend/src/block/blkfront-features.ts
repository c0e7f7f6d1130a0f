// What a back end says about its transport and its disk, read from keys that it may fill with anything.

import { type KeyValues, parseKey } from '@splitring/hypervisor';
import { VDISK_READONLY, VDISK_REMOVABLE } from '@splitring/hypervisor/io';

/** Keys that a back end writes before InitWait. */
export const TRANSPORT_KEYS = [
  'max-ring-page-order',
  'multi-queue-max-queues',
  'feature-max-indirect-segments',
  'feature-persistent',
] as const;

/** Keys that a back end writes before Connected. */
export const DISK_KEYS = [
  'sectors',
  'sector-size',
  'physical-sector-size',
  'info',
  'feature-flush-cache',
  'feature-barrier',
  'feature-fua',
  'feature-discard',
  'feature-write-zeroes',
  'discard-granularity',
  'discard-alignment',
] as const;

/** Limits of the transport. */
export interface TransportFeatures {
  /** log2 of the most pages a ring may have. */
  readonly maxRingOrder: number;
  readonly maxQueues: number;
  /** Segments of an indirect request; 0 if there are none. */
  readonly maxIndirectSegments: number;
  readonly hasPersistentGrants: boolean;
}

/** Abilities of the disk. */
export interface DiskFeatures {
  readonly capacitySectors: number;
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes: number;
  readonly isReadOnly: boolean;
  readonly isRemovable: boolean;
  readonly hasFlush: boolean;
  /** A flush is to be sent as a barrier. */
  readonly isFlushByBarrier: boolean;
  readonly hasForceUnitAccess: boolean;
  readonly hasDiscard: boolean;
  readonly hasWriteZeroes: boolean;
  /** Unit of discards in bytes. */
  readonly discardGranularityBytes: number;
  /** Byte at which the first such unit starts. */
  readonly discardAlignmentBytes: number;
}

function parseNumber(text: string | undefined, max: number, fallback: number): number {
  return parseKey(text, { min: 0, max }) ?? fallback;
}

/** Read the limits of the transport; whatever is missing or nonsense is the smallest there is. */
export function parseTransport(keys: KeyValues): TransportFeatures {
  return {
    maxRingOrder: parseNumber(keys['max-ring-page-order'], 8, 0),
    maxQueues: Math.max(1, parseNumber(keys['multi-queue-max-queues'], 1024, 1)),
    maxIndirectSegments: parseNumber(keys['feature-max-indirect-segments'], 4096, 0),
    hasPersistentGrants: keys['feature-persistent'] === '1',
  };
}

/**
 * Read the abilities of the disk.
 * @returns undefined if the back end does not tell a size that a disk can have: it must not be used
 */
export function parseDisk(keys: KeyValues): DiskFeatures | undefined {
  const capacitySectors = parseKey(keys['sectors'], { min: 0, max: 2 ** 44 });
  const logicalBlockBytes = parseNumber(keys['sector-size'], 4096, 512);
  if (capacitySectors === undefined || (logicalBlockBytes !== 512 && logicalBlockBytes !== 4096)) return undefined;
  const info = parseNumber(keys['info'], 0xffff, 0);
  const hasFlushCache = keys['feature-flush-cache'] === '1';
  const hasBarrier = keys['feature-barrier'] === '1';
  const physicalBlockBytes = parseNumber(keys['physical-sector-size'], 2 ** 20, logicalBlockBytes);
  return {
    capacitySectors,
    logicalBlockBytes,
    physicalBlockBytes: Math.max(physicalBlockBytes, logicalBlockBytes),
    isReadOnly: (info & VDISK_READONLY) !== 0,
    isRemovable: (info & VDISK_REMOVABLE) !== 0,
    hasFlush: hasFlushCache || hasBarrier,
    isFlushByBarrier: !hasFlushCache && hasBarrier,
    hasForceUnitAccess: keys['feature-fua'] === '1',
    hasDiscard: keys['feature-discard'] === '1',
    hasWriteZeroes: keys['feature-write-zeroes'] === '1',
    discardGranularityBytes: parseNumber(keys['discard-granularity'], 2 ** 31, logicalBlockBytes),
    discardAlignmentBytes: parseNumber(keys['discard-alignment'], 2 ** 31, 0),
  };
}
