export { formatMacAddress, parseMacAddress } from './net/mac-address.ts';
export type { NicCounters } from './net/net-counters.ts';
export type { Nic } from './net/nic.ts';
export type { RxFrame } from './net/rx-frame.ts';
export type { TxOffload } from './net/tx-queue.ts';
