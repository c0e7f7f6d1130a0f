// The IOMMU: page tables, IOTLB and its hazard, queued invalidation, fault records, interrupt remapping.
import {
  clearContext,
  createIommuTables,
  type DomId,
  type EvtchnPort,
  FAULT_REASON,
  FaultLog,
  FSTS_PFO,
  FSTS_PPF,
  HypercallError,
  InterruptRemap,
  IO_READ,
  IO_WRITE,
  IoInvalidator,
  Iommu,
  IoPageTables,
  msiAddress,
  QUARANTINE_SPACE,
  releaseUnits,
  routingId,
  setContext,
} from '@splitring/hypervisor';
import test from 'ava';
import { openIommuTables, UNIT } from '../../../packages/hypervisor/src/iommu/iommu-layout.ts';

const RID = routingId(0, 4, 0);
const OTHER = routingId(1, 31, 7);
const dom = (id: number) => id as DomId;

function rig(size = {}) {
  const buffer = createIommuTables({ spaces: 4, tablePages: 16, units: 2, interrupts: 8, ...size });
  const tables = new IoPageTables(buffer);
  const space = tables.createSpace(dom(1), 1);
  setContext(buffer, RID, space);
  const unit = new Iommu(buffer, dom(1));
  const requester = unit.requester(RID);
  const translate = (page: number, isWrite = false): number => unit.translate(requester, page, isWrite);
  return { buffer, tables, space, unit, requester, translate };
}

test('map and unmap follow pages over the borders of table pages', (t) => {
  const { tables, space } = rig();
  t.true(tables.map(space, 1020, 5000, IO_READ | IO_WRITE, 10));
  for (let i = 0; i < 10; i++) t.is(tables.lookup(space, 1020 + i), ((5000 + i) << 2) | 3);
  t.is(tables.lookup(space, 1019), 0);
  t.is(tables.lookup(space, 1030), 0);
  tables.unmap(space, 1022, 4);
  t.deepEqual(
    [1021, 1022, 1025, 1026].map((page) => tables.lookup(space, page) !== 0),
    [true, false, false, true],
  );
  t.true(tables.map(space, 2 ** 30 - 1, 1, IO_READ));
  t.is(tables.lookup(space, 2 ** 30 - 1), (1 << 2) | 1);
});

test('map refuses what is out of range or has no room, and never maps into quarantine', (t) => {
  const { tables, space } = rig({ tablePages: 3 });
  for (const [page, frame, frames] of [
    [-1, 0, 1],
    [2 ** 30, 0, 1],
    [2 ** 30 - 1, 0, 2],
    [0, 2 ** 30, 1],
    [0, 0, 0],
    [0.5, 0, 1],
    [Number.NaN, 0, 1],
  ] as const) {
    t.false(tables.map(space, page, frame, IO_READ, frames));
  }
  t.false(tables.map(QUARANTINE_SPACE, 0, 0, IO_READ));
  t.true(tables.map(space, 0, 0, IO_READ));
  t.is(tables.freeTablePages, 0);
  t.false(tables.map(space, 2048, 0, IO_READ), 'a second leaf');
  t.notThrows(() => tables.unmap(space, 2048));
});

test('destroySpace returns every table page, also one that a killed thread had claimed and not linked', (t) => {
  const { buffer, tables, space } = rig();
  tables.map(space, 0, 0, IO_READ, 3000);
  const regions = openIommuTables(buffer);
  Atomics.store(regions.words, regions.owners + 15, space + 1);
  tables.destroySpace(space);
  t.is(tables.freeTablePages, 16);
  t.is(tables.spaceOf(dom(1), 1), -1);
  const next = tables.createSpace(dom(2), 1);
  t.is(tables.lookup(next, 0), 0, 'a fresh space is empty');
  t.true(tables.map(next, 5, 6, IO_READ));
  t.is(tables.lookup(next, 4), 0, 'a reused table page is zeroed');
});

test('spaces are per domain and generation, and run out clearly', (t) => {
  const { tables } = rig();
  t.is(tables.spaceOf(dom(1), 2), -1);
  t.is(t.throws(() => tables.createSpace(dom(1), 1), { instanceOf: HypercallError })?.code, 'EEXIST');
  tables.createSpace(dom(2), 1);
  tables.createSpace(dom(3), 1);
  t.is(t.throws(() => tables.createSpace(dom(4), 1), { instanceOf: HypercallError })?.code, 'ENOSPC');
});

test('translate checks rights, and caches what it walked', (t) => {
  const { tables, space, unit, translate } = rig();
  tables.map(space, 8, 80, IO_READ);
  t.is(translate(8), 80);
  t.is(translate(8), 80);
  t.deepEqual([unit.hits, unit.misses], [1, 1]);
  t.is(translate(8, true), -1);
  tables.map(space, 8, 80, IO_READ | IO_WRITE);
  t.is(translate(8, true), 80, 'raised rights need no invalidation: a refusal is never cached');
  for (const page of [-1, 2 ** 30, 2 ** 31, Number.NaN]) t.is(translate(page), -1);
});

test('a stale IOTLB entry reaches the old frame until it is invalidated, and not after the wait', (t) => {
  const { buffer, tables, space, translate, unit } = rig();
  tables.map(space, 8, 80, IO_READ);
  translate(8);
  tables.unmap(space, 8);
  t.is(translate(8), 80, 'the hazard');
  const remote = new IoInvalidator(buffer);
  remote.invalidate(space, 8, 1);
  t.is(translate(8), 80, 'posted, not served');
  t.false(remote.isServed());
  t.true(unit.serve());
  t.true(remote.wait(0));
  t.is(translate(8), -1);
});

test('an own unit is invalidated in place, and only the pages named', (t) => {
  const { buffer, tables, space, unit, translate } = rig();
  const local = new IoInvalidator(buffer, unit);
  tables.map(space, 0, 100, IO_READ, 8);
  for (let page = 0; page < 8; page++) translate(page);
  tables.unmap(space, 0, 8);
  local.invalidate(space, 2, 3);
  t.true(local.wait(0));
  t.deepEqual(
    [0, 1, 2, 3, 4, 5].map((page) => translate(page)),
    [100, 101, -1, -1, -1, 105],
  );
  local.invalidateSpace(space);
  t.is(translate(0), -1);
});

test('a context change reaches the device only after its invalidation', (t) => {
  const { buffer, tables, space, unit, translate } = rig();
  tables.map(space, 8, 80, IO_READ);
  t.is(translate(8), 80);
  setContext(buffer, RID, QUARANTINE_SPACE);
  t.is(translate(8), 80);
  const local = new IoInvalidator(buffer, unit);
  local.invalidateContext(RID);
  t.is(translate(8), -1);
  clearContext(buffer, RID);
  local.invalidateContext(RID);
  t.is(translate(8), -1);
  t.deepEqual(
    unit.faults.take().map(({ reason }) => reason),
    [FAULT_REASON.readNotPermitted, FAULT_REASON.contextNotPresent],
  );
});

test('two functions of two domains share a unit and never each other’s pages', (t) => {
  const { buffer, tables, space, unit, translate } = rig();
  const second = tables.createSpace(dom(2), 1);
  setContext(buffer, OTHER, second);
  const other = unit.requester(OTHER);
  tables.map(space, 8, 80, IO_READ);
  tables.map(second, 8, 90, IO_READ);
  for (let i = 0; i < 3; i++) {
    t.is(translate(8), 80);
    t.is(Number(unit.translate(other, 8, false)), 90);
  }
  tables.unmap(second, 8);
  new IoInvalidator(buffer, unit).invalidate(second, 8, 1);
  t.is(unit.translate(other, 8, false), -1);
  t.is(translate(8), 80);
});

test('an overrun or half-written invalidation queue becomes a global invalidation, never a missed one', (t) => {
  const { buffer, tables, space, unit, translate } = rig();
  const regions = openIommuTables(buffer);
  const base = regions.unitRows + unit.unit * UNIT.words;
  const remote = new IoInvalidator(buffer);
  const stale = (page: number) => {
    tables.map(space, page, page + 100, IO_READ);
    translate(page);
    tables.unmap(space, page);
  };
  stale(1);
  remote.invalidate(space, 1, 1);
  for (let i = 0; i < 100; i++) remote.invalidate(space, 900, 1);
  unit.serve();
  t.is(translate(1), -1, 'overrun');
  stale(2);
  Atomics.add(regions.words, base + UNIT.tail, 1); // a poster that died after taking its ticket
  t.true(unit.serve());
  t.is(translate(2), -1, 'half-written');
  t.true(remote.wait(0));
});

test('wait gives up on a unit that does not answer, and not on one whose thread is gone', (t) => {
  const { buffer, tables, space, unit, translate } = rig();
  tables.map(space, 1, 1, IO_READ);
  translate(1);
  const remote = new IoInvalidator(buffer);
  remote.invalidate(space, 1, 1);
  t.false(remote.wait(20));
  releaseUnits(buffer, dom(1));
  t.true(remote.wait(20));
  t.is(new Iommu(buffer, dom(2)).unit, unit.unit, 'the unit is free again');
});

test('units run out clearly', (t) => {
  const { buffer } = rig();
  const second = new Iommu(buffer, dom(1));
  t.is(second.unit, 1);
  t.is(t.throws(() => new Iommu(buffer, dom(1)), { instanceOf: HypercallError })?.code, 'ENOSPC');
});

test('fault records tell source, page, reason and direction; overflow drops until cleared', (t) => {
  const { buffer, unit } = rig();
  const log = new FaultLog(buffer, unit.unit);
  t.is(log.status, 0);
  log.record(0x3fff_ffff, RID, FAULT_REASON.writeNotPermitted, false);
  log.record(7, OTHER, FAULT_REASON.readNotPermitted, true);
  t.is(log.status, FSTS_PPF);
  t.deepEqual(log.take(), [
    { busPage: 0x3fff_ffff, sourceId: RID, reason: FAULT_REASON.writeNotPermitted, isRead: false },
    { busPage: 7, sourceId: OTHER, reason: FAULT_REASON.readNotPermitted, isRead: true },
  ]);
  t.is(log.status, 0);
  for (let source = 0; source < 9; source++) log.record(source, routingId(2, source, 0), 1, true);
  t.is(log.status & (FSTS_PFO | FSTS_PPF), FSTS_PFO | FSTS_PPF);
  t.is(log.status >>> 8, 2, 'index of the first record');
  log.record(9, RID, 1, true);
  t.is(log.take().length, 8);
  t.is(log.dropped, 2);
  t.is(log.total, 12);
  log.record(1, RID, 1, true);
  t.is(log.take().length, 1, 'recording again');
});

test('a storming function cannot take the records of the others', (t) => {
  const { buffer, unit } = rig();
  const log = new FaultLog(buffer, unit.unit);
  for (let i = 0; i < 100; i++) log.record(i, RID, 6, true);
  log.record(1, OTHER, 6, true);
  const sources = log.take().map(({ sourceId }) => sourceId);
  t.deepEqual(sources, [RID, RID, RID, RID, OTHER]);
});

test('interrupt remapping checks format, index, presence and source', (t) => {
  const { buffer } = rig();
  const remap = new InterruptRemap(buffer);
  const handle = remap.bind(RID, dom(3), 9, 77 as EvtchnPort);
  t.is(handle, 0);
  t.is(remap.resolve(RID, msiAddress(handle), 0), 0);
  t.deepEqual(remap.target, { domid: dom(3), generation: 9, port: 77 as EvtchnPort });
  t.is(remap.resolve(OTHER, msiAddress(handle), 0), FAULT_REASON.interruptSourceCheckFailed);
  t.is(remap.resolve(RID, msiAddress(5), 0), FAULT_REASON.interruptEntryNotPresent);
  t.is(remap.resolve(RID, msiAddress(8), 0), FAULT_REASON.interruptIndexBeyondTable);
  t.is(remap.resolve(RID, msiAddress(0x8001), 0), FAULT_REASON.interruptIndexBeyondTable);
  t.is(remap.resolve(RID, 0xfee0_0000, 0), FAULT_REASON.interruptCompatibilityBlocked);
  t.is(remap.resolve(RID, 0x1234, 0), FAULT_REASON.interruptCompatibilityBlocked);
  t.is(remap.resolve(RID, msiAddress(handle), 1), FAULT_REASON.interruptReservedBits);
  remap.unbindSource(RID);
  t.is(remap.resolve(RID, msiAddress(handle), 0), FAULT_REASON.interruptEntryNotPresent);
});

test('interrupt entries run out, and those of a dead domain come back, half-made ones included', (t) => {
  const { buffer } = rig();
  const remap = new InterruptRemap(buffer);
  for (let i = 0; i < 7; i++) remap.bind(RID, dom(3), 1, 1 as EvtchnPort);
  const regions = openIommuTables(buffer);
  Atomics.store(regions.words, regions.remap + 7 * 4 + 1, 3 + 1); // claimed by domain 3, which died
  t.is(remap.bind(RID, dom(4), 1, 1 as EvtchnPort), -1);
  remap.unbindDomain(dom(3));
  for (let i = 0; i < 8; i++) t.is(remap.bind(RID, dom(4), 1, 1 as EvtchnPort), i);
});

test('tables refuse sizes out of range and foreign buffers', (t) => {
  for (const size of [{ spaces: 1 }, { units: 0 }, { units: 32 }, { tablePages: 0 }, { interrupts: 70_000 }]) {
    t.throws(() => createIommuTables(size), { instanceOf: RangeError });
  }
  t.throws(() => new IoPageTables(new SharedArrayBuffer(4096)), { message: /not a table buffer/ });
});
