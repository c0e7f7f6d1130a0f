// hot path: bench net
// The receive half of a vif queue: copies frames into the buffers that the guest posted, in ring order.
import type { Hypercalls } from '@splitring/hypervisor';
import {
  NETIF_RSP_ERROR,
  NETIF_RX_SLOT_BYTES,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETRXF_extra_info,
  NETRXF_more_data,
  netifExtraGso,
  netifRxRequest,
  netifRxRequestWords,
  netifRxResponseWords,
  XEN_NETIF_EXTRA_TYPE,
} from '@splitring/hypervisor/io';
import { BackRing } from 'sharedarraybuffer-ring';
import { VERDICT, type Verdict } from './bridge.ts';
import type { Frame, FramePage } from './frame.ts';
import { type MappedPage, MappedPages } from './mapped-pages.ts';
import { PageCopy } from './page-copy.ts';
import { RxBacklog } from './rx-backlog.ts';
import { RxStall } from './rx-stall.ts';
import type { VifCounters } from './vif-counters.ts';
import type { VifQueueWiring } from './vif-queue-wiring.ts';

const PAGE_BYTES = 4096;
/** Frames delivered before they are published without waiting for the end of the turn. */
const PUBLISH_BATCH = 8;
/** Slots of the largest frame: 64 KiB and its extra info. */
const MAX_RX_SLOTS = 17;

/** Delivers frames to one guest queue. */
export class VifRx {
  /** The guest's receive ring. */
  readonly ring: BackRing;
  private readonly counters: VifCounters;
  private readonly pages: MappedPages;
  private readonly targets: (MappedPage | undefined)[];
  private readonly targetIds: Int32Array;
  private readonly copier: PageCopy;
  private readonly passing: MappedPage[];
  private readonly backlog: RxBacklog;
  private readonly stall: RxStall | undefined;
  private available: number;
  private staged: number;
  private needsNotify: boolean;
  private wantedSlots: number;

  /** Attach to the ring in `region`. @throws RingError if it cannot be one */
  constructor(hypercalls: Hypercalls, wiring: VifQueueWiring, region: Uint8Array, counters: VifCounters) {
    this.counters = counters;
    this.ring = new BackRing(region, NETIF_RX_SLOT_BYTES, { name: `${wiring.name} rx` });
    this.pages = new MappedPages(hypercalls, wiring.guest, { isReadonly: false, maxKept: wiring.maxKeptPages });
    this.targets = new Array(MAX_RX_SLOTS).fill(undefined);
    this.targetIds = new Int32Array(MAX_RX_SLOTS);
    this.copier = new PageCopy(hypercalls.nativeCopy);
    this.passing = [];
    const tellsBuffers = wiring.tellsBuffers ?? true;
    this.backlog = new RxBacklog(tellsBuffers);
    this.stall = tellsBuffers ? new RxStall(this.ring) : undefined; // without its word a slow guest looks like a dead one
    this.available = 0;
    this.staged = 0;
    this.needsNotify = false;
    this.wantedSlots = 0;
  }

  /** Frames that wait here for buffers. */
  get backlogFrames(): number {
    return this.backlog.length;
  }

  /** When the oldest of them is dropped, in the clock's milliseconds. */
  get deadlineMs(): number {
    return Math.min(this.backlog.deadlineMs, this.stall?.deadlineMs ?? Number.POSITIVE_INFINITY);
  }

  /** Whether the guest raises an event when it posts buffers: then its senders can be held back. */
  get tellsBuffers(): boolean {
    return this.stall !== undefined;
  }

  /** Whether the guest has taken nothing for so long that it is taken for dead. */
  get isStalled(): boolean {
    return this.stall?.isStalled === true;
  }

  /** Look whether the guest still takes frames; now and then, off the path of frames. @returns whether that changed */
  lookForStall(nowMs: number): boolean {
    if (this.stall === undefined || this.ring.broken !== undefined) return false;
    return this.stall.look(this.wantedSlots > 0 && !this.hasRoom(this.wantedSlots), nowMs);
  }

  /** Whether `frames` frames of `slots` slots each, or as many as the ring can ever hold, find buffers now. */
  hasRoomFor(frames: number, slots: number): boolean {
    if (this.backlog.length > 0) return false;
    if (this.hasRoom(Math.min(this.ring.slots, frames * slots))) return true;
    this.wantedSlots = Math.min(this.ring.slots, frames * slots);
    return false;
  }

  /** Copy `frame` into posted buffers. `held`: not enough of them now, or others wait before it. */
  deliver(frame: Frame): Verdict {
    if (this.backlog.length > 0) return VERDICT.held;
    return frame.isPlain && (this.available > 0 || this.hasRoom(1)) ? this.placePlain(frame) : this.place(frame);
  }

  /** Keep a copy of a frame that its sender cannot hold. @returns false if there is no room: it is dropped */
  enqueue(frame: Frame, nowMs: number): boolean {
    return this.ring.broken === undefined && this.backlog.push(frame, nowMs);
  }

  /** Deliver what waits here, and drop what waited too long. @returns whether anything was done */
  drain(nowMs: number): boolean {
    let hasWorked = false;
    for (let frame = this.backlog.head; frame !== undefined; frame = this.backlog.head) {
      if (this.place(frame) === VERDICT.held) {
        if (nowMs < this.backlog.deadlineMs) break;
        this.counters.rxStalled += 1;
      }
      this.backlog.shift();
      hasWorked = true;
    }
    return hasWorked;
  }

  private place(frame: Frame): Verdict {
    const dataSlots = (frame.lengthBytes + PAGE_BYTES - 1) >>> 12;
    const slots = frame.gsoSizeBytes === 0 ? dataSlots : dataSlots + 1;
    if (!this.hasRoom(slots)) return this.refuse(slots);
    this.available -= slots;
    if (!this.takeBuffers(slots)) return this.failBuffers(slots);
    this.copier.copyChain(frame, this.targets, frame.gsoSizeBytes === 0 ? 0 : 1);
    this.respond(frame, dataSlots);
    this.pages.releasePassing(this.passing);
    return this.delivered(frame);
  }

  /** No room for a frame of `slots` slots. */
  private refuse(slots: number): Verdict {
    this.wantedSlots = slots;
    if (this.ring.broken === undefined) return VERDICT.held;
    this.counters.rxNoCarrier += 1;
    return VERDICT.dropped;
  }

  /** Deliver a plain frame: there is a buffer. */
  private placePlain(frame: Frame): Verdict {
    const { view } = this.ring;
    const at = this.ring.takeRequestInPlace(); // counted as available
    const id = netifRxRequestWords.get.idPad(view, at) & 0xffff;
    const target = this.pages.page(netifRxRequestWords.get.gref(view, at), this.passing);
    this.available -= 1;
    if (target === undefined) {
      this.targetIds[0] = id;
      return this.failBuffers(1);
    }
    this.copier.copy(frame.pages[0] as FramePage, frame.offsets[0] as number, target, frame.lengthBytes);
    frame.writeHeader(target);
    this.stageFor(id, frame.isValidated ? NETRXF_data_validated : 0, frame.lengthBytes);
    if (this.passing.length > 0) this.pages.releasePassing(this.passing);
    return this.delivered(frame);
  }

  private delivered(frame: Frame): Verdict {
    this.wantedSlots = 0;
    this.counters.rxFrames += 1;
    this.counters.rxBytes += frame.lengthBytes;
    this.staged += 1;
    if (this.staged >= PUBLISH_BATCH) this.flush();
    return VERDICT.taken;
  }

  /**
   * Publish what was delivered. The event that the guest may need is only noted: it costs microseconds, so one is raised
   * at the end of the turn. @returns whether one is due
   */
  flush(): boolean {
    if (this.staged > 0) {
      this.staged = 0;
      if (this.ring.pushResponses()) this.needsNotify = true;
    }
    return this.needsNotify;
  }

  /** The event that was due has been raised. */
  notified(): void {
    this.needsNotify = false;
  }

  /** If a frame waits for buffers, ask to be told when enough are posted. @returns true if they already are */
  arm(): boolean {
    if (this.wantedSlots === 0 || this.ring.broken !== undefined) return false;
    if (!this.ring.armAt(Math.max(1, this.wantedSlots - this.available))) return false;
    if (!this.hasRoom(this.wantedSlots)) return false;
    this.wantedSlots = 0; // said once: whoever waited may have given up
    return true;
  }

  /** Let go of all mapped pages; frames that still wait are lost. */
  close(): void {
    this.counters.rxNoCarrier += this.backlog.length;
    this.backlog.clear();
    this.pages.close();
  }

  private hasRoom(slots: number): boolean {
    if (this.available >= slots) return true;
    this.available = Math.max(0, this.ring.availableRequests());
    return this.available >= slots;
  }

  /** Take the next `slots` buffers off the ring. @returns whether all could be mapped */
  private takeBuffers(slots: number): boolean {
    const { view } = this.ring;
    let isComplete = true;
    for (let i = 0; i < slots; i += 1) {
      const at = this.ring.takeRequestInPlace(); // counted as available
      const page = this.pages.page(netifRxRequest.get.gref(view, at), this.passing);
      this.targetIds[i] = netifRxRequest.get.id(view, at);
      this.targets[i] = page;
      if (page === undefined) isComplete = false;
    }
    return isComplete;
  }

  /** Answer buffers that cannot be reached: each gets an error, the frame is lost. */
  private failBuffers(slots: number): Verdict {
    for (let i = 0; i < slots; i += 1) this.stage(i, 0, NETIF_RSP_ERROR);
    this.staged += 1;
    this.pages.releasePassing(this.passing);
    this.counters.rxErrors += 1;
    return VERDICT.dropped;
  }

  /** Answer the buffers of a frame: its first, the extra info over the second, then the others. */
  private respond(frame: Frame, dataSlots: number): void {
    frame.writeHeader(this.targets[0] as MappedPage); // taken
    let flags = flagsOf(frame);
    const hasGso = frame.gsoSizeBytes !== 0;
    if (hasGso) flags |= NETRXF_extra_info;
    if (dataSlots > 1) flags |= NETRXF_more_data;
    this.stage(0, flags, Math.min(PAGE_BYTES, frame.lengthBytes));
    if (hasGso) this.stageGso(frame);
    const shift = hasGso ? 1 : 0;
    for (let i = 1; i < dataSlots; i += 1) {
      const rest = frame.lengthBytes - i * PAGE_BYTES;
      this.stage(i + shift, i + 1 < dataSlots ? NETRXF_more_data : 0, Math.min(PAGE_BYTES, rest));
    }
  }

  private stage(index: number, flags: number, status: number): void {
    this.stageFor(this.targetIds[index] as number, flags, status); // taken
  }

  private stageFor(id: number, flags: number, status: number): void {
    const at = this.ring.stageResponse();
    const { view } = this.ring;
    netifRxResponseWords.set.idOffset(view, at, id);
    netifRxResponseWords.set.flagsStatus(view, at, flags | (status << 16));
  }

  private stageGso(frame: Frame): void {
    const at = this.ring.stageResponse();
    const { view } = this.ring;
    netifExtraGso.clear(view, at);
    netifExtraGso.set.type(view, at, XEN_NETIF_EXTRA_TYPE.gso);
    netifExtraGso.set.size(view, at, frame.gsoSizeBytes);
    netifExtraGso.set.gsoType(view, at, frame.gsoType);
  }
}

/** What is to be said of a frame's checksum. */
function flagsOf(frame: Frame): number {
  if (frame.isChecksumBlank) return NETRXF_csum_blank | NETRXF_data_validated;
  return frame.isValidated ? NETRXF_data_validated : 0;
}
