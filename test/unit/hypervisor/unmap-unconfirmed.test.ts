// A device that does not confirm an invalidation: its pages stay pinned, nobody waits twice, and all is made good once it does.
import { GNTMAP_device_map, GNTST, type GrantHandle, type MapOp, routingId, type UnmapOp } from '@splitring/hypervisor';
import test from 'ava';
import { TestMachine } from '../../support/machine.ts';

const RID = routingId(0, 4, 0);

/** A driver domain whose device is stepped by a third domain, which has translated two mapped pages. */
function build() {
  const { hypervisor, guest, driver } = new TestMachine();
  const stepper = hypervisor.attachInThread(hypervisor.createDomain({ name: 'hardware' }));
  const bus = stepper.startPciBus({ nowMs: () => 0 });
  hypervisor.pci.add(RID, stepper.domid);
  hypervisor.pci.assign(RID, driver.domid, driver.generation);
  const requester = bus.iommu.requester(RID);
  const run = guest.allocateFrames(driver.domid, 2);
  const mappings = [0, 1].map((i) => {
    const ref = guest.grantAccess(driver.domid, (run.first + i) as typeof run.first, false);
    const op: MapOp = {
      dom: guest.domid,
      ref,
      flags: GNTMAP_device_map,
      status: GNTST.general_error,
      handle: 0 as GrantHandle,
      frame: run.first,
    };
    driver.mapGrants([op]);
    return { ref, frame: op.frame, handle: op.handle };
  });
  const reach = (frame: number) => bus.iommu.translate(requester, frame, true);
  const unmap = (handle: GrantHandle) => {
    const op: UnmapOp = { handle, flags: GNTMAP_device_map, status: GNTST.okay };
    driver.unmapGrants([op]);
    return op.status;
  };
  return { guest, driver, bus, mappings, reach, unmap };
}

test('unmapGrants: without confirmation the grant stays pinned, and is unpinned by itself once there is one', (t) => {
  const { guest, driver, bus, mappings, reach, unmap } = build();
  const [first, second] = mappings;
  if (first === undefined || second === undefined) throw new Error('two were mapped');
  for (const { frame } of mappings) t.is(reach(frame), frame);
  const started = process.hrtime.bigint();
  t.is(unmap(first.handle), GNTST.general_error);
  const waitedOnce = process.hrtime.bigint();
  t.is(unmap(second.handle), GNTST.general_error);
  t.is(unmap(second.handle), GNTST.general_error, 'and asking again changes nothing');
  const waitedAgain = process.hrtime.bigint();
  t.true(waitedAgain - waitedOnce < (waitedOnce - started) / 2n, 'a late device is waited for once');
  t.is(reach(first.frame), first.frame, 'the stale entry still reaches the frame');
  driver.pollEvents(() => {});
  t.false(guest.endAccess(first.ref), 'so it must not be used again');
  bus.poll();
  t.is(reach(first.frame), -1);
  driver.pollEvents(() => {});
  for (const { ref, handle } of mappings) {
    t.true(guest.endAccess(ref));
    t.is(unmap(handle), GNTST.bad_handle);
  }
});

test('unmapGrants: a device that answers again is waited for again', (t) => {
  const { guest, driver, bus, mappings, reach, unmap } = build();
  const [first, second] = mappings;
  if (first === undefined || second === undefined) throw new Error('two were mapped');
  reach(first.frame);
  t.is(unmap(first.handle), GNTST.general_error);
  bus.poll();
  t.is(unmap(second.handle), GNTST.general_error, 'posted after the poll');
  bus.poll();
  driver.pollEvents(() => {});
  for (const { ref } of mappings) t.true(guest.endAccess(ref));
});
