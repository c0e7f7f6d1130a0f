// A front end that does exactly what a test tells it: keys, slots and indices by hand, lies included.
import type { DeviceClass, DomainHypercalls, FrameNumber, FrameRun, GrantRef, Kernel } from '@splitring/hypervisor';
import { BLKIF_SLOT_BYTES, blkifRequest, blkifResponse, blkifSegment, XenbusState } from '@splitring/hypervisor/io';
import { initRing } from 'sharedarraybuffer-ring';
import type { BlockLab, LabGuest } from './block-lab.ts';
import type { WireEnd } from './xenbus-wire.ts';

/** A request to be written; everything has a harmless default. */
export interface RawRequest {
  readonly operation?: number;
  readonly nrSegments?: number;
  readonly id?: number;
  readonly sectorNumber?: number | bigint;
  /** Segments: page of the data run, or a grant reference with `isRef`. */
  readonly segments?: readonly { gref: number; firstSect?: number; lastSect?: number }[];
}

/** A hostile guest: its ring, its data pages, its keys. */
export class RawGuest {
  readonly hypercalls: DomainHypercalls;
  readonly ring: FrameRun;
  readonly data: FrameRun;
  readonly ringRefs: readonly GrantRef[];
  readonly dataRefs: readonly GrantRef[];
  readonly indexes: Int32Array;
  readonly view: DataView;
  readonly front: WireEnd;
  readonly back: WireEnd;
  readonly slots: number;
  reqProd = 0;
  rspCons = 0;
  private readonly lab: BlockLab;

  /** Join the lab and, unless `keys` spoils it, connect. A key of `undefined` is left out. */
  constructor(lab: BlockLab, keys: Readonly<Record<string, string | number | undefined>> = {}, ringPages = 1) {
    this.lab = lab;
    const { hypervisor, driver } = lab;
    this.hypercalls = hypervisor.attachInThread(hypervisor.createDomain({ name: 'hostile' }));
    this.ring = this.hypercalls.allocateFrames(driver.domid, ringPages);
    this.data = this.hypercalls.allocateFrames(driver.domid, 32);
    this.ringRefs = this.grantAll(this.ring);
    this.dataRefs = this.grantAll(this.data);
    initRing(this.ring.bytes);
    this.indexes = new Int32Array(this.ring.bytes.buffer, this.ring.bytes.byteOffset, 4);
    this.view = new DataView(this.ring.bytes.buffer, this.ring.bytes.byteOffset, this.ring.bytes.byteLength);
    this.slots = 2 ** Math.floor(Math.log2((ringPages * 4096 - 64) / BLKIF_SLOT_BYTES));
    const port = this.hypercalls.allocUnbound(driver.domid);
    const entries: Record<string, string | number> = {};
    const all = {
      'ring-ref': this.ringRefs[0],
      'event-channel': port,
      protocol: 'x86_64-abi',
      'feature-persistent': 1,
      'feature-error-detail': 1,
      ...keys,
    };
    for (const [key, value] of Object.entries(all)) if (value !== undefined) entries[key] = value;
    const kernel = { hypercalls: this.hypercalls } as unknown as Kernel; // the wire asks only for the domid
    const deviceClass: DeviceClass = {
      type: 'vbd',
      create: (device) => ({
        otherEndChanged: (state) => {
          if (state === XenbusState.InitWait) device.publish(entries, XenbusState.Initialised);
        },
        disconnect: () => {},
        remove: () => {},
      }),
    };
    const ends = lab.wire.join(
      '51712',
      { kernel, deviceClass },
      { kernel: lab.driverKernel, deviceClass: lab.backend, keys: { params: 'vol0', mode: 'w' } },
    );
    this.front = ends.front;
    this.back = ends.back;
    lab.run();
  }

  /** Write a request into the next slot; `publish` makes it visible. */
  stage(request: RawRequest): void {
    const at = 64 + (this.reqProd & (this.slots - 1)) * BLKIF_SLOT_BYTES;
    const segments = request.segments ?? [{ gref: this.dataRefs[0] as number }];
    blkifRequest.clear(this.view, at);
    blkifRequest.set.operation(this.view, at, request.operation ?? 0);
    blkifRequest.set.nrSegments(this.view, at, request.nrSegments ?? segments.length);
    this.view.setBigUint64(at + blkifRequest.offsets.id, BigInt(request.id ?? 1), true);
    this.view.setBigUint64(at + blkifRequest.offsets.sectorNumber, BigInt(request.sectorNumber ?? 0), true);
    for (const [i, segment] of segments.slice(0, 11).entries()) {
      const segmentAt = at + blkifRequest.offsets.seg + i * blkifSegment.sizeof;
      blkifSegment.set.gref(this.view, segmentAt, segment.gref);
      blkifSegment.set.firstSect(this.view, segmentAt, segment.firstSect ?? 0);
      blkifSegment.set.lastSect(this.view, segmentAt, segment.lastSect ?? 7);
    }
    this.reqProd = (this.reqProd + 1) | 0;
  }

  /** Make what is staged visible, or claim anything else. */
  publish(reqProd: number = this.reqProd): void {
    Atomics.store(this.indexes, 0, reqProd);
  }

  /** Let the machine run until nothing moves. */
  run(): void {
    this.lab.run();
  }

  /** Stage, publish, run, and tell the answer's status, or undefined if there is none. */
  ask(request: RawRequest): number | undefined {
    this.stage(request);
    this.publish();
    this.lab.nowMs += 2; // past the pause that rubbish earns
    this.lab.run();
    return this.answers().at(-1)?.status;
  }

  /** Every answer since the last call. */
  answers(): { id: number; operation: number; status: number; padding: number[] }[] {
    const answers: { id: number; operation: number; status: number; padding: number[] }[] = [];
    const rspProd = Atomics.load(this.indexes, 2);
    for (; this.rspCons !== rspProd; this.rspCons = (this.rspCons + 1) | 0) {
      const at = 64 + (this.rspCons & (this.slots - 1)) * BLKIF_SLOT_BYTES;
      const { id, operation, status } = blkifResponse.read(this.view, at, blkifResponse.create());
      const padding = [9, 12, 13, 14, 15].map((offset) => this.view.getUint8(at + offset));
      answers.push({ id, operation, status, padding });
    }
    return answers;
  }

  /** Say goodbye as an honest guest would. */
  close(): void {
    this.front.publish({}, XenbusState.Closing);
    this.lab.run();
    this.front.publish({}, XenbusState.Closed);
    this.lab.run();
  }

  private grantAll(run: FrameRun): GrantRef[] {
    const { domid } = this.lab.driver;
    return Array.from({ length: run.frames }, (_, i) =>
      this.hypercalls.grantAccess(domid, (run.first + i) as FrameNumber, false),
    );
  }
}

/** A guest that must not notice anything, and the proof that it did not. */
export class Neighbour {
  private readonly lab: BlockLab;
  private readonly guest: LabGuest;

  constructor(lab: BlockLab) {
    this.lab = lab;
    this.guest = lab.guest({ keys: { params: 'vol0:4096+4096' } });
  }

  /** Whether its disk still does what a disk does. */
  isWell(): boolean {
    const bytes = new Uint8Array(8192).fill(0x5a);
    this.guest.disk.writeSync(4096, bytes);
    const into = new Uint8Array(8192);
    this.guest.disk.readSync(4096, into);
    return Buffer.compare(bytes, into) === 0 && this.lab.ram.bytes[4096 * 512 + 4096] === 0x5a;
  }
}
