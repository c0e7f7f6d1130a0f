// What the toolstack writes into a back end's directory about a guest's disk or card, from its configuration.
import type { CheckedDisk, CheckedNic } from './config.ts';

const SECTOR_BYTES = 512;
/** Credit is given in steps of this length, as xl does. */
const RATE_WINDOW_US = 50_000;

/** Keys of a disk (`io/blkif.h`, and our own for limits). */
export function diskKeys({
  name,
  from,
  slice,
  readonly,
  removable,
  iops,
  rate,
  weight,
}: CheckedDisk): Record<string, string> {
  return {
    params: from,
    dev: name,
    mode: readonly ? 'r' : 'w',
    removable: removable ? '1' : '0',
    weight: String(weight),
    ...(slice === undefined ? {} : { slice: `${slice.offset / SECTOR_BYTES},${slice.size / SECTOR_BYTES}` }),
    ...(iops === undefined ? {} : { 'limit-iops': String(iops) }),
    ...(rate === undefined ? {} : { 'limit-bytes-per-second': String(rate) }),
  };
}

/** Keys of a card (`io/netif.h`; `rate` as "bytes,microseconds"). */
export function nicKeys({ bridge, vlan, rate, groupRate }: CheckedNic): Record<string, string> {
  return {
    bridge,
    ...(vlan === undefined ? {} : { vlan: String(vlan) }),
    ...(rate === undefined ? {} : { rate: credit(rate) }),
    ...(groupRate === undefined ? {} : { 'group-rate': credit(groupRate) }),
  };
}

function credit(bytesPerSecond: number): string {
  return `${Math.ceil((bytesPerSecond * RATE_WINDOW_US) / 1e6)},${RATE_WINDOW_US}`;
}
