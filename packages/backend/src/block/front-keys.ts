// What a front end says about its rings, read from keys that it may fill with anything.
import { type KeyValues, parseKey } from '@splitring/hypervisor';
import { BLKIF_PROTOCOL } from '@splitring/hypervisor/io';

/** Keys at the top of a front end's directory. */
export const FRONT_KEYS = [
  'protocol',
  'ring-page-order',
  'num-ring-pages',
  'multi-queue-num-queues',
  'feature-persistent',
  'feature-error-detail',
] as const;

/** What a front end asks for. */
export interface FrontRequest {
  readonly queues: number;
  /** Pages of each ring. */
  readonly ringPages: number;
  /** Whether the keys of the pages are numbered. */
  readonly isNumbered: boolean;
  readonly isPersistent: boolean;
  readonly hasErrorDetail: boolean;
}

/** The pages and the port of one ring. */
export interface QueueRefs {
  readonly ring: readonly number[];
  readonly port: number;
}

const MAX_REF = 2 ** 32 - 1;

/** Read a front end's wishes. @returns them, or why they cannot be met */
export function parseFrontKeys(keys: KeyValues, maxQueues: number, maxRingOrder: number): FrontRequest | string {
  // Absent means "native" to the header, 32-bit to Linux on x86. Ours is the header's.
  const protocol = keys['protocol'] ?? BLKIF_PROTOCOL;
  if (protocol !== BLKIF_PROTOCOL) return 'its protocol is not x86_64-abi';
  const orderText = keys['ring-page-order'] ?? orderOfPages(keys['num-ring-pages']);
  const order = orderText === undefined ? 0 : decimal(orderText, maxRingOrder);
  if (order === undefined) return `its ring-page-order is not 0 to ${maxRingOrder}`;
  const queuesText = keys['multi-queue-num-queues'];
  const queues = queuesText === undefined ? 1 : decimal(queuesText, maxQueues);
  if (queues === undefined || queues === 0) return `its multi-queue-num-queues is not 1 to ${maxQueues}`;
  return {
    queues,
    ringPages: 2 ** order,
    isNumbered: orderText !== undefined,
    isPersistent: keys['feature-persistent'] === '1',
    hasErrorDetail: keys['feature-error-detail'] === '1',
  };
}

/** The keys that hold pages and ports, queue after queue. */
export function queueKeys(front: FrontRequest): string[] {
  return Array.from({ length: front.queues }, (_, queue) => keysOf(front, queue)).flat();
}

/** Read pages and ports. @returns them, or which key makes no sense */
export function parseQueueKeys(front: FrontRequest, keys: KeyValues): QueueRefs[] | string {
  const queues: QueueRefs[] = [];
  for (let queue = 0; queue < front.queues; queue += 1) {
    const numbers: number[] = [];
    for (const key of keysOf(front, queue)) {
      const value = decimal(keys[key] ?? '', MAX_REF);
      if (value === undefined) return `its ${key} is not a number`;
      numbers.push(value);
    }
    queues.push({ ring: numbers.slice(0, -1), port: numbers[numbers.length - 1] ?? 0 });
  }
  return queues;
}

function keysOf(front: FrontRequest, queue: number): string[] {
  const prefix = front.queues > 1 ? `queue-${queue}/` : '';
  const pages = Array.from({ length: front.ringPages }, (_, page) => `${prefix}ring-ref${page}`);
  return [...(front.isNumbered ? pages : [`${prefix}ring-ref`]), `${prefix}event-channel`];
}

/** The deprecated twin of `ring-page-order`. */
function orderOfPages(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const pages = decimal(text, 2 ** 16) ?? 0;
  return pages > 0 && (pages & (pages - 1)) === 0 ? String(Math.log2(pages)) : 'no power of two';
}

function decimal(text: string, max: number): number | undefined {
  return parseKey(text, { min: 0, max });
}
