// Makes domains, has them share memory and events with a driver domain, and ends them at any moment of it.
import {
  type DomainHypercalls,
  type EvtchnPort,
  type FrameNumber,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTST,
  type GrantHandle,
  type Hypervisor,
} from '@splitring/hypervisor';
import { mapOne, unmapOne } from './machine.ts';

/** What is seen at the end. */
export interface Churned {
  /** Domains beside the driver and dom0, mappings, ports and held grants that are left. */
  readonly left: number;
  /** Memory in use after each tenth of the run, in MiB. */
  readonly heapMiB: readonly number[];
}

interface Guest {
  readonly calls: DomainHypercalls;
  readonly handles: GrantHandle[];
  readonly ports: EvtchnPort[];
  /** Ends of access that must succeed after the fence. */
  readonly ends: (() => boolean)[];
}

/** Numbers from a seed. */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % below;
  };
}

/** One random thing that a guest and the driver domain do together. */
function act(guest: Guest, driver: DomainHypercalls, below: (n: number) => number): void {
  const { calls, handles, ports } = guest;
  const what = below(5);
  if (what === 0) {
    const run = calls.allocateFrames(driver.domid, 1 + below(40));
    run.bytes.fill(1);
    const refs = Array.from({ length: run.frames }, (_, i) =>
      calls.grantAccess(driver.domid, (run.first + i) as FrameNumber, false),
    );
    handles.push(...driver.mapRun(calls.domid, refs, GNTMAP_host_map | GNTMAP_device_map).handles);
  } else if (what === 1) {
    const run = driver.allocateFrames(calls.domid, 1);
    const ref = driver.grantAccess(calls.domid, run.first, true);
    if (mapOne(calls, driver.domid, ref, GNTMAP_host_map | 4).status !== GNTST.okay) throw new Error('not mapped');
    if (driver.endAccess(ref)) throw new Error('ended while mapped');
    driver.freeFrames(run);
    guest.ends.push(() => driver.endAccess(ref));
  } else if (what === 2) {
    ports.push(driver.bindInterdomain(calls.domid, calls.allocUnbound(driver.domid)));
  } else if (what === 3) {
    for (const port of ports) driver.notify(port);
    calls.pollEvents(() => {});
  } else {
    const handle = handles.pop();
    if (handle !== undefined) unmapOne(driver, handle);
  }
}

/** Run it. */
export function churn(
  hypervisor: Hypervisor,
  driver: DomainHypercalls,
  { domains, seed }: { domains: number; seed: number },
): Churned {
  const below = generator(seed);
  const heapMiB: number[] = [];
  const alive: Guest[] = [];
  let stuck = 0;
  const end = (guest: Guest): void => {
    hypervisor.domainDied(guest.calls.domid);
    stuck += guest.ends.filter((tryEnd) => !tryEnd()).length;
    for (const port of guest.ports) driver.closePort(port);
    for (const handle of guest.handles) unmapOne(driver, handle);
  };
  for (let made = 0; made < domains; made++) {
    if (made % Math.ceil(domains / 10) === 0) heapMiB.push(Math.round(process.memoryUsage().rss / 2 ** 20));
    const calls = hypervisor.attachInThread(hypervisor.createDomain({ name: `guest${made}` }));
    alive.push({ calls, handles: [], ports: [], ends: [] });
    for (let steps = below(20); steps > 0; steps--) act(alive[below(alive.length)] as Guest, driver, below);
    while (alive.length > below(8)) end(alive.splice(below(alive.length), 1)[0] as Guest);
  }
  for (const guest of alive) end(guest);
  hypervisor.reap();
  const [, own] = hypervisor.inspect();
  const others = hypervisor.inspect().length - 2;
  const left =
    stuck +
    others +
    (own?.mappings ?? 0) +
    (own?.quarantinedFrames ?? 0) +
    (own?.boundPorts ?? 2) -
    2 +
    (own?.heldGrants ?? 2) -
    2;
  return { left, heapMiB };
}
