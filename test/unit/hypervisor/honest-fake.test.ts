// The fake tells on drivers that do not map, unmap and read in the right order.
import {
  type FrameNumber,
  GNTMAP_host_map,
  GNTST,
  type GrantHandle,
  type GrantRef,
  type MapOp,
} from '@splitring/hypervisor';
import test from 'ava';
import { HonestHypercalls } from '../../support/honest-hypercalls.ts';
import { TestMachine } from '../../support/machine.ts';

test('HonestHypercalls: data written through a mapping is there after the unmap, and not before', (t) => {
  const { guest, driver } = new TestMachine();
  const fake = new HonestHypercalls(driver);
  const run = guest.allocateFrames(driver.domid, 2);
  const refs = [0, 1].map((i) => guest.grantAccess(driver.domid, (run.first + i) as FrameNumber, false));
  run.bytes[0] = 1;
  const { handles, run: mapped } = fake.mapRun(guest.domid, refs, GNTMAP_host_map);
  t.is(mapped?.bytes[0], 1);
  mapped?.bytes.set([2], 4096);
  t.is(run.bytes[4096], 0, 'a missing unmap shows');
  t.is(fake.stillMapped, 1);
  fake.unmapGrants(handles.map((handle) => ({ handle, flags: GNTMAP_host_map, status: GNTST.okay })));
  t.is(run.bytes[4096], 2);
  t.is(mapped?.bytes[0], 0xee, 'so does a look after it');
  t.is(fake.stillMapped, 0);
});

test('HonestHypercalls: a ring stays live, single mappings are copied, reading ones never written back', (t) => {
  const { guest, driver } = new TestMachine();
  const run = guest.allocateFrames(driver.domid, 2);
  const [ring, data] = [0, 1].map((i) => guest.grantAccess(driver.domid, (run.first + i) as FrameNumber, false));
  const fake = new HonestHypercalls(driver, (_dom, ref) => ref === ring);
  const bind = (ref: GrantRef | undefined, flags: number): MapOp => {
    const op: MapOp = {
      dom: guest.domid,
      ref: ref as GrantRef, // two were made
      flags,
      status: GNTST.general_error,
      handle: -1 as GrantHandle,
      frame: -1 as FrameNumber,
    };
    fake.mapGrants([op]);
    return op;
  };
  fake.mappedBytes(bind(ring, GNTMAP_host_map).handle)[7] = 7;
  t.is(run.bytes[7], 7);
  const reading = bind(data, GNTMAP_host_map | 4);
  fake.mappedBytes(reading.handle)[0] = 9;
  fake.unmapGrants([{ handle: reading.handle, flags: GNTMAP_host_map, status: GNTST.okay }]);
  t.is(run.bytes[4096], 0);
});
