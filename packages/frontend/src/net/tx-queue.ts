// hot path: bench net, cases 1500-*, 64-*, gso-*
// The transmit half of one netfront queue: frames go into granted pages, slots onto the ring, answers are checked.
import type { GrantRef, Hypercalls, NativeCopyFunction } from '@splitring/hypervisor';
import {
  NETIF_RSP_DROPPED,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETIF_TX_SLOT_BYTES,
  NETTXF_csum_blank,
  NETTXF_data_validated,
  NETTXF_extra_info,
  NETTXF_more_data,
  netifExtraGso,
  netifExtraMcast,
  netifTxRequest,
  netifTxRequestWords,
  netifTxResponseWords,
  XEN_NETIF_EXTRA_TYPE,
} from '@splitring/hypervisor/io';
import { FrontRing, initRing, ProtocolError } from 'sharedarraybuffer-ring';
import { GRANTED_PAGE_BYTES, GrantedPages } from './granted-pages.ts';
import type { NicCounters } from './net-counters.ts';
import type { QueueWiring } from './queue-wiring.ts';
import type { TxOffload } from './tx-offload.ts';

/** Frames staged before they are published without waiting for the end of the turn. */
const PUBLISH_BATCH = 16;
/** Fewer free slots than the largest frame needs: the next sender may have to wait. */
const LOW_SLOTS = 20;
/** Frames from this size on are copied natively where that is possible. */
const NATIVE_FROM_BYTES = 256;
/** States of an id. */
const ID_FREE = 0;
const ID_LATER_SLOT = 1;
const ID_FIRST_SLOT = 2;
const ID_GROUP = 3;

/**
 * One transmit queue. `id` of a slot is the index of the page that holds its bytes; free ids wait in a circle, so that a
 * frame of many pages mostly gets consecutive ones, which the back end copies in one go.
 */
export class NetTxQueue {
  /** The ring page and the pages for data. */
  readonly ringPages: GrantedPages;
  /** Set when the back end broke the protocol. */
  broken: ProtocolError | undefined;
  private readonly hypercalls: Hypercalls;
  private readonly counters: NicCounters;
  private readonly ring: FrontRing;
  private readonly data: GrantedPages;
  private readonly native: NativeCopyFunction | undefined;
  private readonly idState: Uint8Array;
  private readonly refs: Uint32Array;
  private readonly freeIds: Int32Array;
  private readonly mask: number;
  private readonly wiring: QueueWiring;
  private freeHead: number;
  private freeTail: number;
  private staged: number;
  private extrasInFlight: number;
  private framesInFlight: number;
  private refusedSlots: number;

  /** Allocate and grant the ring and as many pages as it has slots. @throws HypercallError */
  constructor(hypercalls: Hypercalls, wiring: QueueWiring, counters: NicCounters) {
    this.hypercalls = hypercalls;
    this.counters = counters;
    this.wiring = wiring;
    this.ringPages = new GrantedPages(hypercalls, wiring.peer, 1, false);
    initRing(this.ringPages.bytes);
    this.ring = new FrontRing(this.ringPages.bytes, NETIF_TX_SLOT_BYTES, { name: `${wiring.name} tx` });
    const slots = this.ring.slots;
    try {
      this.data = new GrantedPages(hypercalls, wiring.peer, slots, true);
    } catch (error) {
      this.ringPages.release();
      throw error;
    }
    this.native = nativeCopyWithin(hypercalls, this.data.bytes);
    this.broken = undefined;
    this.idState = new Uint8Array(slots);
    this.refs = Uint32Array.from(this.data.refs);
    this.freeIds = Int32Array.from({ length: slots }, (_, id) => id);
    this.mask = slots - 1;
    this.freeHead = 0;
    this.freeTail = slots;
    this.staged = 0;
    this.extrasInFlight = 0;
    this.framesInFlight = 0;
    this.refusedSlots = 0;
  }

  /** Responses taken so far, modulo 2^32. */
  get taken(): number {
    return this.ring.inspect().cons;
  }

  /** Slots that can be filled now. A slot has a page: ids in use are slots in use, less those of extra infos. */
  get freeSlots(): number {
    return this.broken === undefined ? this.ring.freeSlots : 0;
  }

  /** Whether the frame refused last, if any, would find room now. */
  get hasRoomAgain(): boolean {
    return this.freeSlots >= this.refusedSlots;
  }

  /** Whether slots wait to be published. */
  get hasStaged(): boolean {
    return this.staged > 0;
  }

  /**
   * Copy a frame into granted pages and stage its slots; every sixteenth frame publishes the batch.
   * @returns false if there is no room: nothing was changed
   */
  send(frame: Uint8Array, offload: TxOffload | undefined): boolean {
    const lengthBytes = frame.length;
    const hasGso = offload?.gsoSizeBytes !== undefined;
    const pages = (lengthBytes + GRANTED_PAGE_BYTES - 1) >>> 12;
    const slots = hasGso ? pages + 1 : pages;
    if (this.freeSlots < slots && !this.makeRoom(slots)) return false;
    let flags = 0;
    if (offload !== undefined && (hasGso || offload.isChecksumBlank === true)) {
      flags = NETTXF_csum_blank | NETTXF_data_validated;
    }
    if (pages === 1 && !hasGso) {
      const id = this.takeId(ID_FIRST_SLOT);
      this.copyIn(frame, 0, lengthBytes, id);
      this.stage(id, flags, lengthBytes);
    } else {
      this.stageChain(frame, offload, pages, flags);
    }
    this.refusedSlots = 0;
    this.counters.txFrames += 1;
    this.counters.txBytes += lengthBytes;
    this.framesInFlight += 1;
    this.staged += 1;
    if (this.staged >= PUBLISH_BATCH) this.flush();
    return true;
  }

  /** Ask the back end to let a group's frames through, or no more. @returns false if there is no room for the request */
  changeGroup(address: Uint8Array, isJoin: boolean): boolean {
    if (this.freeSlots < 2) this.reap();
    if (this.freeSlots < 2) return false;
    this.stage(this.takeId(ID_GROUP), NETTXF_extra_info, 0);
    const at = this.ring.stageRequest();
    const { view } = this.ring;
    netifTxRequest.clear(view, at); // the slot is longer than the extra info
    netifExtraMcast.set.type(view, at, isJoin ? XEN_NETIF_EXTRA_TYPE.mcastAdd : XEN_NETIF_EXTRA_TYPE.mcastDel);
    netifExtraMcast.set.addr(view, at, address);
    this.extrasInFlight += 1;
    this.staged += 1;
    return true;
  }

  /** Publish what is staged; one notification at most. */
  flush(): void {
    if (this.staged === 0) return;
    this.staged = 0;
    if (this.ring.pushRequests()) {
      this.counters.notifications += 1;
      this.hypercalls.notify(this.wiring.txPort);
    }
  }

  /** Take the answers that are there. @returns whether there were any */
  reap(): boolean {
    const count = this.ring.availableResponses();
    if (count === 0) return false;
    if (count < 0) {
      this.broken ??= this.ring.broken;
      return false;
    }
    const { view } = this.ring;
    for (let i = 0; i < count; i += 1) {
      const at = this.ring.takeResponseInPlace(); // counted
      const idStatus = netifTxResponseWords.get.idStatus(view, at);
      const status = idStatus >> 16;
      if (status === NETIF_RSP_NULL) this.finishExtra();
      else this.finishSlot(idStatus & 0xffff, status);
      if (this.broken !== undefined) return false;
    }
    return true;
  }

  /**
   * If a sender waits for room, or soon will, ask for a notification once half of what is outstanding is answered.
   * @returns true if it already is
   */
  arm(): boolean {
    if (this.ring.outstanding === 0 || (this.refusedSlots === 0 && this.freeSlots >= LOW_SLOTS)) return false;
    return this.ring.armAt(Math.max(1, this.ring.outstanding >>> 1));
  }

  /** Frames handed over and not answered. */
  get unanswered(): number {
    return this.framesInFlight;
  }

  /** Release ring and pages. @returns grants that the back end holds on to */
  release(): readonly GrantRef[] {
    return [...this.ringPages.release(), ...this.data.release()];
  }

  /** Look whether answers that have come make room. @returns false if not: the sender is to wait */
  private makeRoom(slots: number): boolean {
    this.reap();
    if (this.freeSlots >= slots) return true;
    this.counters.txFull += 1;
    this.refusedSlots = slots;
    return false;
  }

  private takeId(state: number): number {
    const id = this.freeIds[this.freeHead & this.mask] as number; // the index is masked
    this.freeHead = (this.freeHead + 1) | 0;
    this.idState[id] = state;
    return id;
  }

  private stage(id: number, flags: number, sizeBytes: number): void {
    const at = this.ring.stageRequest();
    const view = this.ring.view;
    netifTxRequestWords.set.gref(view, at, this.refs[id] as number); // ids index the pages
    netifTxRequestWords.set.offsetFlags(view, at, flags << 16); // frames begin where pages do
    netifTxRequestWords.set.idSize(view, at, id | (sizeBytes << 16));
  }

  /** Stage a frame of several slots: the first carries the total, extra info follows it, then the other pages. */
  private stageChain(frame: Uint8Array, offload: TxOffload | undefined, pages: number, firstFlags: number): void {
    let flags = firstFlags;
    if (pages > 1) flags |= NETTXF_more_data;
    const gsoSize = offload?.gsoSizeBytes;
    if (gsoSize !== undefined) flags |= NETTXF_extra_info;
    const lengthBytes = frame.length;
    let runFrom = 0; // bytes from here on are still to be copied, to page `runId` and those after it
    let runId = this.freeIds[this.freeHead & this.mask] as number; // the id that is taken first
    for (let page = 0; page < pages; page += 1) {
      const id = this.takeId(page === 0 ? ID_FIRST_SLOT : ID_LATER_SLOT);
      const from = page * GRANTED_PAGE_BYTES;
      if ((id - runId) * GRANTED_PAGE_BYTES !== from - runFrom) {
        this.copyIn(frame, runFrom, from - runFrom, runId);
        runFrom = from;
        runId = id;
      }
      if (page === 0) {
        this.stage(id, flags, lengthBytes);
        if (gsoSize !== undefined) this.stageGso(gsoSize, offload?.gsoType ?? 0);
      } else {
        const isLast = page + 1 === pages;
        this.stage(id, isLast ? 0 : NETTXF_more_data, isLast ? lengthBytes - from : GRANTED_PAGE_BYTES);
      }
    }
    this.copyIn(frame, runFrom, lengthBytes - runFrom, runId);
  }

  /**
   * Copy bytes of a frame to page `id` and those after it: natively if the frame lies in the wasm memory of the pages.
   * Small ones are not worth asking: `buffer` makes the engine move small arrays off its heap.
   */
  private copyIn(frame: Uint8Array, from: number, lengthBytes: number, id: number): void {
    const { native } = this;
    if (native !== undefined && lengthBytes > NATIVE_FROM_BYTES && frame.buffer === this.data.bytes.buffer) {
      native(this.data.bytes.byteOffset + (id << 12), frame.byteOffset + from, lengthBytes);
    } else {
      const part = lengthBytes === frame.length ? frame : frame.subarray(from, from + lengthBytes);
      this.data.bytes.set(part, id << 12);
    }
  }

  private stageGso(sizeBytes: number, gsoType: number): void {
    const at = this.ring.stageRequest();
    const view = this.ring.view;
    netifTxRequest.clear(view, at); // the slot is longer than the extra info
    netifExtraGso.set.type(view, at, XEN_NETIF_EXTRA_TYPE.gso);
    netifExtraGso.set.size(view, at, sizeBytes);
    netifExtraGso.set.gsoType(view, at, gsoType);
    this.extrasInFlight += 1;
  }

  private finishExtra(): void {
    if (this.extrasInFlight === 0) this.breakOff('status', NETIF_RSP_NULL, 0);
    else this.extrasInFlight -= 1;
  }

  private finishSlot(id: number, status: number): void {
    const state = id > this.mask ? ID_FREE : (this.idState[id] as number); // in range
    if (state === ID_FREE) {
      this.breakOff('id', id, this.mask);
      return;
    }
    this.idState[id] = ID_FREE;
    this.freeIds[this.freeTail & this.mask] = id;
    this.freeTail = (this.freeTail + 1) | 0;
    if (state === ID_GROUP && status !== NETIF_RSP_OKAY) this.counters.groupErrors += 1;
    if (state !== ID_FIRST_SLOT) return; // all slots of a frame get the same status: count it once
    this.framesInFlight -= 1;
    if (status === NETIF_RSP_OKAY) this.counters.txOkay += 1;
    else if (status === NETIF_RSP_DROPPED) this.counters.txDropped += 1;
    else this.counters.txErrors += 1;
  }

  private breakOff(field: string, value: number, limit: number): void {
    this.broken = new ProtocolError(
      'NET_RESPONSE_INVALID',
      `Cannot use ${this.wiring.name} tx: response has ${field} ${value}, limit ${limit}`,
      { ring: this.wiring.name, field, value, limit },
    );
  }
}

/** What copies natively from one place of the memory behind `bytes` to another, if anything does. */
function nativeCopyWithin({ nativeCopy }: Hypercalls, bytes: Uint8Array): NativeCopyFunction | undefined {
  const memory = nativeCopy?.memoryOf(bytes) ?? -1;
  return memory < 0 ? undefined : nativeCopy?.between(memory, memory);
}
