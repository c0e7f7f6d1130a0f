// One guest's traffic: it sends frames and counts those that arrive, for the whole life of its card.
import type { Nic, RxFrame } from '@splitring/frontend';
import { type DomainKernel, type IdleOptions, pumpUntil } from '@splitring/hypervisor';
import { monotonicNs } from '../harness/pair.ts';
import type { HopTimes } from './hop-times.ts';
import { makeFrame, PAGE_BYTES, SEGMENT_BYTES } from './params.ts';

/** Room for the largest frame, and enough to make waking up worth it. */
const LOW_SLOTS = 32;
/** Nothing that is on its way takes this long: what has not come by then was lost. */
const LOST_MS = 10_000;
/** Longest time between two looks at whether to stop. */
const STOP_MS = 5;

/** Between whom frames go. */
export interface GuestWay {
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
  /** Frames are built in an extent of the guest's own, not in its JavaScript heap: as a WebAssembly guest builds them. */
  readonly isOwn: boolean;
}

/**
 * Traffic of one guest. Counts never start anew: another guest may begin a trial, and its frames arrive, before this one
 * knows of it.
 */
export class Guest {
  readonly kernel: DomainKernel;
  readonly nic: Nic;
  sent = 0;
  received = 0;
  /** Frames out of order. */
  bad = 0;
  /** Notes when frames leave and come, if that is measured. */
  hops: HopTimes | undefined = undefined;
  private readonly idle: IdleOptions;
  private readonly bytes: number;
  private readonly frame: Uint8Array;
  private readonly view: DataView;
  private readonly offload;
  private target = 0;
  private readonly hasRoom = () => this.nic.freeSlots >= LOW_SLOTS;
  private readonly isComplete = () => this.received >= this.target;
  private readonly hasBoth = () => this.hasRoom() || this.isComplete();

  constructor(kernel: DomainKernel, nic: Nic, idle: IdleOptions, way: GuestWay) {
    this.kernel = kernel;
    this.nic = nic;
    this.idle = idle;
    this.bytes = way.bytes;
    const { bytes } = kernel.hypercalls.allocateFrames(kernel.hypercalls.domid, Math.ceil(way.bytes / PAGE_BYTES));
    this.frame = way.isOwn ? bytes.subarray(0, way.bytes) : new Uint8Array(way.bytes);
    this.frame.set(makeFrame(way.from, way.to, way.bytes));
    this.view = new DataView(this.frame.buffer, this.frame.byteOffset);
    this.offload = way.bytes > PAGE_BYTES ? { gsoSizeBytes: SEGMENT_BYTES, gsoType: 1 } : undefined;
    nic.onFrame = (frame) => this.take(frame);
  }

  /** Send `count` frames as fast as they go. */
  send(count: number): void {
    const end = this.sent + count;
    while (this.sent < end) if (!this.sendOne()) this.pump(this.hasRoom);
    this.nic.flush();
  }

  /** Take `count` more frames than were asked for so far. */
  receive(count: number): void {
    this.target += count;
    this.pump(this.isComplete);
  }

  /** Send and take `count` frames. */
  exchange(count: number): void {
    const end = this.sent + count;
    this.target += count;
    while (this.sent < end) if (!this.sendOne()) this.pump(this.hasBoth);
    this.nic.flush();
    this.pump(this.isComplete);
  }

  /** Send one frame and wait for its answer, `count` times. @returns the round trips in nanoseconds, sorted */
  ask(count: number): Float64Array {
    const times = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const from = monotonicNs();
      this.sendOne();
      this.nic.flush();
      this.receive(1);
      times[i] = monotonicNs() - from;
    }
    return times.sort();
  }

  /** Answer `count` frames, each as it comes. */
  echo(count: number): void {
    for (let i = 0; i < count; i++) {
      this.receive(1);
      this.sendOne();
      this.nic.flush();
    }
  }

  /** Send as fast as it goes until `isOver`. */
  sendUntil(isOver: () => boolean): void {
    while (!isOver()) {
      for (let i = 0; i < 16 && this.sendOne(); i++);
      if (!this.hasRoom()) pumpUntil(this.kernel, this.hasRoom, this.idle, STOP_MS);
    }
    this.nic.flush();
  }

  /** Take whatever comes until `isOver`. */
  receiveUntil(isOver: () => boolean): void {
    while (!isOver()) pumpUntil(this.kernel, () => false, this.idle, STOP_MS);
  }

  /** Take nothing from now on: frames stay in the ring. */
  goDeaf(): void {
    this.nic.onFrame = undefined;
  }

  /** Let the bridge learn this guest. */
  announce(): void {
    const frame = makeFrame(0, 0, 60);
    frame.fill(0xff, 0, 6);
    frame.set(this.frame.subarray(6, 12), 6);
    this.nic.send(frame);
    this.nic.flush();
    const { counters } = this.nic;
    this.pump(() => counters.txOkay + counters.txDropped > 0); // dropped: there is nobody else yet
  }

  private pump(isDone: () => boolean): void {
    if (!pumpUntil(this.kernel, isDone, this.idle, LOST_MS)) {
      throw new Error(`frames were lost: ${this.received} of ${this.target} came, ${this.sent} were sent`);
    }
  }

  private sendOne(): boolean {
    this.view.setUint32(14, this.sent);
    this.hops?.sent();
    if (!this.nic.send(this.frame, this.offload)) return false;
    this.sent += 1;
    return true;
  }

  private take(frame: RxFrame): void {
    if (frame.lengthBytes !== this.bytes) return; // an announcement
    this.hops?.arrived();
    if (frame.uint32At(14) !== this.received) this.bad += 1;
    this.received += 1;
  }
}
