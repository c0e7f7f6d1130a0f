// A domain in a real worker: boot data and one port are all it gets, and new memory reaches it while it is parked.
import { MessageChannel, Worker } from 'node:worker_threads';
import {
  type DomainHypercalls,
  type FrameNumber,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  type GrantRef,
  Hypervisor,
} from '@splitring/hypervisor';
import test from 'ava';
import type { DriverData } from './driver.worker.ts';

async function eventOf(domain: DomainHypercalls): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (domain.pollEvents(() => {}) > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('no event');
}

test('a worker attaches by boot data, maps memory made while it was parked, asks the builder, and is reclaimed', async (t) => {
  const hypervisor = new Hypervisor();
  const guest = hypervisor.attachInThread(hypervisor.createDomain({ name: 'guest' }));
  const domain = hypervisor.createDomain({ name: 'driver' });
  const { port1, port2 } = new MessageChannel();
  const reasons: number[] = [];
  hypervisor.onShutdown = (_domid, _generation, reason) => reasons.push(reason);
  port1.on('message', hypervisor.connect(domain.domid, { post: (message) => port1.postMessage(message) }));
  const refs = Array.from({ length: 300 }, (_, i) => (8 + i) as GrantRef); // as the guest's table hands them out
  const port = guest.allocUnbound(domain.domid);
  const data: DriverData = { boot: domain.boot, control: port2, guest: guest.domid, port, refs };
  const worker = new Worker(new URL('./driver.worker.ts', import.meta.url), {
    workerData: data,
    transferList: [port2],
  });
  const failed = new Promise<never>((_, reject) => worker.once('error', reject));
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  await Promise.race([eventOf(guest), failed]);
  // The worker is parked now. This extent is new to it.
  const run = guest.allocateFrames(domain.domid, 300);
  run.bytes.fill(6);
  for (let i = 0; i < 300; i++)
    t.is(guest.grantAccess(domain.domid, (run.first + i) as FrameNumber, false), (8 + i) as GrantRef);
  guest.notify(port);
  await Promise.race([eventOf(guest), failed]);
  t.true(run.bytes.every((byte) => byte === 7));
  t.true(refs.every((ref) => guest.endAccess(ref)));
  const theirs = guest.mapRun(domain.domid, [8 as GrantRef], GNTMAP_host_map | GNTMAP_readonly);
  t.is(theirs.status, GNTST.okay);
  t.is(theirs.run?.bytes[4095], 42);
  await worker.terminate();
  await exited;
  hypervisor.domainDied(domain.domid);
  t.deepEqual(reasons, [0]);
  t.is(hypervisor.inspect().find((one) => one.domid === domain.domid)?.state, 'zombie');
  guest.unmapGrants(theirs.handles.map((handle) => ({ handle, flags: GNTMAP_host_map, status: GNTST.okay })));
  t.is(
    hypervisor.inspect().find((one) => one.domid === domain.domid),
    undefined,
  );
  guest.freeFrames(run);
  t.is(hypervisor.inspect().find((one) => one.domid === guest.domid)?.extents, 1, 'only the first two rings are left');
  port1.close();
});
