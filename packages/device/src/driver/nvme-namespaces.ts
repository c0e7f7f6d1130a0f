// What the driver learns of a controller's namespaces. NVM Express base specification 1.4 §5.15.2.
import { ADMIN, CNS } from '../nvme/nvme-registers.ts';
import type { AdminFields, AdminQueue } from './admin-queue.ts';
import type { NamespaceInfo } from './nvme-disk.ts';

/** The driver cannot go on; the message says where. */
export class BringUpError extends Error {}

/** Sends an admin command and waits for its result, a step per poll. @throws BringUpError unless it succeeds */
export type SendAdmin = (opcode: number, what: string, fields: AdminFields) => Generator<void, number, void>;

/** Find every namespace. @throws BringUpError */
export function* identifyAll(admin: AdminQueue, send: SendAdmin): Generator<void, NamespaceInfo[], void> {
  yield* send(ADMIN.identify, 'list namespaces', { page: admin.dataPage, cdw10: CNS.activeNamespaces });
  const nsids: number[] = [];
  for (let at = 0; at < 4096; at += 4) {
    const nsid = admin.data.getUint32(at, true);
    if (nsid === 0) break;
    nsids.push(nsid);
  }
  const found: NamespaceInfo[] = [];
  for (const nsid of nsids) found.push(yield* identifyOne(admin, send, nsid));
  return found;
}

/** Ask about one namespace. @throws BringUpError, also for blocks that are neither 512 nor 4096 bytes */
export function* identifyOne(admin: AdminQueue, send: SendAdmin, nsid: number): Generator<void, NamespaceInfo, void> {
  const page = admin.dataPage;
  yield* send(ADMIN.identify, `identify namespace ${nsid}`, { nsid, page, cdw10: CNS.namespace });
  const { data } = admin;
  const format = data.getUint8(26) & 0xf;
  const blockShift = data.getUint8(128 + format * 4 + 2);
  if (blockShift !== 9 && blockShift !== 12) {
    throw new BringUpError(`namespace ${nsid} has blocks of 2^${blockShift} bytes; 512 and 4096 are supported`);
  }
  const logicalBlockBytes = 1 << blockShift;
  const hasGranularity = (data.getUint8(24) & 0x10) !== 0;
  return {
    nsid,
    blocks: data.getUint32(0, true) + data.getUint32(4, true) * 2 ** 32,
    logicalBlockBytes,
    physicalBlockBytes: logicalBlockBytes * (hasGranularity ? data.getUint16(64, true) + 1 : 1),
    isReadOnly: (data.getUint8(99) & 1) !== 0,
    hasDiscard: (data.getUint8(33) & 7) === 1,
  };
}
