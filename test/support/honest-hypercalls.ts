// A fake that is honest: what it maps is a copy, taken when it is mapped and written back when it is unmapped. A driver
// that forgets an unmap, unmaps too late, or reads before it maps, sees it in its data at once. Grants that both ends use
// while they are mapped (rings) are named and stay live.
import {
  type CopyOp,
  type DomainHypercalls,
  type DomId,
  type EvtchnPort,
  type FrameNumber,
  type FrameRun,
  GNTMAP_readonly,
  GNTST,
  type GrantHandle,
  type GrantRef,
  type Hypercalls,
  type MapOp,
  PAGE_SIZE,
  type ShutdownReason,
  type UnmapOp,
} from '@splitring/hypervisor';

interface Copied {
  readonly real: Uint8Array;
  readonly copy: Uint8Array;
  readonly isReadonly: boolean;
}

/** Hypercalls of one domain, over real ones. */
export class HonestHypercalls implements Hypercalls {
  readonly #real: DomainHypercalls;
  readonly #isLive: (dom: DomId, ref: GrantRef) => boolean;
  readonly #copied = new Map<GrantHandle, Copied>();

  /** Wrap `real`; `isLive` names the grants that are not copied. */
  constructor(real: DomainHypercalls, isLive: (dom: DomId, ref: GrantRef) => boolean = () => false) {
    this.#real = real;
    this.#isLive = isLive;
  }

  get domid() {
    return this.#real.domid;
  }
  get generation() {
    return this.#real.generation;
  }
  get isPaused() {
    return this.#real.isPaused;
  }

  get doorbell() {
    return this.#real.doorbell;
  }
  get pci() {
    return this.#real.pci;
  }
  /** Mappings that were copied and are not unmapped yet. */
  get stillMapped(): number {
    return this.#copied.size;
  }

  mapGrants(ops: readonly MapOp[]): void {
    this.#real.mapGrants(ops);
    for (const op of ops) {
      if (op.status !== GNTST.okay || (op.flags & 2) === 0 || this.#isLive(op.dom, op.ref)) continue;
      this.#keep(op.handle, this.#real.mappedBytes(op.handle), op.flags);
    }
  }

  mapRun(dom: DomId, refs: readonly GrantRef[], flags: number) {
    const mapped = this.#real.mapRun(dom, refs, flags);
    if (mapped.run === undefined || (flags & 2) === 0 || refs.some((ref) => this.#isLive(dom, ref))) return mapped;
    const copies = new Uint8Array(new SharedArrayBuffer(mapped.run.bytes.length));
    const perHandle = mapped.run.bytes.length / mapped.handles.length;
    mapped.handles.forEach((handle, i) => {
      const real = mapped.run?.bytes.subarray(i * perHandle, (i + 1) * perHandle) ?? new Uint8Array();
      this.#keep(handle, real, flags, copies.subarray(i * perHandle, (i + 1) * perHandle));
    });
    return { ...mapped, run: { ...mapped.run, bytes: copies } };
  }

  unmapGrants(ops: readonly UnmapOp[]): void {
    for (const { handle, flags } of ops) {
      const copied = this.#copied.get(handle);
      if (copied === undefined || (flags & 2) === 0) continue;
      if (!copied.isReadonly) copied.real.set(copied.copy);
      copied.copy.fill(0xee); // whoever still looks at it shall see it
      this.#copied.delete(handle);
    }
    this.#real.unmapGrants(ops);
  }

  mappedBytes(handle: GrantHandle, frames = 1): Uint8Array {
    return this.#copied.get(handle)?.copy.subarray(0, frames * PAGE_SIZE) ?? this.#real.mappedBytes(handle, frames);
  }

  #keep(handle: GrantHandle, real: Uint8Array, flags: number, into?: Uint8Array): void {
    const copy = into ?? new Uint8Array(new SharedArrayBuffer(real.length));
    copy.set(real);
    this.#copied.set(handle, { real, copy, isReadonly: (flags & GNTMAP_readonly) !== 0 });
  }

  allocateFrames(peer: DomId, frames: number): FrameRun {
    return this.#real.allocateFrames(peer, frames);
  }
  freeFrames(run: FrameRun): void {
    this.#real.freeFrames(run);
  }
  grantAccess(peer: DomId, frame: FrameNumber, isReadonly: boolean): GrantRef {
    return this.#real.grantAccess(peer, frame, isReadonly);
  }
  endAccess(ref: GrantRef): boolean {
    return this.#real.endAccess(ref);
  }
  copyGrants(ops: readonly CopyOp[]): void {
    this.#real.copyGrants(ops);
  }
  allocUnbound(remote: DomId): EvtchnPort {
    return this.#real.allocUnbound(remote);
  }
  bindInterdomain(remote: DomId, remotePort: EvtchnPort): EvtchnPort {
    return this.#real.bindInterdomain(remote, remotePort);
  }
  closePort(port: EvtchnPort): void {
    this.#real.closePort(port);
  }
  notify(port: EvtchnPort): void {
    this.#real.notify(port);
  }
  setMask(port: EvtchnPort, isMasked: boolean): void {
    this.#real.setMask(port, isMasked);
  }
  countSpurious(port: EvtchnPort): void {
    this.#real.countSpurious(port);
  }
  pollEvents(dispatch: (port: EvtchnPort) => void): number {
    return this.#real.pollEvents(dispatch);
  }
  shutdown(reason: ShutdownReason): void {
    this.#real.shutdown(reason);
  }
}
