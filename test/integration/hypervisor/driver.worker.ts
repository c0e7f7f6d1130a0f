// The other domain of worker-attach.test.ts: maps what the guest grants, adds one to each byte, and parks in between.
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import {
  attach,
  type ControlMessage,
  type DomainBoot,
  type DomId,
  type EvtchnPort,
  GNTMAP_host_map,
  GNTST,
  type GntStatus,
  type GrantRef,
} from '@splitring/hypervisor';

/** What the test hands over. */
export interface DriverData {
  readonly boot: DomainBoot;
  readonly control: MessagePort;
  readonly guest: DomId;
  readonly port: EvtchnPort;
  readonly refs: readonly GrantRef[];
}

const { boot, control, guest, port, refs } = workerData as DriverData;
const hypercalls = attach(boot, {
  post: (message) => control.postMessage(message),
  receive: () => receiveMessageOnPort(control)?.message as ControlMessage | undefined,
});
const mine = hypercalls.bindInterdomain(guest, port);
hypercalls.pollEvents(() => {}); // the one that binding sets
hypercalls.notify(mine); // we are there

/** Park until the guest rings. */
function park(): void {
  for (let slice = 0; slice < 100; slice++) {
    const { words, index } = hypercalls.doorbell;
    const seen = Atomics.load(words, index);
    if (hypercalls.pollEvents(() => {}) > 0) return;
    Atomics.wait(words, index, seen, 100);
  }
  throw new Error('the guest never rang');
}

park();
const { status, run, handles } = hypercalls.mapRun(guest, refs, GNTMAP_host_map);
if (status !== GNTST.okay || run === undefined) throw new Error(`mapRun: status ${status}`);
for (let i = 0; i < run.bytes.length; i++) run.bytes[i] = (run.bytes[i] ?? 0) + 1;
hypercalls.unmapGrants(handles.map((handle) => ({ handle, flags: GNTMAP_host_map, status: 0 as GntStatus })));
// Memory of our own for the guest: asks the host thread, which is on its event loop.
const own = hypercalls.allocateFrames(guest, 1);
own.bytes.fill(42);
hypercalls.grantAccess(guest, own.first, true);
hypercalls.notify(mine);
hypercalls.shutdown(0);
park(); // killed here
