// A domain may be terminated between any two writes to shared memory. Each hypercall is killed after its first write,
// its second, and so on; after the fence everything of the domain must be back and nobody else may notice.
import {
  type DomainHypercalls,
  type DomainUsage,
  type EvtchnPort,
  type FrameNumber,
  type FrameRun,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  type GrantHandle,
  type GrantRef,
  HypercallError,
  Hypervisor,
  type MapOp,
  PAGE_SIZE,
  VIRQ,
} from '@splitring/hypervisor';
import test from 'ava';
import { killAtEachWrite } from '../../checker/kill.ts';

const BOTH = GNTMAP_host_map | GNTMAP_device_map;

/** Size of the extents in this machine, and of nothing else. */
const EXTENT_BYTES = 64 * PAGE_SIZE;

/** A small machine: a victim and a peer that share memory both ways, with a spare of everything. */
interface World {
  readonly hypervisor: Hypervisor;
  readonly victim: DomainHypercalls;
  readonly peer: DomainHypercalls;
  /** Frames of the victim for the peer, and their grants. */
  readonly own: FrameRun;
  readonly ownRefs: GrantRef[];
  /** Grants of the peer for the victim. */
  readonly foreignRefs: GrantRef[];
  /** A channel between them, victim's port and peer's. */
  readonly bound: readonly [EvtchnPort, EvtchnPort];
  /** A port of the peer that waits for the victim. */
  readonly offered: EvtchnPort;
  /** Handles of the victim on the peer's first grant: host, device, both. */
  readonly handles: GrantHandle[];
  /** Handle of the peer on the victim's second grant. */
  readonly held: GrantHandle;
}

function mapOp(dom: number, ref: GrantRef, flags: number): MapOp {
  return {
    dom: dom as MapOp['dom'],
    ref,
    flags,
    status: GNTST.general_error,
    handle: -1 as GrantHandle,
    frame: -1 as FrameNumber,
  };
}

function map(domain: DomainHypercalls, dom: number, ref: GrantRef, flags: number): GrantHandle {
  const op = mapOp(dom, ref, flags);
  domain.mapGrants([op]);
  if (op.status !== GNTST.okay) throw new Error(`map: status ${op.status}`);
  return op.handle;
}

function unmap(domain: DomainHypercalls, handle: GrantHandle, flags = BOTH): number {
  const op = { handle, flags, status: GNTST.general_error as MapOp['status'] };
  domain.unmapGrants([op]);
  return op.status;
}

function build(): World {
  const limits = { domains: 32, portsPerDomain: 32, grantFrames: 1, maptrackFrames: 1, extents: 16 };
  const hypervisor = new Hypervisor({ limits });
  const victim = hypervisor.attachInThread(hypervisor.createDomain({ name: 'victim' }));
  const peer = hypervisor.attachInThread(hypervisor.createDomain({ name: 'peer' }));
  const own = victim.allocateFrames(peer.domid, 4);
  const ownRefs = [0, 1].map((i) => victim.grantAccess(peer.domid, (own.first + i) as FrameNumber, false));
  const theirs = peer.allocateFrames(victim.domid, 4);
  const foreignRefs = [0, 1, 2, 3].map((i) =>
    peer.grantAccess(victim.domid, (theirs.first + i) as FrameNumber, i === 3),
  );
  const port = peer.allocUnbound(victim.domid);
  const bound = [victim.bindInterdomain(peer.domid, port), port] as const;
  const offered = peer.allocUnbound(victim.domid);
  victim.pollEvents(() => {});
  const first = foreignRefs[0] as GrantRef;
  const handles = [GNTMAP_host_map, GNTMAP_device_map, BOTH].map((flags) => map(victim, peer.domid, first, flags));
  const held = map(peer, victim.domid, ownRefs[1] as GrantRef, GNTMAP_host_map);
  return { hypervisor, victim, peer, own, ownRefs, foreignRefs, bound, offered, handles, held };
}

const refOf = (world: World, index: number): GrantRef => world.foreignRefs[index] as GrantRef;

const BUILDER_EXTENT = 'allocateFrames, the builder makes an extent';
/** Larger than all tables but those of the IOMMU: their pages are zeroed word by word, see iommu-kill.test.ts. */
const IOMMU_BYTES = 1 << 20;

/** Each hypercall, in the states in which it does most. */
const OPERATIONS: Readonly<Record<string, (world: World) => void>> = {
  'allocateFrames from an extent at hand': (w) => w.victim.allocateFrames(w.peer.domid, 2),
  'allocateFrames with zeroing': (w) => {
    w.victim.freeFrames({ ...w.own, first: (w.own.first + 2) as FrameNumber, frames: 2 });
    for (let i = 0; i < 15; i++) w.victim.allocateFrames(w.peer.domid, 4); // past the fresh frames, to the used ones
  },
  'freeFrames of free and of granted frames': (w) => w.victim.freeFrames(w.own),
  grantAccess: (w) => w.victim.grantAccess(w.peer.domid, (w.own.first + 2) as FrameNumber, true),
  endAccess: (w) => w.victim.endAccess(w.ownRefs[0] as GrantRef),
  'mapGrants, first pin': (w) => map(w.victim, w.peer.domid, refOf(w, 1), BOTH),
  'mapGrants, first write pin of a grant pinned for reading': (w) => {
    map(w.victim, w.peer.domid, refOf(w, 2), GNTMAP_host_map | GNTMAP_readonly);
    map(w.victim, w.peer.domid, refOf(w, 2), GNTMAP_host_map);
  },
  'mapGrants, pinned already': (w) => map(w.victim, w.peer.domid, refOf(w, 0), BOTH),
  'mapGrants, refused as readonly': (w) => w.victim.mapGrants([mapOp(w.peer.domid, refOf(w, 3), GNTMAP_host_map)]),
  mapRun: (w) => w.victim.mapRun(w.peer.domid, w.foreignRefs.slice(0, 3), BOTH),
  'mapRun, refused at the last': (w) => w.victim.mapRun(w.peer.domid, w.foreignRefs, BOTH),
  'unmapGrants part by part': (w) => {
    for (const handle of w.handles) {
      unmap(w.victim, handle, GNTMAP_host_map);
      unmap(w.victim, handle, GNTMAP_device_map);
    }
  },
  'copyGrants grant to grant': (w) =>
    w.victim.copyGrants([
      {
        source: { dom: w.peer.domid, ref: refOf(w, 3), offset: 0 },
        dest: { dom: w.peer.domid, ref: refOf(w, 1), offset: 4000 },
        lengthBytes: 96,
        status: GNTST.general_error,
      },
    ]),
  allocUnbound: (w) => w.victim.allocUnbound(w.peer.domid),
  bindInterdomain: (w) => w.victim.bindInterdomain(w.peer.domid, w.offered),
  'closePort, bound': (w) => w.victim.closePort(w.bound[0]),
  'closePort, never bound': (w) => w.victim.closePort(w.victim.allocUnbound(w.peer.domid)),
  notify: (w) => w.victim.notify(w.bound[0]),
  'setMask and pollEvents': (w) => {
    w.peer.notify(w.bound[1]);
    w.victim.setMask(w.bound[0], true);
    w.victim.pollEvents(() => {});
    w.victim.setMask(w.bound[0], false);
    w.victim.pollEvents(() => {});
  },
  [BUILDER_EXTENT]: (w) => w.victim.allocateFrames(w.victim.domid, 1),
  'allocUnbound, the builder makes an event page': (w) => w.victim.allocUnbound(w.victim.domid),
  bindIpi: (w) => w.victim.bindIpi(),
  'bindVirq, raised and closed': (w) => {
    const port = w.victim.bindVirq(VIRQ.TIMER);
    w.hypervisor.raiseVirq(w.victim.domid, VIRQ.TIMER);
    w.victim.closePort(port);
  },
  'bindPirq, raised and closed': (w) => {
    const port = w.victim.bindPirq(w.peer.domid);
    w.peer.raise(w.victim.domid, port);
    w.victim.closePort(port);
  },
  'resetPorts of all kinds': (w) => {
    w.victim.bindIpi();
    w.victim.bindVirq(VIRQ.TIMER);
    w.victim.bindPirq(w.peer.domid);
    w.victim.resetPorts();
  },
  shutdown: (w) => w.victim.shutdown(3),
};

const usage = (world: World, domain: DomainHypercalls): DomainUsage => {
  const found = world.hypervisor.inspect().find((one) => one.domid === domain.domid);
  if (found === undefined) throw new Error('not there');
  return found;
};

/** After the fence: the victim is gone without a trace, and the peer can go on and clean up. */
function recover(world: World): string[] {
  const { hypervisor, victim, peer } = world;
  const wrong: string[] = [];
  const expect = (what: string, seen: unknown, wanted: unknown): void => {
    if (seen !== wanted) wrong.push(`${what}: ${String(seen)}, not ${String(wanted)}`);
  };
  hypervisor.domainDied(victim.domid);
  expect('victim while its frame is held', usage(world, victim).state, 'zombie');
  expect('mappings of the victim', usage(world, victim).mappings, 0);
  expect('ports of the victim', usage(world, victim).ports, 0);
  expect('grants of the peer that are held', usage(world, peer).heldGrants, 2); // dom0 holds the first two rings
  expect('ports of the peer still bound', usage(world, peer).boundPorts, 2); // to dom0, for the first two rings
  for (const ref of world.foreignRefs) expect(`end of grant ${ref}`, peer.endAccess(ref), true);
  for (const port of [world.bound[1], world.offered]) {
    peer.notify(port); // swallowed
    peer.closePort(port);
  }
  expect('ports of the peer', usage(world, peer).ports, 2);
  expect('last unmap', unmap(peer, world.held), GNTST.okay);
  expect('domains left', hypervisor.inspect().length, 2);
  // The number can be used again, and nothing of the old life shows.
  for (;;) {
    const next = hypervisor.createDomain({ name: 'next' });
    if (next.domid !== victim.domid) {
      hypervisor.domainDied(next.domid);
      continue;
    }
    const domain = hypervisor.attachInThread(next);
    const run = domain.allocateFrames(peer.domid, 1);
    const ref = domain.grantAccess(peer.domid, run.first, false);
    unmap(peer, map(peer, domain.domid, ref, GNTMAP_host_map));
    expect('grant of the next life', domain.endAccess(ref), true);
    const ignore = () => {};
    expect('events of a former life', domain.pollEvents(ignore), 0);
    hypervisor.dom0.notify(next.store.port);
    expect('events of the next life', domain.pollEvents(ignore), 1);
    break;
  }
  return wrong;
}

for (const [name, operation] of Object.entries(OPERATIONS)) {
  test(`${name}: killed at every shared write, nothing is left behind`, (t) => {
    const writes = killAtEachWrite<World>({
      // The tables; not each byte of memory that is zeroed.
      buffers: ({ byteLength }) => byteLength !== EXTENT_BYTES && (name !== BUILDER_EXTENT || byteLength < IOMMU_BYTES),
      prepare: build,
      operation,
      verify: (world, killedAfter) => {
        const wrong = recover(world);
        if (wrong.length > 0) throw new Error(`killed after write ${killedAfter}: ${wrong.join('; ')}`);
      },
    });
    t.true(writes > 0);
  });
}

/** The machine before and after: nobody but dom0 and a neighbour. */
function machineWith(limits: { readonly [name: string]: number }) {
  const hypervisor = new Hypervisor({
    limits: { domains: 32, portsPerDomain: 32, grantFrames: 1, maptrackFrames: 1, extents: 4, ...limits },
  });
  hypervisor.createDomain({ name: 'neighbour' });
  return { hypervisor, before: JSON.stringify(hypervisor.inspect()) };
}

test('createDomain: broken off at every shared write, what was built goes back and the next one is whole', (t) => {
  const writes = killAtEachWrite<ReturnType<typeof machineWith>>({
    buffers: ({ byteLength }) => byteLength !== EXTENT_BYTES && byteLength < IOMMU_BYTES,
    prepare: () => {
      const machine = machineWith({});
      // Up to here the builder acts as the new domain, which may fail anywhere; dom0 itself is whole or gone with all.
      const refuse = () => ({ status: GNTST.no_space, handles: [], run: undefined });
      Object.defineProperty(machine.hypervisor.dom0, 'mapRun', { value: refuse, configurable: true });
      return machine;
    },
    operation: ({ hypervisor }) => {
      try {
        hypervisor.createDomain({ name: 'victim' });
      } catch (error) {
        if (!(error instanceof HypercallError)) throw error; // dom0's refusal: all is taken back at once
      }
    },
    verify: ({ hypervisor, before }, killedAfter) => {
      Reflect.deleteProperty(hypervisor.dom0, 'mapRun');
      for (const { domid, name } of hypervisor.inspect()) if (name === 'victim') hypervisor.domainDied(domid);
      const after = JSON.stringify(hypervisor.inspect());
      if (after !== before) throw new Error(`killed after write ${killedAfter}: ${after}, not ${before}`);
      const domain = hypervisor.attachInThread(hypervisor.createDomain({ name: 'next' }));
      if (domain.pollEvents(() => {}) !== 0) throw new Error('events of a former life');
    },
  });
  t.true(writes > 0);
});

for (const [what, limits] of Object.entries({ 'ports of dom0': {}, extents: { extents: 1 } })) {
  test(`createDomain refused for want of ${what} leaves nothing behind, and works once there is room`, (t) => {
    const { hypervisor, before } = machineWith(limits);
    const { dom0 } = hypervisor;
    // 31 ports, of which the neighbour's rings have two: one is left where two are needed.
    const taken = what === 'extents' ? [] : Array.from({ length: 28 }, () => dom0.bindIpi());
    const loaded = JSON.stringify(hypervisor.inspect());
    for (let i = 0; i < 3; i++) {
      t.throws(() => hypervisor.createDomain({ name: 'victim' }), { instanceOf: HypercallError });
      t.is(JSON.stringify(hypervisor.inspect()), loaded);
    }
    for (const port of taken) dom0.closePort(port);
    t.is(JSON.stringify(hypervisor.inspect()), before);
    hypervisor.domainDied(1 as DomainUsage['domid']);
    t.notThrows(() => hypervisor.createDomain({ name: 'next' }));
  });
}
