// Stale translations through the path of real I/O: guest page → grant → device map → NVMe command → frame.
import { BLOCK_OP, BLOCK_STATUS } from '@splitring/device';
import {
  type FrameNumber,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTST,
  IoInvalidator,
  IoPageTables,
} from '@splitring/hypervisor';
import test from 'ava';
import { command, createMachine, runAll } from './machine.ts';

function withGuestPage() {
  const m = createMachine();
  m.settle();
  const disk = m.driver.openDisk(1);
  const domain = m.hypervisor.createDomain({ name: 'guest' });
  const guest = m.hypervisor.attachInThread(domain);
  const page = guest.allocateFrames(m.hypercalls.domid, 1);
  const ref = guest.grantAccess(m.hypercalls.domid, page.first, false);
  const io = (op: 0 | 1) => runAll(m, disk, [command({ op, busPages: [page.first], pageCount: 1 })])[0];
  const map = (flags: number) => {
    const { status, handles } = m.hypercalls.mapRun(guest.domid, [ref], flags);
    if (status !== GNTST.okay || handles[0] === undefined) throw new Error(`map: ${status}`);
    return handles[0];
  };
  return { ...m, disk, guest, page, ref, io, map };
}

test('DMA reaches a foreign page only while it is grant-mapped for device use', (t) => {
  const m = withGuestPage();
  t.is(m.io(BLOCK_OP.read), BLOCK_STATUS.error, 'not mapped at all');
  const host = m.map(GNTMAP_host_map);
  t.is(m.io(BLOCK_OP.read), BLOCK_STATUS.error, 'mapped for the program only');
  const device = m.map(GNTMAP_device_map | GNTMAP_host_map);
  t.is(m.io(BLOCK_OP.read), BLOCK_STATUS.okay);
  m.hypercalls.unmapGrants([{ handle: device, flags: GNTMAP_device_map | GNTMAP_host_map, status: GNTST.okay }]);
  t.is(m.io(BLOCK_OP.read), BLOCK_STATUS.error, 'unmap waits for the IOTLB');
  m.hypercalls.unmapGrants([{ handle: host, flags: GNTMAP_host_map, status: GNTST.okay }]);
  t.true(m.guest.endAccess(m.ref));
});

test('a read-only grant lets the device read memory, not write it', (t) => {
  const m = withGuestPage();
  const page = m.guest.allocateFrames(m.hypercalls.domid, 1);
  const ref = m.guest.grantAccess(m.hypercalls.domid, page.first as FrameNumber, true);
  m.hypercalls.mapRun(m.guest.domid, [ref], GNTMAP_device_map | 4);
  const io = (op: 0 | 1) => runAll(m, m.disk, [command({ op, busPages: [page.first], pageCount: 1 })])[0];
  t.is(io(BLOCK_OP.write), BLOCK_STATUS.okay);
  t.is(io(BLOCK_OP.read), BLOCK_STATUS.error);
});

test('without invalidation a stale IOTLB entry reaches the old frame, and does not after the wait', (t) => {
  const m = withGuestPage();
  m.map(GNTMAP_device_map | GNTMAP_host_map);
  m.page.bytes.fill(0x5a);
  t.is(m.io(BLOCK_OP.write), BLOCK_STATUS.okay);
  t.is(m.io(BLOCK_OP.read), BLOCK_STATUS.okay);
  m.page.bytes.fill(0);
  const tables = new IoPageTables(m.domain.boot.iommu);
  const space = tables.spaceOf(m.hypercalls.domid, m.hypercalls.generation);
  if (space === -1) throw new Error('no space');
  tables.unmap(space, m.page.first);
  t.is(m.io(BLOCK_OP.read), BLOCK_STATUS.okay, 'the hazard');
  t.is(m.page.bytes[0], 0x5a, 'and the data really went there');
  m.page.bytes.fill(0);
  const invalidator = new IoInvalidator(m.domain.boot.iommu);
  invalidator.invalidate(space, m.page.first, 1);
  m.bus.poll();
  t.true(invalidator.wait(0));
  t.is(m.io(BLOCK_OP.read), BLOCK_STATUS.error);
  t.is(m.page.bytes[0], 0);
});
