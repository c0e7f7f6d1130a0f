// A machine of several domains in one thread, small enough to be obviously right: memory, grants, event channels, a
// clock that stands still. For tests of drivers that must not depend on the real hypervisor.
import {
  type Clock,
  type CopyOp,
  type DomId,
  type EvtchnPort,
  type FrameNumber,
  type FrameRun,
  GNTMAP_readonly,
  GNTST,
  type GntStatus,
  type GrantHandle,
  type GrantRef,
  HypercallError,
  type Hypercalls,
  type Kernel,
  type MapOp,
  PAGE_SIZE,
  type Random,
  type Stepped,
  type UnmapOp,
  type XenstoreClient,
} from '@splitring/hypervisor';

interface Grant {
  readonly peer: DomId;
  readonly frame: FrameNumber;
  readonly isReadonly: boolean;
  uses: number;
}

interface Port {
  readonly remote: DomId;
  remotePort: number;
  isPending: boolean;
}

interface Extent {
  readonly buffer: SharedArrayBuffer;
  readonly first: number;
  readonly frames: number;
}

/** One domain of the machine: its hypercalls, and a kernel to poll. */
export class FakeDomain implements Kernel {
  readonly hypercalls: Hypercalls;
  /** Not offered here: tests of handshakes use the real store. */
  readonly store = undefined as unknown as XenstoreClient;
  readonly clock: Clock;
  readonly random: Random = { nextU32: () => 4 };
  readonly machines: Stepped[] = [];
  readonly handlers = new Map<EvtchnPort, () => void>();
  readonly grants = new Map<number, Grant>();
  readonly ports = new Map<number, Port>();
  readonly handles = new Map<number, { grant: Grant; run: Uint8Array }>();
  /** Frames in use; released ones are taken off. */
  framesHeld = 0;
  /** Events raised towards this domain. */
  eventsReceived = 0;
  readonly doorbell = { words: new Int32Array(new SharedArrayBuffer(4)), index: 0 };

  constructor(machine: FakeMachine, domid: DomId) {
    this.clock = machine.clock;
    this.hypercalls = createHypercalls(machine, this, domid);
  }

  onEvent(port: EvtchnPort, handler: () => void): void {
    this.handlers.set(port, handler);
  }

  onPeerEvent(port: EvtchnPort): void {
    this.handlers.set(port, () => {});
  }

  offEvent(port: EvtchnPort): void {
    this.handlers.delete(port);
  }

  add(machine: Stepped): void {
    this.machines.push(machine);
  }

  remove(machine: Stepped): void {
    const index = this.machines.indexOf(machine);
    if (index >= 0) this.machines.splice(index, 1);
  }

  requestPoll(): void {}

  /** Poll until nothing is left to do; bounded. @returns whether anything was done */
  poll(): boolean {
    let hasWorked = this.hypercalls.pollEvents((port) => this.handlers.get(port)?.()) > 0;
    for (const machine of [...this.machines]) if (machine.poll()) hasWorked = true;
    return hasWorked;
  }
}

/** The machine. */
export class FakeMachine {
  nowMs = 1000;
  readonly clock: Clock = { nowMs: () => this.nowMs };
  readonly domains = new Map<DomId, FakeDomain>();
  readonly extents: Extent[] = [];
  private nextFrame = 4096;

  /** Add a domain. */
  domain(domid: number): FakeDomain {
    const domain = new FakeDomain(this, domid as DomId);
    this.domains.set(domid as DomId, domain);
    return domain;
  }

  /** Poll all domains until every one is idle, at most `turns` times. */
  settle(turns = 1000): void {
    for (let turn = 0; turn < turns; turn += 1) {
      let hasWorked = false;
      for (const domain of this.domains.values()) if (domain.poll()) hasWorked = true;
      if (!hasWorked) return;
    }
    throw new Error(`The machine did not come to rest in ${turns} turns`);
  }

  allocate(frames: number): FrameRun {
    const buffer = new SharedArrayBuffer(frames * PAGE_SIZE);
    const first = this.nextFrame;
    this.nextFrame += frames + 1;
    this.extents.push({ buffer, first, frames });
    return { first: first as FrameNumber, frames, bytes: new Uint8Array(buffer) };
  }

  bytesOf(frame: number, frames = 1): Uint8Array {
    const extent = this.extents.find((one) => frame >= one.first && frame + frames <= one.first + one.frames);
    if (extent === undefined) throw new Error(`No frame ${frame}`);
    return new Uint8Array(extent.buffer, (frame - extent.first) * PAGE_SIZE, frames * PAGE_SIZE);
  }
}

function createHypercalls(machine: FakeMachine, self: FakeDomain, domid: DomId): Hypercalls {
  let nextRef = 8;
  let nextPort = 1;
  let nextHandle = 1;
  const granted = (dom: DomId, ref: number): Grant | undefined => {
    const grant = machine.domains.get(dom)?.grants.get(ref);
    return grant?.peer === domid ? grant : undefined;
  };
  const map = (op: MapOp): GntStatus => {
    const grant = granted(op.dom, op.ref);
    if (grant === undefined) return GNTST.bad_gntref;
    if (grant.isReadonly && (op.flags & GNTMAP_readonly) === 0) return GNTST.general_error;
    grant.uses += 1;
    op.handle = nextHandle as GrantHandle;
    op.frame = grant.frame;
    nextHandle += 1;
    self.handles.set(op.handle, { grant, run: machine.bytesOf(grant.frame) });
    return GNTST.okay;
  };
  const unmap = (op: UnmapOp): GntStatus => {
    const mapping = self.handles.get(op.handle);
    if (mapping === undefined) return GNTST.bad_handle;
    mapping.grant.uses -= 1;
    self.handles.delete(op.handle);
    return GNTST.okay;
  };
  const side = (at: CopyOp['source']): Uint8Array | undefined => {
    if ('frame' in at) return machine.bytesOf(at.frame).subarray(at.offset);
    const grant = granted(at.dom, at.ref);
    return grant === undefined ? undefined : machine.bytesOf(grant.frame).subarray(at.offset);
  };
  return {
    domid,
    generation: 1,
    allocateFrames: (_peer, frames) => {
      self.framesHeld += frames;
      return machine.allocate(frames);
    },
    freeFrames: (run) => {
      self.framesHeld -= run.frames;
    },
    grantAccess: (peer, frame, isReadonly) => {
      const ref = nextRef;
      nextRef += 1;
      self.grants.set(ref, { peer, frame, isReadonly, uses: 0 });
      return ref as GrantRef;
    },
    endAccess: (ref) => {
      if ((self.grants.get(ref)?.uses ?? 0) > 0) return false;
      self.grants.delete(ref);
      return true;
    },
    mapGrants: (ops) => {
      for (const op of ops) op.status = map(op);
    },
    unmapGrants: (ops) => {
      for (const op of ops) op.status = unmap(op);
    },
    copyGrants: (ops) => {
      for (const op of ops) {
        const source = side(op.source);
        const dest = side(op.dest);
        if (source === undefined || dest === undefined) op.status = GNTST.bad_gntref;
        else dest.set(source.subarray(0, op.lengthBytes));
      }
    },
    mappedBytes: (handle) => {
      const mapping = self.handles.get(handle);
      if (mapping === undefined) throw new HypercallError('GNTST_bad_handle', `No mapping ${handle}`);
      return mapping.run;
    },
    mapRun: (dom, refs, flags) => {
      const ops = refs.map((ref) => ({ dom, ref, flags, status: 0, handle: 0, frame: 0 }) as MapOp);
      for (const op of ops) op.status = map(op);
      const [first] = ops;
      const bad = ops.find((op) => op.status !== GNTST.okay);
      if (first === undefined || bad !== undefined) {
        for (const op of ops) if (op.status === GNTST.okay) unmap(op);
        return { status: bad?.status ?? GNTST.general_error, handles: [], run: undefined };
      }
      const run = { first: first.frame, frames: refs.length, bytes: machine.bytesOf(first.frame, refs.length) };
      return { status: GNTST.okay, handles: ops.map((op) => op.handle), run };
    },
    allocUnbound: (remote) => {
      const port = nextPort;
      nextPort += 1;
      self.ports.set(port, { remote, remotePort: 0, isPending: false });
      return port as EvtchnPort;
    },
    bindInterdomain: (remote, remotePort) => {
      const other = machine.domains.get(remote)?.ports.get(remotePort);
      if (other?.remote !== domid) throw new HypercallError('EINVAL', `Cannot bind port ${remotePort}: not for us`);
      const port = nextPort;
      nextPort += 1;
      self.ports.set(port, { remote, remotePort, isPending: true });
      other.remotePort = port;
      return port as EvtchnPort;
    },
    closePort: (port) => {
      self.ports.delete(port);
    },
    notify: (port) => {
      const own = self.ports.get(port);
      const peer = own === undefined ? undefined : machine.domains.get(own.remote);
      const other = peer?.ports.get(own?.remotePort ?? 0);
      if (peer === undefined || other === undefined) return;
      other.isPending = true;
      peer.eventsReceived += 1;
    },
    setMask: () => {},
    countSpurious: () => {},
    pollEvents: (dispatch) => {
      let count = 0;
      for (const [port, state] of self.ports) {
        if (!state.isPending) continue;
        state.isPending = false;
        count += 1;
        dispatch(port as EvtchnPort);
      }
      return count;
    },
    doorbell: self.doorbell,
    pci: {
      list: () => [],
      open: () => {
        throw new HypercallError('ENODEV', 'Cannot open a function: there is none');
      },
    },
    isPaused: false,
    shutdown: () => {},
  };
}
