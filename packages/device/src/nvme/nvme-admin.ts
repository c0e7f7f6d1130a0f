// Admin commands: queues, identify, features, abort, log pages, asynchronous events.
// NVM Express base specification 1.4 §5.
import {
  IDENTIFY_BYTES,
  identifyActive,
  identifyController,
  identifyDescriptors,
  identifyNamespace,
} from './identify.ts';
import type { Namespace } from './namespace.ts';
import { type NvmeIo, PENDING } from './nvme-io.ts';
import type { SubmissionQueue } from './nvme-queues.ts';
import { ADMIN, CNS, FEATURE, NSID_ALL, STATUS } from './nvme-registers.ts';
import type { QueueSet } from './queue-set.ts';

const ABORT_LIMIT = 4;
const ASYNC_EVENT_LIMIT = 4;
const LOG_CHANGED_NAMESPACES = 0x04;
/** Asynchronous event: type 2 (notice), information 0 (namespace attribute changed), log page 04h. Figure 149 */
const EVENT_NAMESPACE_CHANGED = 2 | (LOG_CHANGED_NAMESPACES << 16);

/** What an admin queue tells about its controller, and what it can make it do. */
export interface AdminOptions {
  /** Serial number. */
  readonly serial: string;
  /** I/O queue pairs offered. */
  readonly pairs: number;
  /** Maximum data transfer size, as a power of two of pages. */
  readonly mdts: number;
  /** Abort a command that has not been carried out. @returns whether it was found */
  readonly abort: (sq: SubmissionQueue, commandId: number) => boolean;
}

/** Executes admin commands of one controller. */
export class NvmeAdmin {
  private readonly io: NvmeIo;
  private readonly queues: QueueSet;
  private readonly namespaces: readonly Namespace[];
  private readonly of: AdminOptions;
  private readonly features = new Map<number, number>();
  private asyncEvents: { readonly sq: SubmissionQueue; readonly commandId: number }[] = [];
  private readonly changed = new Set<number>();

  /** Serve the admin queue of a controller. */
  constructor(io: NvmeIo, queues: QueueSet, namespaces: readonly Namespace[], of: AdminOptions) {
    this.io = io;
    this.queues = queues;
    this.namespaces = namespaces;
    this.of = of;
    this.reset();
  }

  /** Features at defaults, asynchronous events forgotten. */
  reset(): void {
    this.asyncEvents = [];
    this.changed.clear();
    this.features.clear();
    for (const id of [
      FEATURE.arbitration,
      FEATURE.powerManagement,
      FEATURE.temperatureThreshold,
      FEATURE.errorRecovery,
      FEATURE.interruptCoalescing,
      FEATURE.writeAtomicity,
      FEATURE.asyncEventConfig,
    ]) {
      this.features.set(id, 0);
    }
  }

  /** A namespace changed its size: tell the driver if it asked, once until it has read the log. */
  namespaceChanged(nsid: number): void {
    const isNew = this.changed.size === 0;
    this.changed.add(nsid);
    if (isNew) this.sendEvent();
  }

  /** Execute the entry at `words[at]`. @returns a status, or PENDING when it was completed here or will be later */
  execute(words: Int32Array, at: number, sq: SubmissionQueue): number {
    const command = words[at] as number; // entries lie inside the page
    const commandId = command >>> 16;
    const cdw10 = words[at + 10] as number; // as above
    const cdw11 = words[at + 11] as number; // as above
    if ((command & 0xff00) !== 0) return STATUS.invalidField;
    switch (command & 0xff) {
      case ADMIN.identify:
        return this.identify(words, at, cdw10 & 0xff);
      case ADMIN.createCq:
      case ADMIN.createSq:
        return this.createQueue(words, at, (command & 0xff) === ADMIN.createSq);
      case ADMIN.deleteSq:
        return this.queues.deleteSq(cdw10 & 0xffff);
      case ADMIN.deleteCq:
        return this.queues.deleteCq(cdw10 & 0xffff);
      case ADMIN.setFeatures:
        return this.setFeature(cdw10, cdw11, sq, commandId);
      case ADMIN.getFeatures:
        return this.getFeature(cdw10 & 0xff, sq, commandId);
      case ADMIN.abort:
        return this.abort(cdw10, sq, commandId);
      case ADMIN.asyncEvent:
        return this.asyncEvent(sq, commandId);
      case ADMIN.getLogPage:
        return this.getLogPage(words, at, cdw10);
      default:
        return STATUS.invalidOpcode;
    }
  }

  private identify(words: Int32Array, at: number, cns: number): number {
    const nsid = (words[at + 1] as number) >>> 0; // inside the entry
    const data = this.identifyData(cns, nsid);
    if (typeof data === 'number') return data;
    const loaded = this.io.transfer.load(words, at, IDENTIFY_BYTES, true);
    if (loaded === STATUS.success) this.io.transfer.copyOut(data);
    return loaded;
  }

  private identifyData(cns: number, nsid: number): Uint8Array | number {
    const namespace = this.namespaces[nsid - 1];
    switch (cns) {
      case CNS.controller:
        return identifyController({
          serial: this.of.serial,
          mdts: this.of.mdts,
          namespaces: this.namespaces.length,
          hasVolatileCache: this.namespaces.some(({ medium }) => medium.hasVolatileCache),
          abortLimit: ABORT_LIMIT,
          asyncEventLimit: ASYNC_EVENT_LIMIT,
        });
      case CNS.namespace:
        return nsid === 0 || nsid === NSID_ALL ? STATUS.invalidNamespace : identifyNamespace(namespace);
      case CNS.activeNamespaces:
        return nsid >= 0xffff_fffe ? STATUS.invalidNamespace : identifyActive(this.namespaces, nsid);
      case CNS.descriptors:
        return namespace === undefined ? STATUS.invalidNamespace : identifyDescriptors(namespace);
      default:
        return STATUS.invalidField;
    }
  }

  private createQueue(words: Int32Array, at: number, isSubmission: boolean): number {
    const low = words[at + 6] as number; // inside the entry
    const high = words[at + 7] as number; // as above
    const cdw10 = words[at + 10] as number; // as above
    const cdw11 = words[at + 11] as number; // as above
    if ((low & 0xfff) !== 0 || high >>> 10 !== 0) return STATUS.invalidPrpOffset;
    if ((cdw11 & 1) === 0) return STATUS.invalidField; // CAP.CQR: queues are physically contiguous
    const request = { id: cdw10 & 0xffff, entries: (cdw10 >>> 16) + 1, firstPage: (high << 20) | (low >>> 12) };
    if (isSubmission) return this.queues.createSq(request, cdw11 >>> 16);
    return this.queues.createCq(request, cdw11 >>> 16, (cdw11 & 2) !== 0);
  }

  private setFeature(cdw10: number, value: number, sq: SubmissionQueue, commandId: number): number {
    const id = cdw10 & 0xff;
    if (cdw10 >>> 31 === 1) return STATUS.featureNotSaveable;
    if (id === FEATURE.numberOfQueues) {
      if ((value & 0xffff) === 0xffff || value >>> 16 === 0xffff) return STATUS.invalidField;
      return this.result(sq, commandId, this.queueCount());
    }
    if (id === FEATURE.volatileWriteCache) this.io.isCacheOn = (value & 1) !== 0;
    else if (this.features.has(id)) this.features.set(id, value);
    else return id === FEATURE.interruptVector ? STATUS.featureNotChangeable : STATUS.invalidField;
    return STATUS.success;
  }

  private getFeature(id: number, sq: SubmissionQueue, commandId: number): number {
    if (id === FEATURE.numberOfQueues) return this.result(sq, commandId, this.queueCount());
    if (id === FEATURE.volatileWriteCache) return this.result(sq, commandId, this.io.isCacheOn ? 1 : 0);
    const value = this.features.get(id);
    return value === undefined ? STATUS.invalidField : this.result(sq, commandId, value);
  }

  private queueCount(): number {
    return (this.of.pairs - 1) | ((this.of.pairs - 1) << 16);
  }

  /** Abort one command if it has not been carried out; bit 0 of the result tells that it was not aborted. §5.1 */
  private abort(cdw10: number, sq: SubmissionQueue, commandId: number): number {
    const target = this.queues.sq(cdw10 & 0xffff);
    const isAborted = target !== undefined && this.of.abort(target, cdw10 >>> 16);
    return this.result(sq, commandId, isAborted ? 0 : 1);
  }

  private asyncEvent(sq: SubmissionQueue, commandId: number): number {
    if (this.asyncEvents.length >= ASYNC_EVENT_LIMIT) return STATUS.asyncEventLimitExceeded;
    this.asyncEvents.push({ sq, commandId });
    if (this.changed.size > 0) this.sendEvent();
    return PENDING;
  }

  private sendEvent(): void {
    const event = this.asyncEvents.shift();
    if (event !== undefined) this.queues.complete(event.sq, event.commandId, STATUS.success, EVENT_NAMESPACE_CHANGED);
  }

  /** Changed Namespace List: reading it clears it. §5.14.1.4 */
  private getLogPage(words: Int32Array, at: number, cdw10: number): number {
    if ((cdw10 & 0xff) !== LOG_CHANGED_NAMESPACES) return STATUS.invalidLogPage;
    const lengthBytes = Math.min(((cdw10 >>> 16) + 1) * 4, IDENTIFY_BYTES);
    const loaded = this.io.transfer.load(words, at, lengthBytes, true);
    if (loaded !== STATUS.success) return loaded;
    const data = new Uint8Array(lengthBytes);
    const view = new DataView(data.buffer);
    for (const [i, nsid] of [...this.changed].slice(0, lengthBytes >>> 2).entries()) view.setUint32(i * 4, nsid, true);
    this.io.transfer.copyOut(data);
    this.changed.clear();
    return STATUS.success;
  }

  private result(sq: SubmissionQueue, commandId: number, value: number): number {
    this.queues.complete(sq, commandId, STATUS.success, value);
    return PENDING;
  }
}
