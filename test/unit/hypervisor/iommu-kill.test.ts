// The IOMMU's shared tables killed after every write: after the fence all of it comes back, and no unit is held up.
import {
  createIommuTables,
  type DomId,
  type EvtchnPort,
  InterruptRemap,
  IO_READ,
  IO_WRITE,
  IoInvalidator,
  Iommu,
  IoPageTables,
  msiAddress,
  releaseUnits,
  routingId,
  setContext,
} from '@splitring/hypervisor';
import test from 'ava';
import { killAtEachWrite } from '../../checker/kill.ts';

const VICTIM = 1 as DomId;
const PEER = 2 as DomId;
const RID = routingId(0, 4, 0);
const PEER_RID = routingId(0, 5, 0);

function build() {
  const buffer = createIommuTables({ spaces: 4, tablePages: 6, units: 2, interrupts: 4 });
  const tables = new IoPageTables(buffer);
  const space = tables.createSpace(VICTIM, 1);
  const peerSpace = tables.createSpace(PEER, 1);
  tables.map(peerSpace, 7, 7, IO_READ);
  tables.map(space, 7, 8, IO_READ);
  setContext(buffer, RID, space);
  setContext(buffer, PEER_RID, peerSpace);
  const peer = new Iommu(buffer, PEER);
  const requester = peer.requester(PEER_RID);
  // The peer's unit also steps a function of the victim, as a hardware worker does.
  const foreign = peer.requester(RID);
  peer.translate(foreign, 7, false);
  const remap = new InterruptRemap(buffer);
  remap.bind(PEER_RID, PEER, 1, 5 as EvtchnPort);
  return { buffer, tables, space, peer, requester, foreign, remap };
}

const OPERATIONS: Readonly<Record<string, (world: ReturnType<typeof build>) => void>> = {
  'map with fresh table pages': (w) => w.tables.map(w.space, 2000, 100, IO_READ | IO_WRITE, 60),
  'map without room': (w) => {
    for (let i = 0; i < 5; i++) w.tables.map(w.space, i * 1024, 100, IO_READ);
  },
  unmap: (w) => w.tables.unmap(w.space, 7),
  'invalidate and wait': (w) => {
    const invalidator = new IoInvalidator(w.buffer);
    w.tables.unmap(w.space, 7);
    invalidator.invalidate(w.space, 7, 1);
    invalidator.invalidate(w.space, 7, 1);
    invalidator.wait(0);
  },
  'claim of a unit, context load and walk': (w) => {
    const unit = new Iommu(w.buffer, VICTIM);
    unit.translate(unit.requester(RID), 7, false);
    unit.translate(unit.requester(RID), 9, false);
    unit.serve();
  },
  'bind and unbind of an interrupt': (w) => {
    const remap = new InterruptRemap(w.buffer);
    remap.bind(RID, VICTIM, 1, 6 as EvtchnPort);
    remap.bind(RID, VICTIM, 1, 7 as EvtchnPort);
    remap.unbindSource(RID);
  },
};

function recover({ buffer, tables, space, peer, requester, foreign, remap }: ReturnType<typeof build>): string[] {
  const wrong: string[] = [];
  const expect = (what: string, seen: unknown, wanted: unknown): void => {
    if (seen !== wanted) wrong.push(`${what}: ${String(seen)}, not ${String(wanted)}`);
  };
  releaseUnits(buffer, VICTIM);
  remap.unbindDomain(VICTIM);
  setContext(buffer, RID, 0 as never); // quarantine
  const host = new IoInvalidator(buffer);
  host.invalidateContext(RID);
  host.invalidateSpace(space);
  tables.destroySpace(space);
  peer.serve();
  expect('invalidations served', host.wait(0), true);
  expect('free table pages', tables.freeTablePages, 3);
  expect('peer translation', peer.translate(requester, 7, false), 7);
  expect('victim translation', peer.translate(foreign, 7, false), -1);
  expect('peer interrupt', remap.resolve(PEER_RID, msiAddress(0), 0), 0);
  for (let i = 1; i < 4; i++) expect('free remap entry', remap.bind(PEER_RID, PEER, 1, 5 as EvtchnPort), i);
  expect('free unit', new Iommu(buffer, PEER).unit, 1);
  const next = tables.createSpace(VICTIM, 2);
  expect('page of a former life', tables.lookup(next, 7), 0);
  expect('map of the next life', tables.map(next, 5, 5, IO_READ), true);
  expect('page beside it', tables.lookup(next, 6), 0);
  return wrong;
}

for (const [name, operation] of Object.entries(OPERATIONS)) {
  test(`${name}: killed at every shared write, nothing is left behind`, (t) => {
    const writes = killAtEachWrite<ReturnType<typeof build>>({
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
