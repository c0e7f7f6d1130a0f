// The machine as its users see it: domains that allocate, grant, map, copy and signal, all on this thread.
import {
  DOM0,
  type DomainHypercalls,
  type EvtchnPort,
  type FrameNumber,
  GNTMAP_host_map,
  GNTST,
  type GrantHandle,
  Hypervisor,
  type MapOp,
} from '@splitring/hypervisor';
import test from 'ava';

function pair(): { hypervisor: Hypervisor; guest: DomainHypercalls; driver: DomainHypercalls } {
  const hypervisor = new Hypervisor();
  const guest = hypervisor.attachInThread(hypervisor.createDomain({ name: 'guest' }));
  const driver = hypervisor.attachInThread(hypervisor.createDomain({ name: 'driver' }));
  return { hypervisor, guest, driver };
}

function mapOp(dom: DomainHypercalls, ref: MapOp['ref'], flags = GNTMAP_host_map): MapOp {
  return {
    dom: dom.domid,
    ref,
    flags,
    status: GNTST.general_error,
    handle: -1 as GrantHandle,
    frame: -1 as FrameNumber,
  };
}

test('a granted frame is the same memory at both ends', (t) => {
  const { guest, driver } = pair();
  const run = guest.allocateFrames(driver.domid, 2);
  const refs = [0, 1].map((i) => guest.grantAccess(driver.domid, (run.first + i) as FrameNumber, false));
  const mapped = driver.mapRun(guest.domid, refs, GNTMAP_host_map);
  t.is(mapped.status, GNTST.okay);
  mapped.run?.bytes.set([7], 4096);
  t.is(run.bytes[4096], 7);
  t.deepEqual(
    refs.map((ref) => guest.endAccess(ref)),
    [false, false],
  );
  const ops = mapped.handles.map((handle) => ({
    handle,
    flags: GNTMAP_host_map,
    status: GNTST.general_error as MapOp['status'],
  }));
  driver.unmapGrants(ops);
  t.deepEqual(
    ops.map((op) => op.status),
    [GNTST.okay],
    'one handle for the run',
  );
  t.deepEqual(
    refs.map((ref) => guest.endAccess(ref)),
    [true, true],
  );
});

test('an event rings once for many raises and goes to the other end', (t) => {
  const { guest, driver } = pair();
  const offered = guest.allocUnbound(driver.domid);
  const bound = driver.bindInterdomain(guest.domid, offered);
  const seen: EvtchnPort[] = [];
  t.is(
    driver.pollEvents((port) => seen.push(port)),
    1,
    'bind sets the local port pending once',
  );
  const before = Atomics.load(guest.doorbell.words, guest.doorbell.index);
  driver.notify(bound);
  driver.notify(bound);
  t.not(Atomics.load(guest.doorbell.words, guest.doorbell.index), before);
  t.is(
    guest.pollEvents((port) => seen.push(port)),
    1,
  );
  t.deepEqual(seen, [bound, offered]);
  t.deepEqual(driver.portCounters(bound), { raised: 2, coalesced: 1, delivered: 1, spurious: 0 });
});

test('createDomain builds the first two rings and dom0 holds their other ends', (t) => {
  const hypervisor = new Hypervisor();
  const domain = hypervisor.createDomain({ name: 'guest' });
  const guest = hypervisor.attachInThread(domain);
  hypervisor.dom0.notify(domain.store.port);
  const ports: EvtchnPort[] = [];
  guest.pollEvents((port) => ports.push(port));
  t.deepEqual(ports, [domain.boot.start?.storePort as EvtchnPort]);
  guest.memory.pageBytes(domain.boot.start?.consoleFrame as FrameNumber)[5] = 9;
  t.is(domain.console.page.bytes[5], 9);
});

test('domainDied returns everything, and the number is used again with another generation', (t) => {
  const hypervisor = new Hypervisor({ limits: { domains: 32 } });
  const driver = hypervisor.attachInThread(hypervisor.createDomain({ name: 'driver' }));
  const seen = new Map<number, number>();
  for (let i = 0; i < 100; i++) {
    const domain = hypervisor.createDomain({ name: `guest${i}` });
    t.not(seen.get(domain.domid), domain.generation);
    seen.set(domain.domid, domain.generation);
    const guest = hypervisor.attachInThread(domain);
    const run = guest.allocateFrames(driver.domid, 1);
    const op = mapOp(guest, guest.grantAccess(driver.domid, run.first, false));
    driver.mapGrants([op]);
    t.is(op.status, GNTST.okay);
    const port = driver.bindInterdomain(guest.domid, guest.allocUnbound(driver.domid));
    hypervisor.domainDied(domain.domid);
    driver.closePort(port);
    const unmap = { handle: op.handle, flags: GNTMAP_host_map, status: GNTST.general_error as MapOp['status'] };
    driver.unmapGrants([unmap]);
    t.is(unmap.status, GNTST.okay);
  }
  t.throws(() => hypervisor.dom0.allocateFrames(DOM0, 5000), { code: 'EINVAL' });
});
